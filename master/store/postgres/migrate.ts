/** Brings the schema of a PostgreSQL up to date, by the same migrations as SQLite's. Masters that start together take turns. */
import { Kysely, Migrator, PostgresAdapter, PostgresDialect, sql, type MigrationLockOptions } from 'kysely'
import type { Clock } from '../../../common/clock/clock.js'
import { sleep } from '../../../common/clock/clock.js'
import { CairnError } from '../../../common/errors/cairn-error.js'
import { backoffDelayMs } from '../../../common/flow/backoff.js'
import type { Random } from '../../../common/random/random.js'
import { POSTGRES } from '../migrations/flavour.js'
import { migrationsFor } from '../migrations/index.js'
import type { PostgresAddress } from './address.js'
import type { PostgresConnection } from './connection.js'
import { failureOf, sqlState, toStoreError } from './failures.js'
import type { PostgresPool } from './pool.js'

/** Kysely's own takes an advisory lock, which not all engines have that speak this protocol. The lock row is locked instead. */
class RowLockAdapter extends PostgresAdapter {
  override async acquireMigrationLock(db: Kysely<unknown>, options: MigrationLockOptions): Promise<void> {
    await sql`select id from ${sql.table(options.lockTable)} where id = ${options.lockRowId} for update`.execute(db)
  }

  override async releaseMigrationLock(): Promise<void> {
    // The end of the transaction releases it.
  }
}

class RowLockDialect extends PostgresDialect {
  override createAdapter(): PostgresAdapter {
    return new RowLockAdapter()
  }
}

const BACKOFF = { firstMs: 20, maxMs: 500 }
/** Of two that make the same table at once, one gets an error that says so in one of several ways. */
const MADE_BY_ANOTHER: ReadonlySet<string> = new Set(['42P07', '42710', '23505'])

/** @throws `METADATA_UNAVAILABLE`, `USAGE` when texts are not ordered by their bytes */
export async function migrate(pool: PostgresPool, address: PostgresAddress, clock: Clock, random: Random): Promise<void> {
  const deadlineMs = clock.monotonic() + address.patienceMs
  for (let attempt = 0; ; attempt += 1) {
    try {
      return await pool.use(migrateOn)
    } catch (error) {
      const isTemporary = failureOf(error) !== 'refused' || MADE_BY_ANOTHER.has(sqlState(error) ?? '')
      const delayMs = backoffDelayMs(BACKOFF, attempt, random)
      if (!isTemporary || clock.monotonic() + delayMs >= deadlineMs) throw toStoreError(error)
      await sleep(clock, delayMs)
    }
  }
}

async function migrateOn(connection: PostgresConnection): Promise<void> {
  await checkOrder(connection)
  const { client } = connection
  const db = new Kysely<unknown>({
    dialect: new RowLockDialect({
      pool: {
        connect: async () => ({ query: client.query.bind(client), release: () => undefined }),
        end: async () => undefined,
      },
    }),
  })
  const migrator = new Migrator({ db, provider: { getMigrations: async () => migrationsFor(POSTGRES) } })
  const { error } = await migrator.migrateToLatest()
  if (error) throw error as Error
}

/** Listings are in the order of bytes, and pages go on behind a name: the database has to compare as we do. */
async function checkOrder(connection: PostgresConnection): Promise<void> {
  const [result] = await connection.control(
    `select 'B' < 'a' and 'a/b' < 'a0' and 'a-b' < 'a/b' and 'z' < '\u00e9' and '\uffee' < '\u{1f600}' as bytewise`,
  )
  if ((result?.rows[0] as { bytewise: boolean }).bytewise) return
  throw new CairnError(
    'USAGE',
    "The metadata database does not order texts by their bytes. Create it with: create database NAME template template0 encoding 'UTF8' lc_collate 'C' lc_ctype 'C.UTF-8'.",
  )
}
