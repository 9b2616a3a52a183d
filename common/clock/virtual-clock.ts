/**
 * A clock that moves only when told to, for simulations and tests: timers fire in order of their due time, equal ones
 * in the order they were set. Between two timers all promise work that they caused is let run to its end.
 */
import type { Clock, Timer } from './clock.js'

interface Entry {
  readonly dueMs: number
  readonly sequence: number
  readonly callback: () => void
}

export class VirtualClock implements Clock {
  #elapsedMs = 0
  #offsetMs: number
  #sequence = 0
  readonly #entries = new Set<Entry>()
  readonly #settle: () => Promise<void>

  /**
   * @param startMs what {@link now} shows at first.
   * @param settle waits until promise work is done; the default gives the event loop a few turns.
   */
  constructor(startMs = Date.UTC(2026, 0, 1), settle: () => Promise<void> = settleEventLoop) {
    this.#offsetMs = startMs
    this.#settle = settle
  }

  now(): number {
    return Math.floor(this.#offsetMs + this.#elapsedMs)
  }

  monotonic(): number {
    return this.#elapsedMs
  }

  setTimer(delayMs: number, callback: () => void): Timer {
    const entry: Entry = { dueMs: this.#elapsedMs + Math.max(0, delayMs), sequence: this.#sequence++, callback }
    this.#entries.add(entry)
    return { cancel: () => void this.#entries.delete(entry) }
  }

  /** Moves the wall clock alone, as an operator or NTP would; timers and {@link monotonic} are not touched. */
  jumpWallClock(byMs: number): void {
    this.#offsetMs += byMs
  }

  /** Runs everything due in the next `byMs`, then stands there. */
  async advance(byMs: number): Promise<void> {
    await this.#runUntil(this.#elapsedMs + byMs, () => false)
  }

  /**
   * Runs until `condition` holds.
   * @throws Error when it does not within `withinMs` of virtual time.
   */
  async until(condition: () => boolean | Promise<boolean>, withinMs: number): Promise<void> {
    const met = await this.#runUntil(this.#elapsedMs + withinMs, condition)
    if (!met) throw new Error(`condition not met within ${withinMs} ms of virtual time`)
  }

  async #runUntil(endMs: number, condition: () => boolean | Promise<boolean>): Promise<boolean> {
    for (;;) {
      await this.#settle()
      if (await condition()) return true
      const next = this.#earliest()
      if (next === undefined || next.dueMs > endMs) break
      this.#entries.delete(next)
      this.#elapsedMs = Math.max(this.#elapsedMs, next.dueMs)
      next.callback()
    }
    this.#elapsedMs = Math.max(this.#elapsedMs, endMs)
    return condition()
  }

  #earliest(): Entry | undefined {
    let best: Entry | undefined
    for (const entry of this.#entries) {
      if (best === undefined || entry.dueMs < best.dueMs || (entry.dueMs === best.dueMs && entry.sequence < best.sequence)) {
        best = entry
      }
    }
    return best
  }
}

/** Enough turns for promise chains that pass through the simulated disk and network, none of which waits on real I/O. */
async function settleEventLoop(): Promise<void> {
  // eslint-disable-next-line no-restricted-syntax -- this is a clock: below the seam
  for (let turn = 0; turn < 3; turn += 1) await new Promise<void>((resolve) => setImmediate(resolve))
}
