/** All migrations in order. An explicit list: nothing depends on how files happen to lie in the build. */
import type { Migration } from 'kysely'
import { initial } from './0001-initial.js'
import { serversLife } from './0002-servers-life.js'
import { healthLength } from './0003-health-length.js'

export const migrations: Readonly<Record<string, Migration>> = {
  '0001-initial': initial,
  '0002-servers-life': serversLife,
  '0003-health-length': healthLength,
}
