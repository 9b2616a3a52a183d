/** A whole cluster in one process: the production master, chunkservers and client on simulated clock, network and disks. */
import { Chunkserver } from '../../chunkserver/index.js'
import { CairnClient } from '../../client/index.js'
import type { ProcessClock, WallClock } from '../../common/clock/process-clock.js'
import { VirtualClock } from '../../common/clock/virtual-clock.js'
import type { CrashDamage } from '../../common/disk/memory-crash.js'
import { MemoryDisk } from '../../common/disk/memory-disk.js'
import { silentLogger, type Logger } from '../../common/observe/logger.js'
import type { ClusterStatus } from '../../common/protocol/admin.js'
import { SeededRandom } from '../../common/random/seeded-random.js'
import { MemoryNetwork } from '../../common/rpc/memory-network.js'
import { routeHandler } from '../../common/rpc/routes.js'
import type { Listener } from '../../common/rpc/transport.js'
import { Master, masterRoutes, openMemoryStore, type MasterSettings } from '../../master/index.js'
import type { MetadataStore } from '../../master/store/metadata-store.js'
import { IN_MEMORY, SqliteConnection } from '../../master/store/engine/sqlite-connection.js'
import { ProcessDisk, type ProcessDiskHooks } from './process-disk.js'
import { processStore, type StoreHooks } from './process-store.js'

const TOKEN = 'simulated-token'
const MASTER_URL = 'http://master:1'
const CLIENT_BUDGET_BYTES = 32 * 1024 * 1024

/** A database without rows, so that its tables are made once per process and not once per cluster. */
let emptyDatabase: Buffer | undefined

export interface SimOptions {
  readonly seed: number
  readonly chunkservers: number
  readonly zones?: number
  readonly disksPerServer?: number
  /** Chunks up to this length share pack files. */
  readonly packedBytesMax?: number
  readonly settings?: Partial<MasterSettings>
  readonly log?: Logger | ((node: string) => Logger)
  readonly storeHooks?: StoreHooks
  /** What is asked of the disks of a chunkserver, by its name. */
  readonly diskHooks?: (node: string) => ProcessDiskHooks
}

export interface SimServer {
  readonly node: string
  readonly zone: string
  readonly wall: WallClock
  /** By directory; the first is `/data`. */
  readonly disks: Map<string, MemoryDisk>
  /** The one under `/data`. */
  readonly disk: MemoryDisk
  running: Chunkserver | undefined
  /** Set from the moment a process is started until it ends. */
  process: ProcessClock | undefined
  view: ProcessDisk | undefined
}

/** A client process: killed, nothing that it was about ever happens any more. */
export interface SimClient {
  readonly node: string
  readonly process: ProcessClock
  readonly disk: MemoryDisk
  readonly client: CairnClient
}

export const directoryName = (index: number): string => (index === 0 ? '/data' : `/data${index}`)

export class SimCluster implements AsyncDisposable {
  readonly clock = new VirtualClock()
  readonly network = new MemoryNetwork(this.clock)
  readonly servers: SimServer[] = []
  readonly random: SeededRandom
  readonly client: CairnClient
  readonly clientDisk = new MemoryDisk()
  readonly masterWall: WallClock = { offsetMs: 0 }
  /** The database itself, for checkers: they look at its rows. */
  readonly database = new SqliteConnection(emptyDatabase ?? IN_MEMORY, { readOnly: false })
  store!: MetadataStore
  master!: Master
  masterProcess: ProcessClock | undefined
  readonly #options: SimOptions
  #masterListener: Listener | undefined
  #clientProcesses = 0

  private constructor(options: SimOptions) {
    this.#options = options
    this.random = new SeededRandom(options.seed)
    this.client = this.startClient('client', this.clientDisk, options.seed + 1).client
  }

  #log(node: string): Logger {
    const { log } = this.#options
    return typeof log === 'function' ? log(node) : (log ?? silentLogger)
  }

  static async start(options: SimOptions): Promise<SimCluster> {
    const cluster = new SimCluster(options)
    const storeClock = cluster.clock.process(cluster.masterWall)
    cluster.store = await openMemoryStore(storeClock, new SeededRandom(options.seed + 2), cluster.database)
    emptyDatabase ??= cluster.database.native.serialize()
    await cluster.run(cluster.startMaster())
    for (let index = 0; index < options.chunkservers; index += 1) {
      cluster.addServer(`zone-${index % (options.zones ?? 1)}`)
      await cluster.startServer(index)
    }
    return cluster
  }

  async startMaster(): Promise<void> {
    const process = this.clock.process(this.masterWall)
    this.masterProcess = process
    const master = await Master.open({
      clock: process,
      random: new SeededRandom(this.random.integer(2 ** 31)),
      log: this.#log('master'),
      store: processStore(this.store, this.clock, process, this.#options.storeHooks),
      settings: { repairStartDelayMs: 0, ...this.#options.settings },
      tokens: [{ name: 'root', token: TOKEN, scopes: ['admin'] }],
    })
    this.master = master
    const handler = routeHandler(masterRoutes(master), master.routeServices())
    this.#masterListener = await this.network.transport('master', process).listen({ host: 'master', port: 1 }, handler)
  }

  /** The master's process ends, without a word. What its database has stays. */
  killMaster(): void {
    this.masterProcess?.kill()
    this.masterProcess = undefined
    this.network.kill('master')
  }

  /** A further chunkserver, not running yet. @returns its index */
  addServer(zone: string): number {
    const disks = new Map<string, MemoryDisk>()
    for (let index = 0; index < (this.#options.disksPerServer ?? 1); index += 1)
      disks.set(directoryName(index), new MemoryDisk({ now: () => this.clock.now() }))
    const node = `cs-${this.servers.length}`
    const wall = { offsetMs: 0 }
    const server: SimServer = {
      node,
      zone,
      wall,
      disks,
      get disk() {
        return disks.get('/data') as MemoryDisk
      },
      running: undefined,
      process: undefined,
      view: undefined,
    }
    this.servers.push(server)
    return this.servers.length - 1
  }

  /** Starts a chunkserver and lets virtual time run until it serves. */
  async startServer(index: number): Promise<void> {
    await this.run(this.openServer(index))
  }

  /** The same from within virtual time. Stays pending for ever when the process is killed meanwhile. */
  async openServer(index: number): Promise<void> {
    const server = this.servers[index] as SimServer
    const process = this.clock.process(server.wall)
    const mounts = new Map([...server.disks].map(([directory, disk]) => [directory.slice(1), disk]))
    const view = new ProcessDisk(this.clock, process, mounts, this.#options.diskHooks?.(server.node) ?? {})
    Object.assign(server, { process, view })
    const opening = Chunkserver.open({
      clock: process,
      random: new SeededRandom(this.random.integer(2 ** 31)),
      log: this.#log(server.node),
      transport: this.network.transport(server.node, process),
      disk: view,
      directories: [...server.disks.keys()],
      listen: { host: server.node, port: 1 },
      masters: [MASTER_URL],
      token: TOKEN,
      zone: server.zone,
      rack: '',
      host: server.node,
      packedBytesMax: this.#options.packedBytesMax,
    })
    // A process that is gone has nothing to say any more, not even that it failed.
    const running = await opening.finally(() => process.gate())
    if (server.process === process) server.running = running
  }

  /** Power off: what was not synced is gone, or what `damage` leaves of it. */
  kill(index: number, damage?: CrashDamage): void {
    const server = this.servers[index] as SimServer
    this.#endProcess(server, damage !== undefined)
    for (const disk of server.disks.values()) disk.crash(damage)
  }

  /** SIGKILL: the process is gone, what it has written is not. */
  killProcess(index: number): void {
    this.#endProcess(this.servers[index] as SimServer, false)
  }

  #endProcess(server: SimServer, silently: boolean): void {
    server.process?.kill()
    server.view?.releaseLocks()
    Object.assign(server, { running: undefined, process: undefined, view: undefined })
    this.network.kill(server.node, silently)
  }

  /** A new client process. @param node its machine; several processes can run on one, one after the other */
  startClient(node: string, disk: MemoryDisk, seed: number, wall?: WallClock): SimClient {
    const process = this.clock.process(wall)
    this.#clientProcesses += 1
    const name = `${node}/${this.#clientProcesses}`
    const isMine = (other: string): boolean => other.startsWith(`${node}/`)
    const client = new CairnClient(
      {
        clock: process,
        random: new SeededRandom(seed),
        log: this.#log(node),
        transport: this.network.transport(node, process),
        disk: new ProcessDisk(this.clock, process, new Map([['', disk]])),
        // On one machine there is one process at a time: an earlier one does not run any more.
        owner: { name, isGone: (other) => (isMine(other) ? other !== name : undefined) },
      },
      { masters: [MASTER_URL], token: TOKEN, budgetBytes: CLIENT_BUDGET_BYTES },
    )
    return { node, process, disk, client }
  }

  /** Lets virtual time run until the promise settles. */
  async run<T>(work: Promise<T>, withinMs = 600_000): Promise<T> {
    let settled = false
    const done = work.finally(() => (settled = true))
    done.catch(() => undefined)
    await this.clock.until(() => settled, withinMs)
    return done
  }

  status(): Promise<ClusterStatus> {
    return this.run(this.client.api.call('getStatus', {}))
  }

  async untilHealthy(withinMs: number): Promise<void> {
    await this.clock.until(async () => {
      const health = await this.store.chunkHealth({})
      return health.healthy === health.total
    }, withinMs)
  }

  async read(path: string): Promise<Uint8Array> {
    return this.run(
      (async () => {
        const file = await this.client.stat(path)
        const out = new Uint8Array(file.sizeBytes)
        let at = 0
        for await (const piece of this.client.download(file)) {
          out.set(piece, at)
          at += piece.length
        }
        return out.subarray(0, at)
      })(),
    )
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const server of this.servers) if (server.running) await this.run(server.running.close())
    await this.#masterListener?.close()
    if (this.masterProcess) await this.run(this.master.close())
    await this.store.close()
  }
}
