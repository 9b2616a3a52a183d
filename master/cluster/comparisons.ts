/**
 * Which servers have come back and not yet told what they hold. Their rows are what earlier lives held: a directory may have
 * been emptied in between. Until each shard has been compared, or listed anew, none of their copies counts.
 */
import type { Clock } from '../../common/clock/clock.js'
import { SHARD_COUNT } from '../../common/protocol/cluster.js'
import { SECOND_MS } from '../../common/units.js'

/** A list that was asked for may be long, or lost. */
const ASK_AGAIN_MS = 10 * SECOND_MS

interface Comparison {
  readonly shards: Set<number>
  askedMs: number
}

export class Comparisons {
  readonly #clock: Clock
  readonly #open = new Map<number, Comparison>()

  constructor(clock: Clock) {
    this.#clock = clock
  }

  /** A server has come back: every shard is to be compared. */
  begin(serverNo: number): void {
    const shards = new Set(Array.from({ length: SHARD_COUNT }, (_, shard) => shard))
    this.#open.set(serverNo, { shards, askedMs: this.#clock.monotonic() })
  }

  /** A shard's rows are what the server holds. */
  agreed(serverNo: number, shard: number): void {
    const comparison = this.#open.get(serverNo)
    comparison?.shards.delete(shard)
    if (comparison?.shards.size === 0) this.#open.delete(serverNo)
  }

  isOver(serverNo: number): boolean {
    return !this.#open.has(serverNo)
  }

  /** Shards that are still open and have been for a while: to be asked for. */
  overdue(serverNo: number): number[] {
    const comparison = this.#open.get(serverNo)
    const nowMs = this.#clock.monotonic()
    if (!comparison || nowMs - comparison.askedMs < ASK_AGAIN_MS) return []
    comparison.askedMs = nowMs
    return [...comparison.shards]
  }
}
