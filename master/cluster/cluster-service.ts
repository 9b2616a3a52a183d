/**
 * Joining, heartbeats and liveness of chunkservers.
 *
 * Invariant: what placement and repair see here is at most one heartbeat old; what decides over data (whether a copy
 * counts) is in the metadata, where each change of a server's state is recorded before anyone acts on it.
 */
import { digestOfIds } from '../../common/checksum/id-set-digest.js'
import { checksumToHex } from '../../common/checksum/xxh64.js'
import { CairnError } from '../../common/errors/cairn-error.js'
import { bytesToHex, newId, type ServerId, type TaskId } from '../../common/ids.js'
import { Periodic } from '../../common/flow/periodic.js'
import {
  isLater,
  PROTOCOL_VERSION,
  SEQUENCES_PER_INCARNATION,
  type Command,
  type HeartbeatBody,
  type HeartbeatResult,
  type MetadataPosition,
  type RegisterBody,
  type RegisterResult,
  type RepairSpeed,
  type ServerState,
  type ShardDigest,
  type TaskResult,
} from '../../common/protocol/cluster.js'
import type { MasterContext } from '../context.js'
import type { BeatRecord, ServerRecord } from '../store/operations/servers.js'
import type { ShardReport } from '../store/operations/replicas.js'
import { stateAfterSilence, stateWhenHeard } from './liveness.js'
import { Comparisons } from './comparisons.js'
import { ToldChanges } from './told-changes.js'
import { ServerViews, type ServerView } from './server-view.js'

export interface ClusterEvents {
  /** Servers have changed state, or one has joined. */
  readonly onStatesChanged: (changes: readonly { readonly server: ServerView; readonly from: ServerState | undefined }[]) => void
  /** Finished tasks that a heartbeat brought; resolves when new commands may have been queued because of them. */
  readonly onResults: (server: ServerView, results: readonly TaskResult[]) => Promise<void>
  /** The tasks that a server is at, after its results. */
  readonly onTasks: (server: ServerView, taskIds: readonly TaskId[]) => Promise<void>
}

/** Commands waiting for one server's next heartbeat. Beyond this further ones are dropped: whoever sends them sends again. */
const COMMANDS_MAX = 4_000

type ShardReportBody = Omit<ShardReport, 'serverNo'> & { readonly incarnation: number }

const ABSENT_LOAD = { writes: 0, reads: 0 }

export class ClusterService {
  readonly views = new ServerViews()
  readonly #context: MasterContext
  readonly #events: ClusterEvents
  readonly #outbox = new Map<number, Command[]>()
  readonly #beats = new Map<number, BeatRecord>()
  readonly #liveness: Periodic
  readonly #told: ToldChanges
  readonly #comparisons: Comparisons
  /** Some chunkserver has seen later metadata than this database had: noted in it, until an operator decides. */
  #deletionsHeld = false
  /** How much repair may take; chunkservers hear of it with each heartbeat. */
  repairSpeed: RepairSpeed = 'balanced'
  readonly #startedMs: number
  /** When liveness was last looked at. */
  #checkedMs = Infinity
  readonly #beatWriter: Periodic

  constructor(context: MasterContext, events: ClusterEvents) {
    this.#context = context
    this.#events = events
    this.#comparisons = new Comparisons(context.clock)
    this.#told = new ToldChanges(context.store)
    const { clock, settings, log } = context
    this.#startedMs = clock.monotonic()
    this.#liveness = new Periodic({
      clock,
      intervalMs: () => Math.max(10, Math.min(settings.heartbeatIntervalMs, settings.suspectAfterMs / 4)),
      run: () => this.#checkLiveness(),
      onError: (error) => log.error({ error }, 'liveness check failed'),
    })
    this.#beatWriter = new Periodic({
      clock,
      intervalMs: () => settings.heartbeatIntervalMs,
      run: () => this.#writeBeats(),
      onError: (error) => log.error({ error }, 'heartbeats could not be recorded'),
    })
  }

  /** Loads the servers that the metadata knows. Each gets the full time to be heard before silence counts. */
  async start(): Promise<void> {
    this.#deletionsHeld = (await this.#context.store.deletionsHeldSince({})) !== null
    this.repairSpeed = await this.#context.store.getRepairSpeed({})
    for (const record of await this.#context.store.listServers({})) {
      if (record.intent === 'removed') continue
      this.views.set({
        record,
        state: record.state,
        lastBeatMs: this.#context.clock.monotonic(),
        load: ABSENT_LOAD,
        disks: [],
        promisedBytes: 0,
        seen: record.seen,
      })
      if (record.state === 'starting') this.#comparisons.begin(record.serverNo)
    }
    this.#liveness.start({ immediately: false })
    this.#beatWriter.start({ immediately: false })
  }

  async stop(): Promise<void> {
    await Promise.all([this.#liveness.stop(), this.#beatWriter.stop()])
    await this.#writeBeats()
  }

  /** @throws `WRONG_CLUSTER`, `SERVER_ID_CONFLICT`, `PROTOCOL_ERROR` */
  async register(body: RegisterBody): Promise<RegisterResult> {
    const { store, random, clock, log } = this.#context
    if (body.protocolVersion !== PROTOCOL_VERSION) {
      throw new CairnError(
        'PROTOCOL_ERROR',
        `The chunkserver speaks protocol ${body.protocolVersion}, this master ${PROTOCOL_VERSION}. Install matching versions.`,
      )
    }
    if (body.clusterId !== null && body.clusterId !== this.#context.clusterId) {
      throw new CairnError(
        'WRONG_CLUSTER',
        `The data directory belongs to cluster ${body.clusterId}, this is ${this.#context.clusterId}. Use an empty directory, or the master of that cluster.`,
      )
    }
    this.#refuseCopiedId(body)
    await this.#compareSeen(body.seen, await store.readPosition({}))
    const record = await store.registerServer({
      serverId: body.serverId,
      freshId: newId<ServerId>(random),
      freshReceiptKey: { keyId: bytesToHex(random.bytes(4)), secret: bytesToHex(random.bytes(32)) },
      instanceId: body.instanceId,
      url: body.url,
      zone: body.zone,
      rack: body.rack,
      host: body.host,
      disks: body.disks,
      seen: body.seen,
    })
    const from = this.views.byNo(record.serverNo)?.state
    const view: ServerView = {
      record,
      state: record.state,
      lastBeatMs: clock.monotonic(),
      load: ABSENT_LOAD,
      disks: body.disks,
      promisedBytes: 0,
      seen: body.seen,
    }
    this.views.set(view)
    if (record.state === 'starting') this.#comparisons.begin(record.serverNo)
    this.#outbox.delete(record.serverNo)
    log.info({ serverId: record.serverId, url: record.url, incarnation: record.incarnation, from }, 'chunkserver registered')
    this.#events.onStatesChanged([{ server: view, from }])
    return {
      serverId: record.serverId,
      clusterId: this.#context.clusterId,
      incarnation: record.incarnation,
      receiptKey: record.receiptKey,
      capabilityKeys: [...this.#context.capabilityKeys],
      masterTimeMs: store.now(),
      metadata: await store.readPosition({}),
      settings: this.#settings(),
    }
  }

  /**
   * A process with a known id from another place, while the one we know still beats: a copied data directory. From the
   * same place it is a restart, since the directory lock lets only one process at a time hold it.
   */
  #refuseCopiedId(body: RegisterBody): void {
    const known = body.serverId === null ? undefined : this.views.byId(body.serverId)
    if (!known || known.record.instanceId === body.instanceId || known.state === 'dead') return
    const silentMs = this.#context.clock.monotonic() - known.lastBeatMs
    const samePlace =
      known.record.host === body.host && known.disks.every((disk) => body.disks.some((other) => other.path === disk.path))
    if (samePlace || silentMs >= this.#context.settings.suspectAfterMs) return
    throw new CairnError(
      'SERVER_ID_CONFLICT',
      `Server ${body.serverId} is running at ${known.record.url}. If this data directory is a copy, remove disk.json from each of its directories; if the server has moved, wait until the old one is silent.`,
    )
  }

  /** @throws `SERVER_UNREGISTERED` */
  async heartbeat(serverId: ServerId, body: HeartbeatBody): Promise<HeartbeatResult> {
    const { store, clock } = this.#context
    const view = this.views.byId(serverId)
    if (!view || view.record.incarnation !== body.incarnation || view.state === 'dead') {
      throw new CairnError(
        'SERVER_UNREGISTERED',
        `Server ${serverId} must register again${view?.state === 'dead' ? ': it was declared dead' : ''}.`,
      )
    }
    const { serverNo } = view.record
    this.views.update(serverNo, {
      lastBeatMs: clock.monotonic(),
      load: body.load,
      disks: body.disks,
      promisedBytes: 0,
      seen: body.seen,
    })
    if (view.state === 'suspect') await this.#heard(view)
    const current = this.views.byNo(serverNo) ?? view
    this.#beats.set(serverNo, { serverNo, atMs: store.now(), disks: body.disks, seen: body.seen })
    await this.#told.take(serverNo, body.changes)
    if (body.results.length > 0) await this.#events.onResults(current, body.results)
    await this.#events.onTasks(current, body.tasks)
    const shards = await this.#differingShards(serverNo, body.digests)
    const overdue = this.#comparisons.overdue(serverNo)
    if (shards.length + overdue.length > 0) this.send(serverNo, { kind: 'report', shards: [...new Set([...shards, ...overdue])] })
    await this.#heardOut(serverNo)
    const metadata = await store.readPosition({})
    await this.#compareSeen(body.seen, metadata)
    const commands = await this.#takeCommands(serverNo)
    return {
      masterTimeMs: store.now(),
      metadata,
      settings: this.#settings(),
      capabilityKeys: [...this.#context.capabilityKeys],
      commands,
    }
  }

  /** Queues a command for the server's next heartbeat. It may be lost: whoever sends it finds out and sends it again. */
  send(serverNo: number, command: Command): void {
    const queue = this.#outbox.get(serverNo) ?? []
    if (queue.length >= COMMANDS_MAX) return
    queue.push(command)
    this.#outbox.set(serverNo, queue)
  }

  async #takeCommands(serverNo: number): Promise<Command[]> {
    const queue = this.#outbox.get(serverNo) ?? []
    this.#outbox.delete(serverNo)
    const commands: Command[] = []
    for (const command of queue) {
      if (command.kind !== 'delete') commands.push(command)
      else if (!this.#deletionsHeld) {
        // What has gone since may be back by now, as a new copy that is wanted; one too many may be the last one left.
        const chunkIds = await this.#context.store.handOutDeletions({ serverNo, chunkIds: command.chunkIds })
        if (chunkIds.length > 0) commands.push({ ...command, chunkIds })
      }
    }
    return commands
  }

  /** A list of copies; an older one than what heartbeats have told since says nothing, and is asked for again. */
  async reportShard(serverId: ServerId, body: ShardReportBody): Promise<{ added: number; removed: number }> {
    const view = this.views.byId(serverId)
    if (view?.record.incarnation !== body.incarnation)
      throw new CairnError('SERVER_UNREGISTERED', `Server ${serverId} must register again.`)
    const { serverNo } = view.record
    const { shard, asOfSequence, copies } = body
    if (asOfSequence < this.#told.sequence(serverNo)) {
      this.send(serverNo, { kind: 'report', shards: [shard] })
      return { added: 0, removed: 0 }
    }
    const applied = await this.#context.store.applyShardReport({ serverNo, shard, asOfSequence, copies })
    // Not if the server came back as another meanwhile.
    if (this.views.byNo(serverNo)?.record.incarnation === body.incarnation) this.#comparisons.agreed(serverNo, shard)
    await this.#heardOut(serverNo)
    return applied
  }

  /** A server that came back has told all that it holds: now its copies count. */
  async #heardOut(serverNo: number): Promise<void> {
    const view = this.views.byNo(serverNo)
    if (view?.state === 'starting' && this.#comparisons.isOver(serverNo)) await this.#heard(view)
  }

  async #heard(view: ServerView): Promise<void> {
    const isOver = this.#comparisons.isOver(view.record.serverNo)
    const state = isOver ? stateWhenHeard(view.record, this.#context.store.now()) : 'starting'
    await this.#setStates([{ view, state }])
  }

  /** Up to which change a server has told what it holds. An older receipt for a copy that it did not tell of is history. */
  toldSequence({ serverNo, incarnation }: Pick<ServerRecord, 'serverNo' | 'incarnation'>): number {
    return Math.max(this.#told.sequence(serverNo), incarnation * SEQUENCES_PER_INCARNATION)
  }

  /** Until then a server that died while no master was watching still counts as live: nothing is given up on its word. */
  get settled(): boolean {
    return this.#context.clock.monotonic() - this.#startedMs >= this.#context.settings.repairStartDelayMs
  }

  /** The server's record by id, for checking receipts. */
  recordOf(serverId: ServerId): ServerRecord | undefined {
    return this.views.byId(serverId)?.record
  }

  /** The latest metadata that any chunkserver has seen. */
  latestSeen(): MetadataPosition {
    return this.views.all().reduce<MetadataPosition>((latest, { seen }) => (isLater(seen, latest) ? seen : latest), {
      epoch: 0,
      position: 0,
    })
  }

  /**
   * True once some chunkserver had seen later metadata than ours: this database is an old one, and must delete nothing.
   * Its position soon is the higher one, but by other changes than those that are missing here.
   */
  isBehind(): boolean {
    return this.#deletionsHeld
  }

  /** The operator has decided that this metadata is what counts. @returns its new position, above all that was seen */
  async acceptMetadata(): Promise<MetadataPosition> {
    const accepted = await this.#context.store.acceptMetadata({ seenEpoch: this.latestSeen().epoch })
    this.#deletionsHeld = false
    return accepted
  }

  async #compareSeen(seen: MetadataPosition, own: MetadataPosition): Promise<void> {
    if (this.#deletionsHeld || !isLater(seen, own)) return
    this.#deletionsHeld = true
    this.#context.log.error({ seen, own }, 'a chunkserver has seen later metadata than this master has: nothing is deleted')
    await this.#context.store.holdDeletions({})
  }

  async #differingShards(serverNo: number, digests: readonly ShardDigest[]): Promise<number[]> {
    const differing: number[] = []
    for (const digest of digests) {
      const ids = await this.#context.store.shardChunkIds({ serverNo, shard: digest.shard })
      const own = ids && digestOfIds(ids)
      if (own?.count !== digest.count || checksumToHex(own.hash) !== digest.hash) differing.push(digest.shard)
      else this.#comparisons.agreed(serverNo, digest.shard)
    }
    return differing
  }

  async #checkLiveness(): Promise<void> {
    const nowMs = this.#context.clock.monotonic()
    const { suspectAfterMs } = this.#context.settings
    // When this process itself stood still (stopped, swapped out), heartbeats wait in its sockets: silence counts from now.
    if (nowMs - this.#checkedMs >= suspectAfterMs)
      for (const { record } of this.views.all()) this.views.update(record.serverNo, { lastBeatMs: nowMs })
    this.#checkedMs = nowMs
    const changes = this.views
      .all()
      .map((view) => ({
        view,
        state: stateAfterSilence(
          { ...view.record, state: view.state, lastBeatMs: view.lastBeatMs },
          nowMs,
          this.#context.store.now(),
          this.#context.settings,
        ),
      }))
      .filter(({ view, state }) => state !== view.state)
    if (changes.length > 0) await this.#setStates(changes)
  }

  async #setStates(changes: readonly { readonly view: ServerView; readonly state: ServerState }[]): Promise<void> {
    // A heartbeat may have come while the server's death was being written: dead it stays, until it registers again.
    const done = await this.#context.store.setServerStates({
      changes: changes.map(({ view, state }) => ({ serverNo: view.record.serverNo, state, from: view.state })),
    })
    const made = changes.filter(({ view }) => done.includes(view.record.serverNo))
    for (const { view, state } of made) {
      this.views.update(view.record.serverNo, { state })
      this.#context.log.warn({ serverId: view.record.serverId, from: view.state, to: state }, 'chunkserver changed state')
    }
    this.#events.onStatesChanged(
      made.map(({ view }) => ({ server: this.views.byNo(view.record.serverNo) ?? view, from: view.state })),
    )
  }

  /** Takes up what an operator has decided about a server, already recorded. */
  decided(record: ServerRecord): void {
    const view = this.views.byNo(record.serverNo)
    if (!view) return
    if (record.intent === 'removed') this.views.delete(view)
    else this.views.update(record.serverNo, { record, state: record.state })
    this.#context.log.warn({ serverId: record.serverId, from: view.state, to: record.state }, 'an operator has changed a server')
    this.#events.onStatesChanged([{ server: this.views.byNo(record.serverNo) ?? view, from: view.state }])
  }

  async #writeBeats(): Promise<void> {
    if (this.#beats.size === 0) return
    const beats = [...this.#beats.values()]
    this.#beats.clear()
    await this.#context.store.recordBeats({ beats })
  }

  #settings(): RegisterResult['settings'] {
    const { heartbeatIntervalMs, deadAfterMs, repairBytesPerSecondMax } = this.#context.settings
    return { heartbeatIntervalMs, deadAfterMs, repair: { speed: this.repairSpeed, bytesPerSecondMax: repairBytesPerSecondMax } }
  }
}
