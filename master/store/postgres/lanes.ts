/**
 * Lanes: which of the writers on one database this one is. A lane belongs to one process and is used by one transaction at a
 * time; each write leaves its mark in the lane's row, in its own transaction.
 *
 * Hence two things. Transactions count in rows of their lane, and touch none in common that they need not. And what has become
 * of a commit whose answer was lost can be found out: the mark is there, or it is not and never will be, because who looks
 * writes the row himself, which waits for a transaction that still holds it.
 */
import type { PostgresConnection } from './connection.js'

/** A lane that nobody has written in for so long is free. Much longer than a transaction can stand idle. */
const LANE_KEPT_MS = 10 * 60_000
/** Before that its owner makes sure of it again. */
const LANE_SURE_MS = LANE_KEPT_MS / 2

export interface Lane {
  readonly number: number
  /** By the monotonic clock. */
  sureMs: number
}

const quoted = (text: string): string => `'${text.replaceAll("'", "''")}'`

export class Lanes {
  /** This process. */
  readonly #owner: string
  readonly #monotonic: () => number
  /** Used last in, first out, so that no more of them stay taken than are needed. */
  readonly #free: Lane[] = []

  constructor(owner: string, monotonic: () => number) {
    this.#owner = owner
    this.#monotonic = monotonic
  }

  /** A lane that no other transaction uses, in the transaction of `connection` if it has to be taken first. */
  async take(claim: () => Promise<number>): Promise<Lane> {
    for (let lane = this.#free.pop(); lane; lane = this.#free.pop()) {
      if (this.#monotonic() - lane.sureMs < LANE_SURE_MS) return lane
    }
    return { number: await claim(), sureMs: this.#monotonic() }
  }

  giveBack(lane: Lane): void {
    this.#free.push(lane)
  }

  /** Finds a lane in a transaction of `connection`, which the caller begins and commits. */
  async claim(connection: PostgresConnection, nowMs: number): Promise<number> {
    const [free] = await connection.control(
      `select lane from lanes where active_ms < ${nowMs - LANE_KEPT_MS} order by lane limit 1`,
    )
    const found = (free?.rows[0] as { lane: number } | undefined)?.lane
    if (found !== undefined) {
      await connection.control(
        `update lanes set owner = ${quoted(this.#owner)}, active_ms = ${nowMs}, last_write = '' where lane = ${found}`,
      )
      return found
    }
    const [highest] = await connection.control('select coalesce(max(lane), 0) + 1 as next from lanes')
    const next = (highest?.rows[0] as { next: number }).next
    await connection.control(
      `insert into lanes (lane, owner, active_ms, last_write, position) values (${next}, ${quoted(this.#owner)}, ${nowMs}, '', 0)`,
    )
    return next
  }

  /** What a write leaves in its lane. @param rises by how much the metadata's position does */
  mark(lane: Lane, writeId: string, nowMs: number, rises: 0 | 1): string {
    lane.sureMs = this.#monotonic()
    return `update lanes set last_write = ${quoted(writeId)}, active_ms = ${nowMs}, position = position + ${rises}
      where lane = ${lane.number} and owner = ${quoted(this.#owner)}`
  }

  /**
   * Whether the write that was committed last in this lane is `writeId`. By writing the row, and committing that, it waits
   * for whoever still holds it, and for the standby, which then has all that came before as well.
   * @returns undefined when the lane is somebody else's by now: nothing can be said any more
   */
  async isCommitted(connection: PostgresConnection, lane: Lane, writeId: string): Promise<boolean | undefined> {
    await connection.begin('read committed')
    const [row] = await connection.control(
      `update lanes set active_ms = active_ms + 1 where lane = ${lane.number} and owner = ${quoted(this.#owner)} returning last_write`,
    )
    await connection.commit()
    const found = row?.rows[0] as { last_write: string } | undefined
    return found && found.last_write === writeId
  }

  /** Gives up the lanes that are not in use, for the next one who comes. */
  async release(connection: PostgresConnection): Promise<void> {
    const numbers = this.#free.splice(0).map((lane) => lane.number)
    if (numbers.length === 0) return
    await connection.control(
      `update lanes set active_ms = 0 where lane in (${numbers.join(', ')}) and owner = ${quoted(this.#owner)}`,
    )
  }
}
