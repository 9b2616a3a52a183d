/** Exponential back-off with full jitter (Brooker, "Exponential Backoff And Jitter", AWS, 2015). */
import type { Random } from '../random/random.js'

export interface BackoffOptions {
  readonly firstMs: number
  readonly maxMs: number
}

/** The delay before retry number `attempt` (0 for the first): between half and all of `firstMs * 2^attempt`, at most `maxMs`. */
export function backoffDelayMs(options: BackoffOptions, attempt: number, random: Random): number {
  const ceiling = Math.min(options.maxMs, options.firstMs * 2 ** Math.min(attempt, 30))
  return Math.round(ceiling * (0.5 + random.fraction() / 2))
}
