/** Which of several like things are far slower than the rest: a pure rule, used for disks and for servers. */

/** Below this nothing is slow, however fast the others are. */
const SLOW_MS_MIN = 50
/** So many times the median is far above it. */
const SLOW_FACTOR = 5

/**
 * The ones whose latency is far above the median of all. Of two the faster one is the measure; where all are slow, none
 * is. One whose latency is not known is not slow.
 */
export function slowOnes<T>(items: readonly T[], latencyMsOf: (item: T) => number | undefined): ReadonlySet<T> {
  const known = items.map(latencyMsOf).filter((latencyMs) => latencyMs !== undefined)
  known.sort((one, other) => one - other)
  const median = known[Math.floor((known.length - 1) / 2)] ?? 0
  const limitMs = Math.max(SLOW_MS_MIN, median * SLOW_FACTOR)
  return new Set(items.filter((item) => (latencyMsOf(item) ?? 0) > limitMs))
}
