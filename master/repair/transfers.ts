/**
 * Copies under way: sent to their sources as commands, followed by what the sources tell with each heartbeat, ended by a
 * result. A command that got lost is noticed when its source does not tell of it; a task that it does tell of may take
 * its time, since repair stands aside for clients.
 */
import { sealCapability } from '../../common/auth/capability.js'
import type { Clock } from '../../common/clock/clock.js'
import { RateMeter } from '../../common/flow/rate-meter.js'
import { newId, type ChunkId, type TaskId } from '../../common/ids.js'
import { SECOND_MS } from '../../common/units.js'
import type { ClusterService } from '../cluster/cluster-service.js'
import type { MasterContext } from '../context.js'
import { HealthClass } from '../store/schema.js'
import { TransferFlight, type Assignment } from './planner.js'

/** Heartbeats of a source that do not tell of a task, before it counts as lost. */
const UNHEARD_BEATS_MAX = 3
const RATE_WINDOW_MS = 10 * SECOND_MS
/** A target that has refused a copy is left alone for so long. */
const AVOIDED_MS = 10 * SECOND_MS
const TARGET_REFUSALS: ReadonlySet<string> = new Set([
  'DISK_FULL',
  'DISK_FAILED',
  'FENCED',
  'TIMEOUT',
  'CONNECTION_FAILED',
  'BUSY',
])

export interface Active {
  readonly assignment: Assignment
  readonly startedMs: number
  /** When its source last told of it. */
  heardMs: number
  unheardBeats: number
}

export class Transfers {
  readonly flight = new TransferFlight()
  readonly #context: MasterContext
  readonly #cluster: ClusterService
  readonly #clock: Clock
  readonly #active = new Map<TaskId, Active>()
  readonly #chunks = new Set<ChunkId>()
  readonly #rate: RateMeter
  readonly #avoided = new Map<number, number>()
  #copied = { chunks: 0, bytes: 0 }

  constructor(context: MasterContext, cluster: ClusterService) {
    this.#context = context
    this.#cluster = cluster
    this.#clock = context.clock
    this.#rate = new RateMeter(context.clock, RATE_WINDOW_MS)
  }

  get count(): number {
    return this.#active.size
  }

  get bytesPerSecond(): number {
    return this.#rate.perSecond()
  }

  /** Since {@link startAnew}. */
  get copied(): { readonly chunks: number; readonly bytes: number } {
    return this.#copied
  }

  startAnew(): void {
    this.#copied = { chunks: 0, bytes: 0 }
  }

  isActive(chunkId: ChunkId): boolean {
    return this.#chunks.has(chunkId)
  }

  get(taskId: TaskId): Active | undefined {
    return this.#active.get(taskId)
  }

  /** Whether a last copy is being made, and has not been for so long that it should hold up others. */
  hasUrgent(withinMs: number): boolean {
    const nowMs = this.#clock.monotonic()
    for (const { assignment, startedMs } of this.#active.values())
      if (assignment.candidate.healthClass === HealthClass.lastCopy && nowMs - startedMs < withinMs) return true
    return false
  }

  get avoided(): ReadonlySet<number> {
    const nowMs = this.#clock.monotonic()
    for (const [serverNo, untilMs] of this.#avoided) if (untilMs <= nowMs) this.#avoided.delete(serverNo)
    return new Set(this.#avoided.keys())
  }

  /** Sends the command. Its weight is in {@link flight} already: the plan has put it there. */
  start(assignment: Assignment): void {
    const { candidate, sourceNo, targetNo } = assignment
    const target = this.#cluster.views.byNo(targetNo)?.record
    const key = this.#context.capabilityKeys[0]
    if (!target || !key) {
      this.flight.remove(sourceNo, targetNo, assignment.weight)
      return
    }
    const { random, store, settings, metadataEpoch } = this.#context
    const taskId = newId<TaskId>(random)
    const capability = sealCapability(key, {
      kind: 'write',
      chunkId: candidate.chunkId,
      uploadId: candidate.uploadId,
      chunkIndex: candidate.chunkIndex,
      lengthBytes: candidate.lengthBytes,
      targets: [[target.serverId, target.incarnation]],
      metadataEpoch,
      expiresMs: store.now() + settings.capabilityLifeMs,
    })
    const nowMs = this.#clock.monotonic()
    this.#chunks.add(candidate.chunkId)
    this.#active.set(taskId, { assignment, startedMs: nowMs, heardMs: nowMs, unheardBeats: 0 })
    this.#cluster.send(sourceNo, {
      kind: 'replicate',
      taskId,
      chunkId: candidate.chunkId,
      target: { serverId: target.serverId, url: target.url },
      capability,
      urgent: candidate.healthClass === HealthClass.lastCopy,
    })
  }

  /** A source tells which tasks it is at. @returns those that it should be at and is not: their commands got lost */
  heard(sourceNo: number, running: ReadonlySet<TaskId>): [TaskId, Active][] {
    const lost: [TaskId, Active][] = []
    for (const [taskId, active] of this.#active) {
      if (active.assignment.sourceNo !== sourceNo) continue
      active.unheardBeats = running.has(taskId) ? 0 : active.unheardBeats + 1
      if (running.has(taskId)) active.heardMs = this.#clock.monotonic()
      if (active.unheardBeats > UNHEARD_BEATS_MAX) lost.push([taskId, active])
    }
    return lost
  }

  /** Those whose source or target is gone, and those that nobody has told of for too long. */
  overdue(): { readonly taskId: TaskId; readonly active: Active; readonly broken: boolean }[] {
    const nowMs = this.#clock.monotonic()
    const out = []
    for (const [taskId, active] of this.#active) {
      const { sourceNo, targetNo } = active.assignment
      const states = [sourceNo, targetNo].map((serverNo) => this.#cluster.views.byNo(serverNo)?.state)
      const broken = states.some((state) => state === undefined || state === 'dead' || state === 'decommissioned')
      if (broken || nowMs - active.heardMs >= this.#context.settings.repairTimeoutMs) out.push({ taskId, active, broken })
    }
    return out
  }

  end(taskId: TaskId, active: Active): void {
    this.#active.delete(taskId)
    this.#chunks.delete(active.assignment.candidate.chunkId)
    const { sourceNo, targetNo, weight } = active.assignment
    this.flight.remove(sourceNo, targetNo, weight)
  }

  /** A copy has arrived. */
  done(lengthBytes: number): void {
    this.#rate.add(lengthBytes)
    this.#copied = { chunks: this.#copied.chunks + 1, bytes: this.#copied.bytes + lengthBytes }
  }

  /** A copy has failed: when it was the target's doing, others are tried first for a while. */
  refused(active: Active, code: string): void {
    if (TARGET_REFUSALS.has(code)) this.#avoided.set(active.assignment.targetNo, this.#clock.monotonic() + AVOIDED_MS)
  }
}
