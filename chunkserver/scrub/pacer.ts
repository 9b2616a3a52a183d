/** Slows a background job down to a rate, and stands aside while there is work for clients. */
import { sleep, type Clock } from '../../common/clock/clock.js'

export interface PacerOptions {
  readonly clock: Clock
  readonly bytesPerSecond: () => number
  /** True while clients are being served. */
  readonly busy: () => boolean
}

/** How long a job stands aside at a time, and how often in a row at most: under constant load it still moves on. */
const YIELD_MS = 100
const YIELDS_MAX = 20

export class Pacer {
  readonly #options: PacerOptions
  #nextMs = -Infinity

  constructor(options: PacerOptions) {
    this.#options = options
  }

  /** Waits until `bytes` more may be read. @throws `signal.reason` on abort */
  async pace(bytes: number, signal: AbortSignal): Promise<void> {
    const { clock, bytesPerSecond, busy } = this.#options
    for (let yields = 0; busy() && yields < YIELDS_MAX; yields += 1) await sleep(clock, YIELD_MS, signal)
    const nowMs = clock.monotonic()
    const dueMs = Math.max(nowMs, this.#nextMs)
    this.#nextMs = dueMs + (bytes * 1000) / bytesPerSecond()
    if (dueMs > nowMs) await sleep(clock, dueMs - nowMs, signal)
    if (signal.aborted) throw signal.reason as Error
  }
}
