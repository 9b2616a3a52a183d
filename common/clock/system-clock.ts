/** The machine's clock and timers. */
import type { Clock, Timer } from './clock.js'

/** setTimeout holds its delay in 31 bits; a longer one would fire at once. */
const DELAY_MS_MAX = 2 ** 31 - 1
/** libuv counts whole milliseconds, and so fires up to one before the delay is over by the finer clock. */
const EARLY_MS_MAX = 1

export class SystemClock implements Clock {
  now(): number {
    return Date.now()
  }

  monotonic(): number {
    return performance.now()
  }

  setTimer(delayMs: number, callback: () => void): Timer {
    if (delayMs <= 0) return soon(callback)
    const dueMs = this.monotonic() + Math.max(0, delayMs)
    let handle: NodeJS.Timeout
    const arm = (): void => {
      const leftMs = dueMs - this.monotonic()
      if (leftMs > DELAY_MS_MAX - EARLY_MS_MAX) handle = setTimeout(arm, DELAY_MS_MAX)
      else handle = setTimeout(callback, leftMs > 0 ? Math.ceil(leftMs) + EARLY_MS_MAX : 0)
    }
    arm()
    return { cancel: () => clearTimeout(handle) }
  }
}

/** At the end of this turn of the event loop; the shortest timeout there is takes a millisecond. */
function soon(callback: () => void): Timer {
  const handle = setImmediate(callback)
  return { cancel: () => clearImmediate(handle) }
}
