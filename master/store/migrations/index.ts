/** All migrations in order. An explicit list: nothing depends on how files happen to lie in the build. */
import { sql, type Migration } from 'kysely'
import type { Flavour } from './flavour.js'
import { initial } from './0001-initial.js'
import { serversLife } from './0002-servers-life.js'
import { healthLength } from './0003-health-length.js'
import { lanes } from './0004-lanes.js'
import { leases } from './0005-leases.js'

const MIGRATIONS: Readonly<Record<string, (flavour: Flavour) => readonly string[]>> = {
  '0001-initial': initial,
  '0002-servers-life': serversLife,
  '0003-health-length': healthLength,
  '0004-lanes': lanes,
  '0005-leases': leases,
}

/** The statements of each migration, in the words of an engine. */
export const migrationStatements = (flavour: Flavour): Readonly<Record<string, readonly string[]>> =>
  Object.fromEntries(Object.entries(MIGRATIONS).map(([name, of]) => [name, of(flavour).map(flavour.translate)]))

export function migrationsFor(flavour: Flavour): Record<string, Migration> {
  const up = (statements: readonly string[]): Migration => ({
    up: async (db) => {
      for (const statement of statements) await sql.raw(statement).execute(db)
    },
  })
  return Object.fromEntries(Object.entries(migrationStatements(flavour)).map(([name, statements]) => [name, up(statements)]))
}
