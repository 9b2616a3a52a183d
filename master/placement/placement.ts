/**
 * Where copies go: a pure function of a snapshot, with its reasons.
 *
 * Criteria, the first that tells two servers apart decides: a zone that holds no copy yet, then a rack, then a host; and
 * among equals those that are not far slower than the rest, then chance, weighted by free space and against load and
 * latency. A slow server is taken where no other would do as well: speed is not worth a failure domain. Chance rather than "the emptiest" because many
 * allocations are made from one snapshot: the emptiest would get them all. Weighting also brings a fourth zone its
 * share, where always taking the best three would leave it empty.
 */
import type { ServerId } from '../../common/ids.js'
import type { ServerState } from '../../common/protocol/cluster.js'
import { slowOnes } from '../../common/flow/outliers.js'
import type { Random } from '../../common/random/random.js'
import { hostOf, rackOf, zoneOf, type Located } from './spread.js'

export interface PlacementServer {
  readonly serverNo: number
  readonly serverId: ServerId
  readonly state: ServerState
  readonly zone: string
  readonly rack: string
  readonly host: string
  /** Room for one more chunk of this length at least, on one disk. */
  readonly largestFreeBytes: number
  readonly freeBytes: number
  readonly usedBytes: number
  /** Operations in flight. */
  readonly load: number
  /** How long a disk operation takes there of late, on its quickest disk; absent while that is not known. */
  readonly latencyMs?: number
}

export interface PlacementRequest {
  readonly copies: number
  readonly lengthBytes: number
  readonly servers: readonly PlacementServer[]
  /** Where copies are already: excluded, and their domains count as used. */
  readonly existing: readonly number[]
  readonly excluded: ReadonlySet<number>
}

export type RejectionReason = 'not-serving' | 'holds-a-copy' | 'excluded' | 'no-space'

export interface Choice {
  readonly server: PlacementServer
  /** What spoke for it. */
  readonly reason: 'new-zone' | 'new-rack' | 'new-host' | 'same-host'
}

export interface Placement {
  /** At most `copies`; fewer when no more servers will do. */
  readonly chosen: readonly Choice[]
  readonly rejected: readonly { readonly server: PlacementServer; readonly reason: RejectionReason }[]
}

/** A server this much slower than instant gets half the chunks. */
const LATENCY_HALVING_MS = 50

export function place(request: PlacementRequest, random: Random): Placement {
  const rejected: { server: PlacementServer; reason: RejectionReason }[] = []
  const candidates = request.servers.filter((server) => {
    const reason = rejectionOf(server, request)
    if (reason) rejected.push({ server, reason })
    return !reason
  })
  const used = request.servers.filter((server) => request.existing.includes(server.serverNo))
  const slow = slowOnes(
    request.servers.filter((server) => server.state === 'serving'),
    ({ latencyMs }) => latencyMs,
  )
  const chosen: Choice[] = []
  while (chosen.length < request.copies && candidates.length > 0) {
    const best = bestTier(candidates, used)
    const quick = best.servers.filter((server) => !slow.has(server))
    const server = drawWeighted(quick.length > 0 ? quick : best.servers, random)
    candidates.splice(candidates.indexOf(server), 1)
    used.push(server)
    chosen.push({ server, reason: best.reason })
  }
  return { chosen, rejected }
}

/** Whether {@link place} would find a server at all: asked for far more chunks than there are copies to be made. */
export const hasRoom = (request: Omit<PlacementRequest, 'copies'>): boolean =>
  request.servers.some((server) => rejectionOf(server, request) === undefined)

function rejectionOf(server: PlacementServer, request: Omit<PlacementRequest, 'copies'>): RejectionReason | undefined {
  if (server.state !== 'serving') return 'not-serving'
  if (request.existing.includes(server.serverNo)) return 'holds-a-copy'
  if (request.excluded.has(server.serverNo)) return 'excluded'
  if (server.largestFreeBytes < request.lengthBytes) return 'no-space'
  return undefined
}

/** Compared field by field: making a key for each of a thousand servers, for each copy of a plan, takes a sixth of its time. */
const shareZone = (one: Located, other: Located): boolean => one.zone === other.zone
const shareRack = (one: Located, other: Located): boolean => shareZone(one, other) && one.rack === other.rack
const shareHost = (one: Located, other: Located): boolean => shareRack(one, other) && one.host === other.host
const TIERS = [
  { reason: 'new-zone', share: shareZone },
  { reason: 'new-rack', share: shareRack },
  { reason: 'new-host', share: shareHost },
] as const

/** The candidates of the widest failure domain that holds no copy yet. */
function bestTier(
  candidates: readonly PlacementServer[],
  used: readonly PlacementServer[],
): { servers: readonly PlacementServer[]; reason: Choice['reason'] } {
  for (const { reason, share } of TIERS) {
    const fresh = candidates.filter((server) => !used.some((other) => share(server, other)))
    if (fresh.length > 0) return { servers: fresh, reason }
  }
  return { servers: candidates, reason: 'same-host' }
}

function drawWeighted(servers: readonly PlacementServer[], random: Random): PlacementServer {
  const weights = servers.map(
    (server) => Math.max(1, server.freeBytes) / (1 + server.load) / (1 + (server.latencyMs ?? 0) / LATENCY_HALVING_MS),
  )
  let rest = random.fraction() * weights.reduce((sum, weight) => sum + weight, 0)
  for (const [index, server] of servers.entries()) {
    rest -= weights[index] ?? 0
    if (rest < 0) return server
  }
  return servers.at(-1) as PlacementServer
}

/**
 * Which of too many copies to give up: one whose failure domain holds another, else any; among those the one on the
 * fullest server.
 */
export function chooseSurplus(holders: readonly PlacementServer[]): PlacementServer | undefined {
  for (const of of [hostOf, rackOf, zoneOf]) {
    const doubled = holders.filter((server) => holders.some((other) => other !== server && of(other) === of(server)))
    if (doubled.length > 0 && doubled.length < holders.length) return fullest(doubled)
  }
  return fullest(holders)
}

/** How full a server is, from 0 to 1: what balance is measured by, since servers differ in size. */
export const usedShareOf = (server: Pick<PlacementServer, 'usedBytes' | 'freeBytes'>): number =>
  server.usedBytes / Math.max(1, server.usedBytes + server.freeBytes)

const fullest = (servers: readonly PlacementServer[]): PlacementServer | undefined =>
  servers.reduce<PlacementServer | undefined>(
    (worst, server) => (!worst || usedShareOf(server) > usedShareOf(worst) ? server : worst),
    undefined,
  )
