/** The machine's clock and timers. */
import type { Clock, Timer } from './clock.js'

/** setTimeout holds its delay in 31 bits; a longer one would fire at once. */
const DELAY_MS_MAX = 2 ** 31 - 1

export class SystemClock implements Clock {
  now(): number {
    return Date.now()
  }

  monotonic(): number {
    return performance.now()
  }

  setTimer(delayMs: number, callback: () => void): Timer {
    const handle = setTimeout(callback, Math.min(Math.max(0, delayMs), DELAY_MS_MAX))
    return { cancel: () => clearTimeout(handle) }
  }
}
