/** Units per second over the last few seconds: what something does now, not what it did on average. */
import type { Clock } from '../clock/clock.js'

/** Rates over less than this would be noise. */
const ELAPSED_MS_MIN = 500

/** So many sums are kept, however often units are added. */
const BUCKETS = 20

export class RateMeter {
  readonly #clock: Clock
  readonly #windowMs: number
  /** Sums by the time at which their bucket begins, oldest first. */
  readonly #buckets = new Map<number, number>()
  #startedMs: number | undefined

  constructor(clock: Clock, windowMs: number) {
    this.#clock = clock
    this.#windowMs = windowMs
  }

  /** What is kept, for those who want to know its bound. */
  get bucketCount(): number {
    return this.#buckets.size
  }

  add(units: number): void {
    const atMs = this.#clock.monotonic()
    this.#startedMs ??= atMs
    this.#trim(atMs)
    const bucketMs = this.#windowMs / BUCKETS
    const beginsMs = Math.floor(atMs / bucketMs) * bucketMs
    this.#buckets.set(beginsMs, (this.#buckets.get(beginsMs) ?? 0) + units)
  }

  perSecond(): number {
    const nowMs = this.#clock.monotonic()
    this.#trim(nowMs)
    const total = [...this.#buckets.values()].reduce((sum, units) => sum + units, 0)
    const elapsedMs = Math.min(this.#windowMs, nowMs - (this.#startedMs ?? nowMs))
    return Math.max(0, Math.round((total * 1000) / Math.max(ELAPSED_MS_MIN, elapsedMs)))
  }

  #trim(nowMs: number): void {
    for (const beginsMs of this.#buckets.keys()) {
      if (beginsMs >= nowMs - this.#windowMs) return
      this.#buckets.delete(beginsMs)
    }
  }
}
