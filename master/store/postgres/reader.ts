/**
 * Reads. One of a single query sees all that is committed when it runs. One of several queries runs as one transaction, so
 * that all of them see the same; which ones these are is found out as they run.
 */
import { sleep, type Clock } from '../../../common/clock/clock.js'
import { backoffDelayMs } from '../../../common/flow/backoff.js'
import type { Random } from '../../../common/random/random.js'
import type { Operation } from '../engine/statement.js'
import type { OperationContext } from '../operations/context.js'
import { reads, type ReadName } from '../operations/index.js'
import type { PostgresAddress } from './address.js'
import type { PostgresConnection } from './connection.js'
import { failureOf, toStoreError } from './failures.js'
import type { PostgresPool } from './pool.js'

const BACKOFF = { firstMs: 2, maxMs: 250 }

export interface ReaderServices {
  readonly clock: Clock
  readonly random: Random
  /** The database's time. */
  readonly now: () => number
  readonly onRetry: (reason: 'again' | 'lost', error: unknown) => void
}

const newId = (): never => {
  throw new Error('a read makes no ids')
}

export class PostgresReader {
  readonly #pool: PostgresPool
  readonly #address: PostgresAddress
  readonly #services: ReaderServices
  /** Reads that have asked more than once. */
  readonly #long = new Set<ReadName>()

  constructor(pool: PostgresPool, address: PostgresAddress, services: ReaderServices) {
    this.#pool = pool
    this.#address = address
    this.#services = services
  }

  async read(name: ReadName, args: unknown): Promise<unknown> {
    const { clock, random, onRetry } = this.#services
    const deadlineMs = clock.monotonic() + this.#address.patienceMs
    for (let attempt = 0; ; attempt += 1) {
      try {
        return await this.#pool.use((connection) => this.#readOn(connection, name, args))
      } catch (error) {
        const failure = failureOf(error)
        if (failure === 'refused') throw toStoreError(error)
        if (failure === 'lost') this.#pool.closeIdle()
        const delayMs = backoffDelayMs(BACKOFF, attempt, random)
        if (clock.monotonic() + delayMs >= deadlineMs) throw toStoreError(error)
        onRetry(failure, error)
        await sleep(clock, delayMs)
      }
    }
  }

  async #readOn(connection: PostgresConnection, name: ReadName, args: unknown): Promise<unknown> {
    if (!this.#long.has(name)) {
      const operation = this.#operation(name, args, this.#services.now())
      const first = operation.next()
      if (first.done) return first.value
      const second = operation.next(await connection.query(first.value))
      if (second.done) return second.value
      // From the start, as a transaction: what the first query has seen may be over by now.
      this.#long.add(name)
    }
    try {
      const nowMs = await connection.begin('serializable read only')
      const value = await connection.execute(this.#operation(name, args, nowMs))
      await connection.commit()
      return value
    } catch (error) {
      await connection.rollback(error)
      throw error
    }
  }

  #operation(name: ReadName, args: unknown, nowMs: number): Operation<unknown> {
    const read = reads[name] as unknown as (ctx: OperationContext, args: unknown) => Operation<unknown>
    return read({ nowMs, newId, lane: 0 }, args)
  }
}
