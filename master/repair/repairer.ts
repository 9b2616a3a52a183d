/**
 * Re-replication: keeps every chunk at its wanted number of live copies, far enough apart, moves copies off servers that
 * are being drained or too full, and gives up copies that are too many. It sweeps the chunks of servers that changed,
 * plans, sends commands, and follows each copy to its receipt.
 *
 * Invariant: what is under way here is only a hint of what to wait for. All of it may be forgotten, by a restart for
 * one: the health table still says what is wrong, and a copy that is made counts by its receipt or its server's report.
 */
import { isReceiptGenuine } from '../../common/auth/receipt.js'
import { Periodic } from '../../common/flow/periodic.js'
import { newId, type ChunkId, type TaskId } from '../../common/ids.js'
import { shardOf, type RepairSpeed, type TaskResult } from '../../common/protocol/cluster.js'
import { MINUTE_MS, SECOND_MS } from '../../common/units.js'
import type { ClusterService } from '../cluster/cluster-service.js'
import { isAway } from '../cluster/liveness.js'
import { placementServer } from '../cluster/placement-snapshot.js'
import type { ServerLife } from '../cluster/server-life.js'
import type { MasterContext } from '../context.js'
import { chooseSurplus, type PlacementServer } from '../placement/placement.js'
import { HealthClass } from '../store/schema.js'
import type { Deferral, RepairCandidate } from '../store/operations/health.js'
import { mostUnequal } from './balance.js'
import { RepairBrakes } from './brakes.js'
import { planMoves, planRepairs, type Stuck } from './planner.js'
import { limitsAt } from './speeds.js'
import { Transfers, type Active } from './transfers.js'

/** Chunks of a class looked at in one plan. The next one follows at once while there is more to do. */
const PAGE = 256
const SWEEP_PAGE = 500
/** So long a round looks at the chunks of changed servers before what it has found is planned. */
const SWEEP_STINT_MS = 500
const RETRY_FIRST_MS = 1 * SECOND_MS
const RETRY_MAX_MS = 5 * MINUTE_MS
const ROUND_INTERVAL_MS = 500
/** Last copies that take longer than this do not hold up the others any more. */
const URGENT_MS = 15 * SECOND_MS
const BALANCE_INTERVAL_MS = 5 * SECOND_MS
const MOVES_PAGE = 64

export interface RepairFigures {
  readonly active: number
  readonly bytesPerSecond: number
  readonly brake: string | null
  readonly speed: RepairSpeed
  /** Since nothing was left to do. */
  readonly copied: { readonly chunks: number; readonly bytes: number }
}

export class Repairer {
  readonly #context: MasterContext
  readonly #cluster: ClusterService
  readonly #life: ServerLife
  readonly #transfers: Transfers
  readonly #brakes: RepairBrakes
  readonly #rounds: Periodic
  #planning: Promise<void> | undefined
  /** The plan that follows the one under way, if anybody waits for it. */
  #nextPlan: Promise<void> | undefined
  /** Chunks of changed servers are still to be looked at; for how many rounds by now. */
  #sweeping = false
  #sweepRounds = 0
  #balancedMs = -Infinity

  constructor(context: MasterContext, cluster: ClusterService, life: ServerLife) {
    this.#context = context
    this.#cluster = cluster
    this.#life = life
    this.#transfers = new Transfers(context, cluster)
    this.#brakes = new RepairBrakes(context.clock, context.settings)
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
  statesChanged(lost: readonly number[]): void {
    const views = this.#cluster.views.all()
    if (lost.length > 0) this.#brakes.serversLost(lost, views.length)
    else {
      const away = views.filter((view) => isAway(view.state)).map(({ record }) => record.serverNo)
      this.#brakes.serversBack(away, views.length)
    }
    this.#rounds.poke()
  }

  figures(): RepairFigures {
    const { count: active, bytesPerSecond, copied } = this.#transfers
    return { active, bytesPerSecond, copied, brake: this.#brakes.reason(), speed: this.#cluster.repairSpeed }
  }

  /** Takes in finished copies and plans the next ones, so that the same heartbeat can carry them. */
  async results(results: readonly TaskResult[]): Promise<void> {
    const deferrals: Deferral[] = []
    for (const result of results) {
      const active = this.#transfers.get(result.taskId)
      const failure = result.kind === 'failed' ? `${result.code}: ${result.message}` : await this.#copied(result)
      if (result.kind === 'failed')
        this.#context.log.warn(
          { taskId: result.taskId, chunkId: active?.assignment.candidate.chunkId, code: result.code, reason: result.message },
          'a copy failed',
        )
      if (!active) continue
      this.#transfers.end(result.taskId, active)
      if (result.kind === 'failed') this.#transfers.refused(active, result.code)
      deferrals.push(failure === undefined ? again(active) : this.#failed(active, failure))
    }
    await this.#defer(deferrals)
    await this.#plan()
  }

  /** A source tells which copies it is at: what it should be at and is not is planned anew. */
  async running(serverNo: number, taskIds: readonly TaskId[]): Promise<void> {
    const lost = this.#transfers.heard(serverNo, new Set(taskIds))
    for (const [taskId, active] of lost) this.#transfers.end(taskId, active)
    await this.#defer(lost.map(([, active]) => again(active)))
  }

  /** @returns why the copy does not count, if it does not: the next attempt then waits, or it would follow at once for ever */
  async #copied(result: Extract<TaskResult, { kind: 'replicated' }>): Promise<string | undefined> {
    const target = this.#cluster.recordOf(result.receipt.serverId)
    if (!target || !isReceiptGenuine(target.receiptKey, result.receipt)) {
      this.#context.log.warn({ receipt: result.receipt }, 'a receipt of a copy is not genuine')
      return 'the receipt of the copy is not genuine'
    }
    const { serverNo } = target
    const toldSequence = this.#cluster.toldSequence(target)
    if (!(await this.#context.store.addReplica({ serverNo, receipt: result.receipt, toldSequence }))) {
      // It had the copy already, from before it last told what it holds. What is true it says itself.
      this.#cluster.send(serverNo, { kind: 'report', shards: [shardOf(result.receipt.chunkId)] })
      return 'the receipt of the copy is older than what its server has told: it is asked what it holds'
    }
    this.#transfers.done(result.receipt.lengthBytes)
    return undefined
  }

  async #round(signal: AbortSignal): Promise<void> {
    await this.#sweep(signal)
    await this.#dropOverdue()
    await this.#plan()
    await this.#trimSurplus()
    await this.#life.finishDrains()
    await this.#balance()
    if (this.#sweeping) this.#rounds.poke()
  }

  async #sweep(signal: AbortSignal): Promise<void> {
    const { clock, store } = this.#context
    const startedMs = clock.monotonic()
    do {
      this.#sweeping = await store.sweepServers({ limit: SWEEP_PAGE })
    } while (this.#sweeping && !signal.aborted && clock.monotonic() - startedMs < SWEEP_STINT_MS)
    this.#sweepRounds = this.#sweeping ? this.#sweepRounds + 1 : 0
  }

  /**
   * One plan at a time: two would assign the same chunk twice. All who come while one is under way share the next: it sees
   * what each of them has brought. (With hundreds of servers, a plan for each result would leave time for nothing else.)
   */
  #plan(): Promise<void> {
    if (!this.#planning) return this.#beginPlan()
    return (this.#nextPlan ??= this.#planning
      .catch(() => undefined)
      .then(() => {
        this.#nextPlan = undefined
        return this.#beginPlan()
      }))
  }

  #beginPlan(): Promise<void> {
    return (this.#planning = this.#planOnce().finally(() => (this.#planning = undefined)))
  }

  async #planOnce(): Promise<void> {
    const classes = this.#brakes.allowed()
    if (classes.length === 0) return
    const urgent = classes.includes(HealthClass.lastCopy) ? await this.#planClass(HealthClass.lastCopy) : 0
    // A chunk with one copy left gets its second before any other chunk gets its third. What a sweep that takes long has not
    // come to yet holds up nobody: a last copy among it has limits of its own, twice those of the others.
    const isFirstLook = this.#sweeping && this.#sweepRounds === 0
    const mustWait = urgent > 0 || isFirstLook || this.#transfers.hasUrgent(URGENT_MS)
    if (mustWait) return
    let waiting = 0
    for (const healthClass of classes.filter((one) => one !== HealthClass.lastCopy)) waiting += await this.#planClass(healthClass)
    if (waiting === 0 && this.#transfers.count === 0) this.#transfers.startAnew()
  }

  /** @returns how many chunks of the class could be copied and still wait for their turn */
  async #planClass(healthClass: number): Promise<number> {
    const { store, random, settings } = this.#context
    const due = await store.listUnhealthy({ healthClass, limit: PAGE })
    const candidates = due
      .filter((candidate) => !this.#transfers.isActive(candidate.chunkId))
      .sort((one, other) => one.serving - other.serving)
    if (candidates.length === 0) return 0
    const { flight, avoided } = this.#transfers
    const limitOf = limitsAt(this.#cluster.repairSpeed, settings.repairLimits)
    const plan = planRepairs({ candidates, servers: this.#servers(), flight, limitOf, avoided }, random)
    for (const assignment of plan.assignments) this.#transfers.start(assignment)
    const nowMs = store.now()
    const sent = plan.assignments.map(({ candidate }): Deferral => ({
      chunkId: candidate.chunkId,
      nextMs: nowMs + settings.repairTimeoutMs,
      error: null,
      failed: false,
    }))
    await this.#defer([...sent, ...plan.stuck.map((stuck) => this.#stuck(stuck, nowMs))])
    return candidates.length - plan.assignments.length - plan.stuck.length
  }

  /** Copies whose source or target is gone, or that nobody has told of for too long, are planned anew. */
  async #dropOverdue(): Promise<void> {
    const deferrals: Deferral[] = []
    for (const { taskId, active, broken } of this.#transfers.overdue()) {
      this.#transfers.end(taskId, active)
      deferrals.push(broken ? again(active) : this.#failed(active, 'no result in time'))
    }
    await this.#defer(deferrals)
  }

  async #trimSurplus(): Promise<void> {
    const { store } = this.#context
    if (!this.#cluster.settled) return
    for (const candidate of await store.listUnhealthy({ healthClass: HealthClass.surplus, limit: PAGE })) {
      const surplus = this.#surplusOf(candidate)
      if (surplus) await store.trimReplica({ chunkId: candidate.chunkId, serverNo: surplus.serverNo })
    }
  }

  /** Copies on servers that are being drained go first. */
  #surplusOf(candidate: RepairCandidate): PlacementServer | undefined {
    const holders = candidate.replicas.filter((replica) => replica.state === 'good' && replica.serving)
    const leaving = holders.filter((replica) => !replica.lasting)
    const views = (leaving.length > 0 ? leaving : holders).map((replica) => this.#cluster.views.byNo(replica.serverNo))
    return chooseSurplus(views.filter((view) => view !== undefined).map(placementServer))
  }

  /** Moves copies from the fullest to the emptiest server, when nothing else is to be done. */
  async #balance(): Promise<void> {
    const { clock, store, random, settings } = this.#context
    const nowMs = clock.monotonic()
    if (nowMs - this.#balancedMs < BALANCE_INTERVAL_MS || this.#sweeping) return
    if (!this.#brakes.allowed().includes(HealthClass.rebalance) || this.#transfers.count > 0) return
    this.#balancedMs = nowMs
    const servers = this.#servers()
    const pair = mostUnequal(servers)
    if (!pair) return
    const { serverNo } = pair.from
    const drawn = await store.listMovable({ serverNo, after: newId<ChunkId>(random), limit: MOVES_PAGE })
    const candidates = drawn.length > 0 ? drawn : await store.listMovable({ serverNo, after: '', limit: MOVES_PAGE })
    const limitOf = limitsAt(this.#cluster.repairSpeed, settings.repairLimits)
    for (const move of planMoves({ ...pair, candidates, servers, flight: this.#transfers.flight, limitOf }))
      this.#transfers.start(move)
  }

  #servers(): PlacementServer[] {
    return this.#cluster.views.all().map(placementServer)
  }

  async #defer(deferrals: readonly Deferral[]): Promise<void> {
    if (deferrals.length > 0) await this.#context.store.deferRepairs({ deferrals })
  }

  #stuck({ candidate, why }: Stuck, nowMs: number): Deferral {
    return { chunkId: candidate.chunkId, nextMs: nowMs + retryDelayMs(candidate), error: why, failed: true }
  }

  #failed(active: Active, error: string): Deferral {
    const { candidate } = active.assignment
    return { chunkId: candidate.chunkId, nextMs: this.#context.store.now() + retryDelayMs(candidate), error, failed: true }
  }
}

const retryDelayMs = (candidate: RepairCandidate): number =>
  Math.min(RETRY_MAX_MS, RETRY_FIRST_MS * 2 ** Math.min(candidate.attempts, 10))

/** The chunk may need further copies: it is looked at again at once. */
const again = (active: Active): Deferral => ({
  chunkId: active.assignment.candidate.chunkId,
  nextMs: 0,
  error: null,
  failed: false,
})
