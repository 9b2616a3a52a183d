/** The seam to time. Nothing else in Cairn reads a clock or starts a timer, so that a cluster can run in virtual time. */
export interface Timer {
  /** Safe to call at any time, also after the timer has fired. */
  cancel(): void
}

export interface Clock {
  /** Milliseconds since the Unix epoch. May jump in both directions: for showing and storing, never for measuring. */
  now(): number
  /** Milliseconds since an arbitrary start; never runs backwards. For measuring and for deadlines. */
  monotonic(): number
  /** Calls `callback` once, `delayMs` or more from now, never synchronously. A pending timer keeps the process alive. */
  setTimer(delayMs: number, callback: () => void): Timer
}

/**
 * Resolves after `delayMs`.
 * @throws `signal.reason` as soon as the signal aborts; the timer is gone by then.
 */
export function sleep(clock: Clock, delayMs: number, signal?: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    if (signal?.aborted) return reject(signal.reason as Error)
    const onAbort = (): void => {
      timer.cancel()
      reject(signal?.reason as Error)
    }
    const timer = clock.setTimer(delayMs, () => {
      signal?.removeEventListener('abort', onAbort)
      resolve()
    })
    signal?.addEventListener('abort', onAbort, { once: true })
  })
}
