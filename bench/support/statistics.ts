/** Medians and percentiles of a few numbers. */

/** The smallest value that at least `share` of all are not above (nearest rank). @param values at least one */
export function percentile(values: readonly number[], share: number): number {
  const sorted = [...values].sort((one, other) => one - other)
  const rank = Math.max(1, Math.ceil(share * sorted.length))
  return sorted[rank - 1] as number
}

/** The middle value; of an even count the mean of the middle two. @param values at least one */
export function median(values: readonly number[]): number {
  const sorted = [...values].sort((one, other) => one - other)
  const middle = sorted.length >> 1
  const upper = sorted[middle] as number
  return sorted.length % 2 === 1 ? upper : (upper + (sorted[middle - 1] as number)) / 2
}

export const round = (value: number, digits = 3): number => Number(value.toFixed(digits))

/** The median, and what it was taken from. */
export const summary = (values: readonly number[], digits = 3) => ({
  p50: round(median(values), digits),
  runs: values.map((value) => round(value, digits)),
})

/** Latencies in milliseconds. */
export const latencies = (values: readonly number[]) => ({
  count: values.length,
  p50: round(percentile(values, 0.5), 2),
  p99: round(percentile(values, 0.99), 2),
  max: round(Math.max(...values), 2),
})
