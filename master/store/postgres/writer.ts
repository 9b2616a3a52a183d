/**
 * Writes: each operation is one serializable transaction, run again when it has met another, and on another connection when
 * its own is lost. What is done is done once: when the answer to a commit is lost, its mark in the lane is looked for before
 * anything is run again.
 */
import { backoffDelayMs } from '../../../common/flow/backoff.js'
import { Semaphore } from '../../../common/flow/semaphore.js'
import { sleep, type Clock } from '../../../common/clock/clock.js'
import { bytesToHex, ID_BYTES } from '../../../common/ids.js'
import type { Random } from '../../../common/random/random.js'
import { isKeptRefusal, keepRefusal, type OperationContext, type RequestKey } from '../operations/context.js'
import { QUIET_WRITES, type WriteName } from '../operations/index.js'
import { runWrite } from '../operations/run-write.js'
import type { PostgresAddress } from './address.js'
import type { PostgresConnection } from './connection.js'
import { failureOf, sqlState, toStoreError, unavailable } from './failures.js'
import { Lanes, type Lane } from './lanes.js'
import type { PostgresPool } from './pool.js'

/** Transactions that met, or a database that is being failed over: soon again at first, then a few times a second. */
const BACKOFF = { firstMs: 2, maxMs: 250 }

const UNIQUE_VIOLATION = '23505'
/** After so many it is no other transaction that is in the way, but a row that stays. */
const COLLISIONS_MAX = 12

export interface WriterServices {
  readonly clock: Clock
  readonly random: Random
  /** Told the database's time as often as it is heard. */
  readonly onTime: (nowMs: number) => void
  readonly onRetry: (reason: 'again' | 'lost', error: unknown) => void
}

/** The answer to a commit did not come: it may have been carried out. */
class CommitUnknown extends Error {
  readonly writeId: string
  readonly value: unknown

  constructor(writeId: string, value: unknown, cause: unknown) {
    super('the answer to a commit was lost', { cause })
    this.writeId = writeId
    this.value = value
  }
}

interface Attempt {
  readonly name: WriteName
  readonly args: unknown
  readonly lane: Lane
  /** Whether a refusal is to be kept under the request's id: found out by the attempt before. */
  readonly keepsRefusal: boolean
}

type Outcome = { readonly value: unknown } | { readonly refusal: unknown; readonly kept: boolean }

export class PostgresWriter {
  readonly #pool: PostgresPool
  readonly #address: PostgresAddress
  readonly #services: WriterServices
  readonly #turns: Semaphore
  readonly #lanes: Lanes

  constructor(pool: PostgresPool, address: PostgresAddress, services: WriterServices) {
    this.#pool = pool
    this.#address = address
    this.#services = services
    this.#turns = new Semaphore(address.writersMax)
    this.#lanes = new Lanes(bytesToHex(services.random.bytes(16)), () => services.clock.monotonic())
  }

  write(name: WriteName, args: unknown): Promise<unknown> {
    return this.#turns.use(async () => {
      const deadlineMs = this.#services.clock.monotonic() + this.#address.patienceMs
      const lane = await this.#patiently(deadlineMs, () => this.#lanes.take(() => this.#claimLane()))
      const written = await this.#writeIn(lane, name, args, deadlineMs)
      // A lane in which something may still be on its way is left to lapse.
      this.#lanes.giveBack(lane)
      if ('refusal' in written) throw written.refusal
      return written.value
    })
  }

  /** @throws only what leaves the lane in an unknown state */
  async #writeIn(lane: Lane, name: WriteName, args: unknown, deadlineMs: number): Promise<Outcome> {
    let keepsRefusal = false
    try {
      for (;;) {
        const outcome = await this.#patiently(deadlineMs, async () => {
          try {
            return await this.#pool.use((connection) => this.#attempt(connection, { name, args, lane, keepsRefusal }))
          } catch (error) {
            if (!(error instanceof CommitUnknown)) throw error
            return await this.#resolve(lane, error, deadlineMs)
          }
        })
        if (!('refusal' in outcome) || outcome.kept || !isToBeKept(args, outcome.refusal)) return outcome
        keepsRefusal = true
      }
    } catch (error) {
      if (error instanceof Unresolved) throw error.told
      return { refusal: toStoreError(error), kept: true }
    }
  }

  async #attempt(connection: PostgresConnection, { name, args, lane, keepsRefusal }: Attempt): Promise<Outcome> {
    const nowMs = await connection.begin('serializable')
    this.#services.onTime(nowMs)
    const { random } = this.#services
    const ctx: OperationContext = { nowMs, newId: () => random.bytes(ID_BYTES), lane: lane.number }
    let outcome: Outcome
    try {
      outcome = await this.#run(connection, ctx, name, args, keepsRefusal)
    } catch (error) {
      await connection.rollback(error)
      if (failureOf(error) !== 'refused') throw error
      return { refusal: error, kept: false }
    }
    const writeId = bytesToHex(random.bytes(16))
    const mark = connection.changed ? this.#lanes.mark(lane, writeId, nowMs, QUIET_WRITES.has(name) ? 0 : 1) : undefined
    try {
      await connection.commit(mark)
    } catch (error) {
      // In one message with the mark: an error of either is an error of the transaction, which is then undone.
      await connection.rollback(error)
      if (failureOf(error) === 'again' || mark === undefined) throw error
      throw new CommitUnknown(writeId, outcome, error)
    }
    return outcome
  }

  async #run(
    connection: PostgresConnection,
    ctx: OperationContext,
    name: WriteName,
    args: unknown,
    keepsRefusal: boolean,
  ): Promise<Outcome> {
    if (!keepsRefusal) return { value: await connection.execute(runWrite(ctx, name, args)) }
    await connection.control('savepoint operation')
    try {
      return { value: await connection.execute(runWrite(ctx, name, args)) }
    } catch (error) {
      const { request } = args as { readonly request?: RequestKey }
      if (!request || !isKeptRefusal(error)) throw error
      await connection.control('rollback to savepoint operation')
      await connection.execute(keepRefusal(ctx, name, request, error))
      return { refusal: error, kept: true }
    }
  }

  /** What has become of a commit whose answer was lost. @throws {@link Unresolved} when that cannot be found out in time */
  async #resolve(lane: Lane, unknown: CommitUnknown, deadlineMs: number): Promise<Outcome> {
    let committed: boolean | undefined
    try {
      committed = await this.#patiently(deadlineMs, () =>
        this.#pool.use((connection) => ending(connection, () => this.#lanes.isCommitted(connection, lane, unknown.writeId))),
      )
    } catch (error) {
      throw new Unresolved(toStoreError(error))
    }
    if (committed === undefined) throw new Unresolved(unavailable('the lane of a lost commit was taken by another master'))
    if (committed) return unknown.value as Outcome
    // It was undone, like one that has met another: from the start.
    throw unknown.cause
  }

  #claimLane(): Promise<number> {
    return this.#pool.use((connection) =>
      ending(connection, async () => {
        const nowMs = await connection.begin('serializable')
        const lane = await this.#lanes.claim(connection, nowMs)
        await connection.commit()
        return lane
      }),
    )
  }

  /** Runs `work` until it comes to an end that is not the fault of others, or time is up. */
  async #patiently<T>(deadlineMs: number, work: () => Promise<T>): Promise<T> {
    const { clock, random, onRetry } = this.#services
    for (let attempt = 0; ; attempt += 1) {
      try {
        return await work()
      } catch (error) {
        const failure = error instanceof Unresolved ? 'refused' : failureOf(error)
        if (failure === 'refused' || (sqlState(error) === UNIQUE_VIOLATION && attempt >= COLLISIONS_MAX)) throw error
        if (failure === 'lost') this.#pool.closeIdle()
        const delayMs = backoffDelayMs(BACKOFF, attempt, random)
        if (clock.monotonic() + delayMs >= deadlineMs) throw toStoreError(error)
        onRetry(failure, error)
        await sleep(clock, delayMs)
      }
    }
  }

  /** Gives the lanes back for others. */
  async close(): Promise<void> {
    await this.#pool.use((connection) => this.#lanes.release(connection)).catch(() => undefined)
  }
}

/** Whether a commit was carried out has to stay open. */
class Unresolved extends Error {
  readonly told: unknown

  constructor(told: unknown) {
    super('it cannot be found out whether a commit was carried out')
    this.told = told
  }
}

/** Leaves no transaction behind when `work` fails. */
async function ending<T>(connection: PostgresConnection, work: () => Promise<T>): Promise<T> {
  try {
    return await work()
  } catch (error) {
    await connection.rollback(error)
    throw error
  }
}

const isToBeKept = (args: unknown, refusal: unknown): boolean =>
  (args as { readonly request?: RequestKey }).request !== undefined && isKeptRefusal(refusal)
