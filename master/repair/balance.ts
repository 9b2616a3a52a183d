/** Whether servers are unequally full, and which two of them most: a pure function. */
import { usedShareOf, type PlacementServer } from '../placement/placement.js'

/** Servers that differ by less are left alone: every move costs clients something. */
export const IMBALANCE_SHARE = 0.1

/** The fullest and the emptiest serving server when they differ by enough; undefined when they are alike. */
export function mostUnequal(
  servers: readonly PlacementServer[],
): { readonly from: PlacementServer; readonly to: PlacementServer } | undefined {
  const serving = servers.filter((server) => server.state === 'serving')
  const sorted = [...serving].sort((one, other) => usedShareOf(one) - usedShareOf(other) || one.serverNo - other.serverNo)
  const to = sorted[0]
  const from = sorted.at(-1)
  if (!from || !to || usedShareOf(from) - usedShareOf(to) < IMBALANCE_SHARE) return undefined
  return { from, to }
}
