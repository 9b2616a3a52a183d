/**
 * What to repair next: a pure function of the due chunks, the servers and the copies in flight. Fewest copies first;
 * within per-server limits, so that repair neither piles up on one disk nor starves clients.
 */
import type { Random } from '../../common/random/random.js'
import { MiB } from '../../common/units.js'
import { hasRoom, place, type PlacementRequest, type PlacementServer } from '../placement/placement.js'
import { missingDomain, staysSpread } from '../placement/spread.js'
import type { TransferLimit } from '../settings.js'
import { HealthClass } from '../store/schema.js'
import type { CandidateReplica, RepairCandidate } from '../store/operations/health.js'
import type { LimitOf } from './speeds.js'

export interface Assignment {
  readonly candidate: RepairCandidate
  readonly sourceNo: number
  readonly targetNo: number
  readonly weight: number
}

export interface Stuck {
  readonly candidate: RepairCandidate
  /** Why it cannot be repaired now, for its row in the health table. */
  readonly why: 'no source is serving' | 'no server has room for another copy' | 'no server in another failure domain has room'
}

export interface RepairPlan {
  readonly assignments: readonly Assignment[]
  readonly stuck: readonly Stuck[]
}

export interface PlanInput {
  /** Most urgent first. */
  readonly candidates: readonly RepairCandidate[]
  readonly servers: readonly PlacementServer[]
  /** Weights in flight per server, which the plan adds to. */
  readonly flight: TransferFlight
  readonly limitOf: LimitOf
  /** Servers that have just refused a copy. */
  readonly avoided?: ReadonlySet<number>
}

/** How much a copy weighs against the limits: small chunks cost little bandwidth, but not nothing. */
export const weightOf = (lengthBytes: number): number => Math.max(1 / 8, lengthBytes / (64 * MiB))

/** Sums of weights of copies under way, per server and direction. */
export class TransferFlight {
  readonly #into = new Map<number, number>()
  readonly #outOf = new Map<number, number>()

  add(sourceNo: number, targetNo: number, weight: number): void {
    this.#outOf.set(sourceNo, this.outOf(sourceNo) + weight)
    this.#into.set(targetNo, this.into(targetNo) + weight)
  }

  remove(sourceNo: number, targetNo: number, weight: number): void {
    this.add(sourceNo, targetNo, -weight)
  }

  into(serverNo: number): number {
    return this.#into.get(serverNo) ?? 0
  }

  outOf(serverNo: number): number {
    return this.#outOf.get(serverNo) ?? 0
  }
}

export function planRepairs(input: PlanInput, random: Random): RepairPlan {
  const assignments: Assignment[] = []
  const stuck: Stuck[] = []
  for (const candidate of input.candidates) {
    const outcome = assign(candidate, input, random)
    if (outcome.kind === 'assigned') {
      input.flight.add(outcome.assignment.sourceNo, outcome.assignment.targetNo, outcome.assignment.weight)
      assignments.push(outcome.assignment)
    } else if (outcome.kind === 'stuck') {
      stuck.push({ candidate, why: outcome.why })
    }
  }
  return { assignments, stuck }
}

/** An idle server takes any one chunk, however large. */
const isFull = (inFlight: number, weight: number, limit: number): boolean => inFlight > 0 && inFlight + weight > limit

type Outcome =
  | { readonly kind: 'assigned'; readonly assignment: Assignment }
  /** All who could are busy: next time. */
  | { readonly kind: 'wait' }
  | { readonly kind: 'stuck'; readonly why: Stuck['why'] }

function assign(candidate: RepairCandidate, input: PlanInput, random: Random): Outcome {
  const source = chooseSource(candidate, input.flight)
  if (source === undefined) return { kind: 'stuck', why: 'no source is serving' }
  const servers = targetsFor(candidate, input.servers)
  // Whoever it could go to, nobody has a hand free, as for most chunks of a long queue: no need to look any closer.
  if (isEachFull(servers, candidate, input)) return { kind: 'wait' }
  if (!targetRequests(candidate, [], servers).some(hasRoom)) return { kind: 'stuck', why: whyNoTarget(candidate) }
  const find = (barred: Iterable<number>): PlacementServer | undefined => findTarget(candidate, [...barred], servers, random)
  return assignWithin(candidate, source, input, input.limitOf(candidate.healthClass), servers, find)
}

function isEachFull(servers: readonly PlacementServer[], candidate: RepairCandidate, { flight, limitOf }: PlanInput): boolean {
  const { into } = limitOf(candidate.healthClass)
  const weight = weightOf(candidate.lengthBytes)
  const serving = servers.filter((server) => server.state === 'serving')
  return serving.length > 0 && serving.every(({ serverNo }) => isFull(flight.into(serverNo), weight, into))
}

function assignWithin(
  candidate: RepairCandidate,
  sourceNo: number,
  { flight, avoided = new Set() }: PlanInput,
  limit: TransferLimit,
  servers: readonly PlacementServer[],
  find: (barred: Iterable<number>) => PlacementServer | undefined,
): Outcome {
  const weight = weightOf(candidate.lengthBytes)
  if (isFull(flight.outOf(sourceNo), weight, limit.outOf)) return { kind: 'wait' }
  const busy = servers.filter((server) => isFull(flight.into(server.serverNo), weight, limit.into))
  const target = find([...avoided, ...busy.map((server) => server.serverNo)])
  if (!target) return { kind: 'wait' }
  return { kind: 'assigned', assignment: { candidate, sourceNo, targetNo: target.serverNo, weight } }
}

const whyNoTarget = ({ healthClass }: RepairCandidate): Stuck['why'] =>
  healthClass === HealthClass.misplaced ? 'no server in another failure domain has room' : 'no server has room for another copy'

/** The holder with the least in flight; after a failure, another one than the last time. */
function chooseSource(candidate: RepairCandidate, flight: TransferFlight): number | undefined {
  const sources = candidate.replicas
    .filter((replica) => replica.state === 'good' && replica.serving)
    .map((replica) => replica.serverNo)
    .sort((one, other) => flight.outOf(one) - flight.outOf(other) || one - other)
  return sources.length === 0 ? undefined : sources[candidate.attempts % sources.length]
}

/** The servers that would help: for a misplaced chunk only those in a domain that it lacks. */
function targetsFor(candidate: RepairCandidate, servers: readonly PlacementServer[]): readonly PlacementServer[] {
  if (candidate.healthClass !== HealthClass.misplaced) return servers
  const lasting = new Set(candidate.replicas.filter(isLasting).map((replica) => replica.serverNo))
  const holders = servers.filter((server) => lasting.has(server.serverNo))
  const helps = missingDomain(
    holders,
    candidate.wanted,
    servers.filter((server) => server.state === 'serving' || lasting.has(server.serverNo)),
  )
  return helps ? servers.filter((server) => lasting.has(server.serverNo) || helps(server)) : []
}

const isLasting = (replica: CandidateReplica): boolean => replica.state === 'good' && replica.lasting

/** A server without any row for the chunk; or else one whose copy is corrupt, which the new one then replaces. */
function findTarget(
  candidate: RepairCandidate,
  barred: readonly number[],
  servers: readonly PlacementServer[],
  random: Random,
): PlacementServer | undefined {
  for (const request of targetRequests(candidate, barred, servers)) {
    const found = place({ ...request, copies: 1 }, random).chosen[0]
    if (found) return found.server
  }
  return undefined
}

/** What is asked of placement for one more copy, one after the other until it finds a server. */
function targetRequests(
  candidate: RepairCandidate,
  barred: readonly number[],
  servers: readonly PlacementServer[],
): Omit<PlacementRequest, 'copies'>[] {
  const { replicas, lengthBytes } = candidate
  // Domains of copies that are expected back count as used, unless the server is being drained.
  const stays = (replica: CandidateReplica): boolean =>
    replica.state === 'good' && (replica.lasting || (replica.reachable && !replica.serving))
  const existing = replicas.filter(stays).map((replica) => replica.serverNo)
  const holders = replicas.map((replica) => replica.serverNo)
  const withoutBad = replicas.filter((replica) => replica.state !== 'corrupt').map((replica) => replica.serverNo)
  return [holders, withoutBad].map((held) => ({ lengthBytes, servers, existing, excluded: new Set([...held, ...barred]) }))
}

export interface MoveInput {
  /** Chunks on `from` in whose copies nothing is wrong. */
  readonly candidates: readonly RepairCandidate[]
  readonly from: PlacementServer
  readonly to: PlacementServer
  readonly servers: readonly PlacementServer[]
  readonly flight: TransferFlight
  readonly limitOf: LimitOf
}

/** Moves that make a full server emptier: a copy on `to` is made, and the one on `from` is then one too many. */
export function planMoves(input: MoveInput): readonly Assignment[] {
  const { from, to, flight } = input
  const limit = input.limitOf(HealthClass.rebalance)
  const assignments: Assignment[] = []
  for (const candidate of input.candidates) {
    const weight = weightOf(candidate.lengthBytes)
    if (isFull(flight.outOf(from.serverNo), weight, limit.outOf) || isFull(flight.into(to.serverNo), weight, limit.into)) break
    const holders = input.servers.filter((server) => candidate.replicas.some((one) => one.serverNo === server.serverNo))
    if (holders.includes(to) || candidate.lengthBytes > to.largestFreeBytes || !staysSpread(holders, from, to)) continue
    flight.add(from.serverNo, to.serverNo, weight)
    assignments.push({ candidate, sourceNo: from.serverNo, targetNo: to.serverNo, weight })
  }
  return assignments
}
