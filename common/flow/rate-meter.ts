/** Units per second over the last few seconds: what something does now, not what it did on average. */
import type { Clock } from '../clock/clock.js'

/** Rates over less than this would be noise. */
const ELAPSED_MS_MIN = 500

export class RateMeter {
  readonly #clock: Clock
  readonly #windowMs: number
  #samples: { readonly atMs: number; readonly units: number }[] = []
  #startedMs: number | undefined

  constructor(clock: Clock, windowMs: number) {
    this.#clock = clock
    this.#windowMs = windowMs
  }

  add(units: number): void {
    const atMs = this.#clock.monotonic()
    this.#startedMs ??= atMs
    this.#trim(atMs)
    this.#samples.push({ atMs, units })
  }

  perSecond(): number {
    const nowMs = this.#clock.monotonic()
    this.#trim(nowMs)
    const total = this.#samples.reduce((sum, sample) => sum + sample.units, 0)
    const elapsedMs = Math.min(this.#windowMs, nowMs - (this.#startedMs ?? nowMs))
    return Math.max(0, Math.round((total * 1000) / Math.max(ELAPSED_MS_MIN, elapsedMs)))
  }

  #trim(nowMs: number): void {
    const oldest = nowMs - this.#windowMs
    if (this.#samples[0] && this.#samples[0].atMs < oldest)
      this.#samples = this.#samples.filter((sample) => sample.atMs >= oldest)
  }
}
