/**
 * The {@link MetadataStore} on a database that speaks PostgreSQL's protocol. Nothing that decides is kept in this process:
 * any number of stores may work on one database.
 */
import type { Clock } from '../../common/clock/clock.js'
import { SystemClock } from '../../common/clock/system-clock.js'
import type { Random } from '../../common/random/random.js'
import { HOUR_MS } from '../../common/units.js'
import { SystemRandom } from '../../common/random/system-random.js'
import type { MetadataStore } from './metadata-store.js'
import { reads, writes, type ReadName, type WriteName } from './operations/index.js'
import type { PostgresAddress } from './postgres/address.js'
import { migrate } from './postgres/migrate.js'
import { PostgresPool } from './postgres/pool.js'
import { PostgresReader } from './postgres/reader.js'
import { PostgresWriter } from './postgres/writer.js'

const MIGRATION_ANSWER_MS = 1 * HOUR_MS

export interface PostgresStoreOptions {
  /** Told of each transaction that is run again, and why. */
  readonly onRetry?: (reason: 'again' | 'lost', error: unknown) => void
  readonly clock?: Clock
  readonly random?: Random
}

/** Opens the metadata at `address`, and makes or mends its tables. @throws `METADATA_UNAVAILABLE`, `USAGE` */
export async function openPostgresStore(address: PostgresAddress, options: PostgresStoreOptions = {}): Promise<MetadataStore> {
  const { clock = new SystemClock(), random = new SystemRandom(), onRetry = () => undefined } = options
  // A statement of a migration may rewrite a table.
  const migrating = new PostgresPool({ ...address, connectionsMax: 1, answerTimeoutMs: MIGRATION_ANSWER_MS })
  try {
    await migrate(migrating, address, clock, random)
  } finally {
    migrating.close()
  }
  const pool = new PostgresPool(address)
  const time = new DatabaseTime(clock)
  const writer = new PostgresWriter(pool, address, { clock, random, onRetry, onTime: (nowMs) => time.heard(nowMs) })
  const reader = new PostgresReader(pool, address, { clock, random, onRetry, now: () => time.now() })
  const operations: Record<string, (args: unknown) => Promise<unknown>> = {}
  for (const name of Object.keys(writes) as WriteName[]) operations[name] = (args) => writer.write(name, args)
  for (const name of Object.keys(reads) as ReadName[]) operations[name] = (args) => reader.read(name, args)
  const close = async (): Promise<void> => {
    await writer.close()
    pool.close()
  }
  return { ...operations, now: () => time.now(), close, [Symbol.asyncDispose]: close } as unknown as MetadataStore
}

/** What the database's clock says at this moment, from what it said last. */
class DatabaseTime {
  readonly #clock: Clock
  #heardMs: number
  #atMs: number

  constructor(clock: Clock) {
    this.#clock = clock
    this.#heardMs = clock.now()
    this.#atMs = clock.monotonic()
  }

  heard(nowMs: number): void {
    this.#heardMs = nowMs
    this.#atMs = this.#clock.monotonic()
  }

  now(): number {
    return Math.round(this.#heardMs + this.#clock.monotonic() - this.#atMs)
  }
}
