/**
 * Re-replication: keeps every chunk at its wanted number of live copies, and gives up copies that are too many.
 * It sweeps the chunks of servers that changed, plans, sends commands, and follows each copy to its receipt.
 *
 * Invariant: what is under way here is only a hint of what to wait for. All of it may be forgotten, by a restart for
 * one: the health table still says what is wrong, and a copy that is made counts by its receipt or its server's report.
 */
import { isReceiptGenuine } from '../../common/auth/receipt.js'
import { sealCapability } from '../../common/auth/capability.js'
import { Periodic } from '../../common/flow/periodic.js'
import { RateMeter } from '../../common/flow/rate-meter.js'
import { newId, type ChunkId, type TaskId } from '../../common/ids.js'
import type { TaskResult } from '../../common/protocol/cluster.js'
import { MINUTE_MS, SECOND_MS } from '../../common/units.js'
import type { ClusterService } from '../cluster/cluster-service.js'
import type { MasterContext } from '../context.js'
import { isAway } from '../cluster/liveness.js'
import { chooseSurplus } from '../placement/placement.js'
import { placementServer } from '../cluster/placement-snapshot.js'
import { HealthClass } from '../store/schema.js'
import type { Deferral, RepairCandidate } from '../store/operations/health.js'
import { RepairBrakes } from './brakes.js'
import { planRepairs, TransferFlight, type Assignment } from './planner.js'

/** Chunks looked at in one round. The next round follows at once while there is more to do. */
const PAGE = 256
const SWEEP_PAGE = 500
const RETRY_FIRST_MS = 1 * SECOND_MS
const RETRY_MAX_MS = 5 * MINUTE_MS
const ROUND_INTERVAL_MS = 500
const RATE_WINDOW_MS = 10 * SECOND_MS

interface Active {
  readonly assignment: Assignment
  readonly sinceMs: number
}

export interface RepairFigures {
  readonly active: number
  readonly bytesPerSecond: number
  readonly brake: string | null
}

export class Repairer {
  readonly #context: MasterContext
  readonly #cluster: ClusterService
  readonly #flight = new TransferFlight()
  readonly #active = new Map<TaskId, Active>()
  readonly #activeChunks = new Set<ChunkId>()
  readonly #brakes: RepairBrakes
  readonly #rate: RateMeter
  readonly #rounds: Periodic
  #planning: Promise<void> | undefined

  constructor(context: MasterContext, cluster: ClusterService) {
    this.#context = context
    this.#cluster = cluster
    this.#brakes = new RepairBrakes(context.clock, context.settings)
    this.#rate = new RateMeter(context.clock, RATE_WINDOW_MS)
    this.#rounds = new Periodic({
      clock: context.clock,
      intervalMs: () => Math.min(ROUND_INTERVAL_MS, context.settings.heartbeatIntervalMs),
      run: (signal) => this.#round(signal),
      onError: (error) => context.log.error({ error }, 'repair round failed'),
    })
  }

  start(): void {
    this.#rounds.start({ immediately: true })
  }

  async stop(): Promise<void> {
    await this.#rounds.stop()
  }

  /** Servers have changed state: their chunks are looked at right away. */
  statesChanged(lost: number): void {
    const views = this.#cluster.views.all()
    if (lost > 0) this.#brakes.serversLost(lost, views.length)
    else this.#brakes.serversBack(views.filter((view) => isAway(view.state)).length, views.length)
    this.#rounds.poke()
  }

  figures(): RepairFigures {
    return { active: this.#active.size, bytesPerSecond: this.#rate.perSecond(), brake: this.#brakes.reason() }
  }

  /** Takes in finished copies and plans the next ones, so that the same heartbeat can carry them. */
  async results(results: readonly TaskResult[]): Promise<void> {
    const deferrals: Deferral[] = []
    for (const result of results) {
      const active = this.#active.get(result.taskId)
      if (result.kind === 'replicated') await this.#copied(result)
      else
        this.#context.log.warn(
          { taskId: result.taskId, chunkId: active?.assignment.candidate.chunkId, code: result.code, reason: result.message },
          'a copy failed',
        )
      if (!active) continue
      this.#forget(result.taskId, active)
      deferrals.push(result.kind === 'replicated' ? done(active) : this.#failed(active, `${result.code}: ${result.message}`))
    }
    if (deferrals.length > 0) await this.#context.store.deferRepairs({ deferrals })
    await this.#plan()
  }

  async #copied(result: Extract<TaskResult, { kind: 'replicated' }>): Promise<void> {
    const target = this.#cluster.recordOf(result.receipt.serverId)
    if (!target || !isReceiptGenuine(target.receiptKey, result.receipt)) {
      this.#context.log.warn({ receipt: result.receipt }, 'a receipt of a copy is not genuine')
      return
    }
    const { serverNo } = target
    const toldSequence = this.#cluster.toldSequence(target)
    await this.#context.store.addReplica({ serverNo, receipt: result.receipt, toldSequence })
    this.#rate.add(result.receipt.lengthBytes)
  }

  async #round(signal: AbortSignal): Promise<void> {
    while (!signal.aborted && (await this.#context.store.sweepServers({ limit: SWEEP_PAGE })));
    await this.#dropOverdue()
    await this.#plan()
    await this.#trimSurplus()
  }

  /** One plan at a time: two would assign the same chunk twice. */
  async #plan(): Promise<void> {
    while (this.#planning) await this.#planning
    this.#planning = this.#planOnce().finally(() => (this.#planning = undefined))
    await this.#planning
  }

  async #planOnce(): Promise<void> {
    const { store, random } = this.#context
    const classes = this.#brakes.allowed()
    const candidates: RepairCandidate[] = []
    for (const healthClass of classes) candidates.push(...(await store.listUnhealthy({ healthClass, limit: PAGE })))
    const waiting = candidates.filter((candidate) => !this.#activeChunks.has(candidate.chunkId))
    if (waiting.length === 0) return
    const servers = this.#cluster.views.all().map(placementServer)
    const plan = planRepairs(
      { candidates: waiting, servers, flight: this.#flight, limits: this.#context.settings.repairLimits },
      random,
    )
    for (const assignment of plan.assignments) this.#send(assignment)
    const nowMs = store.now()
    const deferrals: Deferral[] = [
      ...plan.assignments.map(({ candidate }) => ({
        chunkId: candidate.chunkId,
        nextMs: nowMs + this.#context.settings.repairTimeoutMs,
        error: null,
        failed: false,
      })),
      ...plan.stuck.map(({ candidate, why }) => ({
        chunkId: candidate.chunkId,
        nextMs: nowMs + this.#retryDelayMs(candidate),
        error: why,
        failed: true,
      })),
    ]
    if (deferrals.length > 0) await store.deferRepairs({ deferrals })
  }

  #send(assignment: Assignment): void {
    const { candidate, sourceNo, targetNo } = assignment
    const target = this.#cluster.views.byNo(targetNo)?.record
    const key = this.#context.capabilityKeys[0]
    if (!target || !key) return
    const taskId = newId<TaskId>(this.#context.random)
    const capability = sealCapability(key, {
      kind: 'write',
      chunkId: candidate.chunkId,
      uploadId: candidate.uploadId,
      chunkIndex: candidate.chunkIndex,
      lengthBytes: candidate.lengthBytes,
      targets: [[target.serverId, target.incarnation]],
      metadataEpoch: this.#context.metadataEpoch,
      expiresMs: this.#context.store.now() + this.#context.settings.capabilityLifeMs,
    })
    this.#activeChunks.add(candidate.chunkId)
    this.#active.set(taskId, { assignment, sinceMs: this.#context.clock.monotonic() })
    this.#cluster.send(sourceNo, {
      kind: 'replicate',
      taskId,
      chunkId: candidate.chunkId,
      target: { serverId: target.serverId, url: target.url },
      capability,
    })
  }

  /** Copies whose source or target is gone, or that have taken too long, are planned anew. */
  async #dropOverdue(): Promise<void> {
    const nowMs = this.#context.clock.monotonic()
    const deferrals: Deferral[] = []
    for (const [taskId, active] of this.#active) {
      const { sourceNo, targetNo } = active.assignment
      const broken = [sourceNo, targetNo].some((serverNo) => this.#cluster.views.byNo(serverNo)?.state === 'dead')
      if (!broken && nowMs - active.sinceMs < this.#context.settings.repairTimeoutMs) continue
      this.#forget(taskId, active)
      deferrals.push(broken ? done(active) : this.#failed(active, 'no result in time'))
    }
    if (deferrals.length > 0) await this.#context.store.deferRepairs({ deferrals })
  }

  async #trimSurplus(): Promise<void> {
    const { store } = this.#context
    for (const candidate of await store.listUnhealthy({ healthClass: HealthClass.surplus, limit: PAGE })) {
      const holders = candidate.replicas.filter((replica) => replica.state === 'good' && replica.serving)
      const views = holders.map((replica) => this.#cluster.views.byNo(replica.serverNo)).filter((view) => view !== undefined)
      const surplus = chooseSurplus(views.map(placementServer))
      if (surplus) await store.trimReplica({ chunkId: candidate.chunkId, serverNo: surplus.serverNo })
    }
  }

  #forget(taskId: TaskId, active: Active): void {
    this.#active.delete(taskId)
    this.#activeChunks.delete(active.assignment.candidate.chunkId)
    const { sourceNo, targetNo, weight } = active.assignment
    this.#flight.remove(sourceNo, targetNo, weight)
  }

  #failed(active: Active, error: string): Deferral {
    const { candidate } = active.assignment
    return { chunkId: candidate.chunkId, nextMs: this.#context.store.now() + this.#retryDelayMs(candidate), error, failed: true }
  }

  #retryDelayMs(candidate: RepairCandidate): number {
    return Math.min(RETRY_MAX_MS, RETRY_FIRST_MS * 2 ** Math.min(candidate.attempts, 10))
  }
}

/** The chunk may need further copies: it is looked at again at once. */
const done = (active: Active): Deferral => ({
  chunkId: active.assignment.candidate.chunkId,
  nextMs: 0,
  error: null,
  failed: false,
})
