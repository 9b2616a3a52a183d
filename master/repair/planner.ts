/**
 * What to repair next: a pure function of the due chunks, the servers and the copies in flight. Fewest copies first;
 * within per-server limits, so that repair neither piles up on one disk nor starves clients.
 */
import type { Random } from '../../common/random/random.js'
import { MiB } from '../../common/units.js'
import { place, type PlacementServer } from '../placement/placement.js'
import type { TransferLimit } from '../settings.js'
import { HealthClass } from '../store/schema.js'
import type { RepairCandidate } from '../store/operations/health.js'

export interface Assignment {
  readonly candidate: RepairCandidate
  readonly sourceNo: number
  readonly targetNo: number
  readonly weight: number
}

export interface Stuck {
  readonly candidate: RepairCandidate
  /** Why it cannot be repaired now, for its row in the health table. */
  readonly why: 'no source is serving' | 'no server has room for another copy'
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
  readonly limits: { readonly lastCopy: TransferLimit; readonly belowGoal: TransferLimit }
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
    const limit = candidate.healthClass === HealthClass.lastCopy ? input.limits.lastCopy : input.limits.belowGoal
    const outcome = assign(candidate, limit, input, random)
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

function assign(candidate: RepairCandidate, limit: TransferLimit, input: PlanInput, random: Random): Outcome {
  const weight = weightOf(candidate.lengthBytes)
  const sources = candidate.replicas.filter((replica) => replica.state === 'good' && replica.serving)
  if (sources.length === 0) return { kind: 'stuck', why: 'no source is serving' }
  const { flight } = input
  const source = sources.reduce((best, replica) =>
    flight.outOf(replica.serverNo) < flight.outOf(best.serverNo) ? replica : best,
  )
  const find = (barred: readonly number[]): PlacementServer | undefined => findTarget(candidate, barred, input.servers, random)
  if (!find([])) return { kind: 'stuck', why: 'no server has room for another copy' }
  if (isFull(flight.outOf(source.serverNo), weight, limit.outOf)) return { kind: 'wait' }
  const busy = input.servers.filter((server) => isFull(flight.into(server.serverNo), weight, limit.into))
  const target = find(busy.map((server) => server.serverNo))
  if (!target) return { kind: 'wait' }
  return { kind: 'assigned', assignment: { candidate, sourceNo: source.serverNo, targetNo: target.serverNo, weight } }
}

/** A server without any row for the chunk; or else one whose copy is corrupt, which the new one then replaces. */
function findTarget(
  candidate: RepairCandidate,
  barred: readonly number[],
  servers: readonly PlacementServer[],
  random: Random,
): PlacementServer | undefined {
  const { replicas, lengthBytes } = candidate
  // Domains of copies that are expected back count as used.
  const existing = replicas.filter((replica) => replica.state === 'good' && replica.reachable).map((replica) => replica.serverNo)
  const holders = replicas.map((replica) => replica.serverNo)
  const withoutBad = replicas.filter((replica) => replica.state !== 'corrupt').map((replica) => replica.serverNo)
  for (const held of [holders, withoutBad]) {
    const found = place({ copies: 1, lengthBytes, servers, existing, excluded: new Set([...held, ...barred]) }, random).chosen[0]
    if (found) return found.server
  }
  return undefined
}
