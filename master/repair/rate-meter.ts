/** Bytes per second over the last ten seconds. */
import type { Clock } from '../../common/clock/clock.js'

const WINDOW_MS = 10_000

export class RateMeter {
  readonly #clock: Clock
  #samples: { readonly atMs: number; readonly bytes: number }[] = []

  constructor(clock: Clock) {
    this.#clock = clock
  }

  add(bytes: number): void {
    this.#trim()
    this.#samples.push({ atMs: this.#clock.monotonic(), bytes })
  }

  perSecond(): number {
    this.#trim()
    const total = this.#samples.reduce((sum, sample) => sum + sample.bytes, 0)
    return Math.round((total * 1000) / WINDOW_MS)
  }

  #trim(): void {
    const oldest = this.#clock.monotonic() - WINDOW_MS
    this.#samples = this.#samples.filter((sample) => sample.atMs >= oldest)
  }
}
