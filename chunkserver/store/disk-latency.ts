/** How long the operations of a disk take of late, those included that have not come back yet. */
import type { Clock } from '../../common/clock/clock.js'

const SAMPLES_MAX = 16
/** Older ones say nothing about now: a disk that was slow and is let alone gets another chance. */
const WINDOW_MS = 60_000
const QUANTILE = 0.75

export class DiskLatency {
  readonly #clock: Clock
  #samples: { readonly endMs: number; readonly tookMs: number }[] = []
  readonly #running = new Map<symbol, number>()
  /** Time with at least one operation under way, up to the last moment with none; and since when there is one. */
  #busyMs = 0
  #busySinceMs = 0

  constructor(clock: Clock) {
    this.#clock = clock
  }

  /** An operation begins. @param counts whether its duration says how fast the disk is @returns to be called at its end */
  begin(counts: boolean): () => void {
    const operation = Symbol()
    const startMs = this.#clock.monotonic()
    if (this.#running.size === 0) this.#busySinceMs = startMs
    this.#running.set(operation, startMs)
    return () => {
      this.#running.delete(operation)
      const endMs = this.#clock.monotonic()
      if (this.#running.size === 0) this.#busyMs += endMs - this.#busySinceMs
      if (!counts) return
      this.#samples.push({ endMs, tookMs: endMs - startMs })
      if (this.#samples.length > SAMPLES_MAX) this.#samples.shift()
    }
  }

  /** For how long, all in all, at least one operation has been under way. */
  get busyMs(): number {
    return this.#busyMs + (this.#running.size > 0 ? this.#clock.monotonic() - this.#busySinceMs : 0)
  }

  /** For how long the oldest operation under way has been so. */
  get hangingMs(): number {
    const nowMs = this.#clock.monotonic()
    // In the order of their beginning.
    for (const startMs of this.#running.values()) return nowMs - startMs
    return 0
  }

  /**
   * What three of four operations take at most, or for how long one has hung already if that is longer; undefined while
   * nothing has happened. Not the median: on a slow disk too many operations touch names only, and come from memory.
   */
  get typicalMs(): number | undefined {
    const since = this.#clock.monotonic() - WINDOW_MS
    const recent = this.#samples.filter(({ endMs }) => endMs >= since).map(({ tookMs }) => tookMs)
    recent.sort((one, other) => one - other)
    const usual = recent[Math.floor((recent.length - 1) * QUANTILE)]
    if (usual === undefined && this.#running.size === 0) return undefined
    return Math.max(usual ?? 0, this.hangingMs)
  }
}
