/** A chunkserver: its parts, wired. Runs on any disk, clock and transport; main.ts gives it the real ones. */
import type { Clock } from '../common/clock/clock.js'
import type { Disk } from '../common/disk/disk.js'
import { CairnError } from '../common/errors/cairn-error.js'
import type { ChunkId, ServerId } from '../common/ids.js'
import type { Logger } from '../common/observe/logger.js'
import type { Command, MetadataPosition } from '../common/protocol/cluster.js'
import type { Random } from '../common/random/random.js'
import type { Listener, ListenOptions, RequestHandler, Transport } from '../common/rpc/transport.js'
import { SECOND_MS } from '../common/units.js'
import { chunkserverHandler } from './api/handler.js'
import { MemberLink } from './control/member-link.js'
import { RepairBudget } from './control/repair-budget.js'
import { Replicator } from './control/replicator.js'
import { Admission } from './data/admission.js'
import { createChunkserverMetrics, type ChunkserverMetrics } from './metrics.js'
import { Maintenance } from './scrub/maintenance.js'
import { readSeen, saveSeen } from './seen-position.js'
import type { ChunkserverContext } from './server-context.js'
import type { VerifyOutcome } from './store/chunk-store.js'
import { FileChunkStore } from './store/file-chunk-store.js'

export interface ChunkserverOptions {
  readonly clock: Clock
  readonly random: Random
  readonly log: Logger
  readonly transport: Transport
  readonly disk: Disk
  readonly directories: readonly string[]
  readonly listen: ListenOptions
  /** What others reach this server by, when it differs from where it listens. */
  readonly advertisedUrl?: string | undefined
  readonly masters: readonly string[]
  readonly token: string | undefined
  readonly zone: string
  readonly rack: string
  readonly host: string
  readonly capacityBytes?: number | undefined
  readonly reserveBytes?: number | undefined
  /** Chunks up to this length share pack files. */
  readonly packedBytesMax?: number | undefined
  readonly ioConcurrency?: number
  readonly processMetrics?: boolean
}

/** The metadata position changes with every write; remembering it this often is enough to tell an old database. */
const SEEN_INTERVAL_MS = 5 * SECOND_MS

export class Chunkserver implements AsyncDisposable {
  readonly store: FileChunkStore
  readonly metrics: ChunkserverMetrics
  readonly #options: ChunkserverOptions
  readonly #context: ChunkserverContext
  readonly #link: MemberLink
  readonly #replicator: Replicator
  readonly #maintenance: Maintenance
  readonly #listener: Listener
  #seen: MetadataPosition
  #seenSavedMs = -Infinity
  #savingSeen: Promise<void> = Promise.resolve()
  #stopping = false

  private constructor(options: ChunkserverOptions, store: FileChunkStore, listener: Listener, seen: MetadataPosition) {
    const { clock, random, log, transport } = options
    this.#options = options
    this.store = store
    this.#listener = listener
    this.#seen = seen
    const admission = new Admission(clock)
    this.metrics = createChunkserverMetrics(store, admission, options.processMetrics ?? false)
    this.#link = new MemberLink({
      clock,
      random,
      log,
      transport,
      store,
      masters: options.masters,
      token: options.token,
      placement: { url: options.advertisedUrl ?? listener.url, zone: options.zone, rack: options.rack, host: options.host },
      identity: store.identity(),
      seen,
      load: () => admission.load,
      tasks: () => this.#replicator.tasks,
      onIdentity: (identity) => store.settle(identity),
      onCommand: (command, toldSequence) => this.#obey(command, toldSequence),
      onSeen: (position) => this.#rememberSeen(position),
    })
    const budget = new RepairBudget({
      clock,
      settings: () => this.#link.repairSettings,
      diskBytesPerSecond: () => store.chunkDisks.reduce((sum, disk) => sum + (disk.failed ? 0 : disk.bytesPerSecond), 0),
    })
    const onBytes: ChunkserverContext['onBytes'] = (direction, bytes, purpose) => {
      this.metrics.onBytes(direction, bytes)
      if (purpose === 'client') budget.onClientBytes(bytes)
    }
    this.#context = { clock, random, log, transport, store, admission, members: this.#link, onBytes }
    this.#replicator = new Replicator(this.#context, budget, (result) => this.#link.report(result))
    this.#maintenance = new Maintenance({
      clock,
      random,
      log,
      store,
      busy: () => admission.load.writes + admission.load.reads > 0,
      onFinding: () => this.#link.poke(),
    })
    store.onDiskFailed = () => this.#link.tellAll()
  }

  /** Scans the disks, listens, and registers with the master, waiting for one if need be. Serves once this resolves. */
  static async open(options: ChunkserverOptions, signal?: AbortSignal): Promise<Chunkserver> {
    const store = await FileChunkStore.open(options)
    let handler: RequestHandler = () => Promise.reject(new CairnError('STARTING', 'The chunkserver is starting.'))
    try {
      const listener = await options.transport.listen(options.listen, (request) => handler(request))
      const seen = await readSeen(store.chunkDisks)
      const server = new Chunkserver(options, store, listener, seen)
      handler = chunkserverHandler({
        context: server.#context,
        metrics: server.metrics,
        ready: () => server.#link.registered && !server.#stopping,
        verify: (chunkId, requested) => server.#verify(chunkId, requested),
      })
      try {
        await server.#link.start(signal)
      } catch (error) {
        await listener.close()
        throw error
      }
      server.#maintenance.start()
      return server
    } catch (error) {
      await store.close()
      throw error
    }
  }

  get url(): string {
    return this.#options.advertisedUrl ?? this.#listener.url
  }

  /** Where it listens, whatever address it gives to others. */
  get listenUrl(): string {
    return this.#listener.url
  }

  get serverId(): ServerId {
    return this.#link.membership().serverId
  }

  #obey(command: Command, toldSequence: number): void {
    const { log } = this.#options
    switch (command.kind) {
      case 'replicate':
        return this.#replicator.start(command)
      case 'verify':
        return void this.#maintenance
          .verify(command.chunkIds)
          .catch((error: unknown) => log.error({ error }, 'verification failed'))
      case 'delete':
        return void this.#delete(command, toldSequence).catch((error: unknown) =>
          log.error({ error }, 'deletion failed; the master will ask again'),
        )
      case 'report':
        return
    }
  }

  async #verify(chunkId: ChunkId, signal: AbortSignal): Promise<VerifyOutcome> {
    const outcome = await this.store.verify(chunkId, async () => {
      if (signal.aborted) throw signal.reason as Error
    })
    if (outcome !== 'good') this.#link.poke()
    return outcome
  }

  /** @param asOfSequence a copy that came later is one that the master did not know of when it decided: it stays */
  async #delete(command: Extract<Command, { kind: 'delete' }>, asOfSequence: number): Promise<void> {
    for (const chunkId of command.chunkIds) {
      // Looked at again for each: a long list may outlive its command.
      if (command.expiresMs < this.#link.masterNowMs()) break
      if ((this.store.find(chunkId)?.sequence ?? 0) <= asOfSequence) await this.store.remove(chunkId)
    }
    this.#link.poke()
  }

  #rememberSeen(position: MetadataPosition): void {
    this.#seen = position
    const nowMs = this.#options.clock.monotonic()
    if (nowMs - this.#seenSavedMs < SEEN_INTERVAL_MS) return
    this.#seenSavedMs = nowMs
    this.#savingSeen = this.#saveSeen()
  }

  async #saveSeen(): Promise<void> {
    await saveSeen(this.store.chunkDisks, this.#seen, this.#options.log)
  }

  async close(): Promise<void> {
    this.#stopping = true
    this.#replicator.stop()
    await this.#maintenance.stop()
    await this.#listener.close(2 * SECOND_MS)
    await this.#link.stop()
    await this.#savingSeen
    await this.#saveSeen()
    await this.store.close()
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close()
  }
}
