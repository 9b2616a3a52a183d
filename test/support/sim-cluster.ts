/** A whole cluster in one process: the production master, chunkservers and client on simulated clock, network and disks. */
import { Chunkserver } from '../../chunkserver/index.js'
import { CairnClient } from '../../client/index.js'
import { VirtualClock } from '../../common/clock/virtual-clock.js'
import { MemoryDisk } from '../../common/disk/memory-disk.js'
import { silentLogger, type Logger } from '../../common/observe/logger.js'
import type { ClusterStatus } from '../../common/protocol/admin.js'
import { SeededRandom } from '../../common/random/seeded-random.js'
import { MemoryNetwork } from '../../common/rpc/memory-transport.js'
import { routeHandler } from '../../common/rpc/routes.js'
import type { Listener } from '../../common/rpc/transport.js'
import { Master, masterRoutes, openMemoryStore, type MasterSettings } from '../../master/index.js'
import type { MetadataStore } from '../../master/store/metadata-store.js'

const TOKEN = 'simulated-token'
const MASTER_URL = 'http://master:1'

export interface SimOptions {
  readonly seed: number
  readonly chunkservers: number
  readonly zones?: number
  readonly settings?: Partial<MasterSettings>
  readonly log?: Logger
}

export interface SimServer {
  readonly node: string
  readonly disk: MemoryDisk
  readonly zone: string
  running: Chunkserver | undefined
}

export class SimCluster implements AsyncDisposable {
  readonly clock = new VirtualClock()
  readonly network = new MemoryNetwork(this.clock)
  readonly servers: SimServer[] = []
  readonly random: SeededRandom
  readonly client: CairnClient
  readonly clientDisk = new MemoryDisk()
  store!: MetadataStore
  master!: Master
  readonly #options: SimOptions
  #masterListener: Listener | undefined

  private constructor(options: SimOptions) {
    this.#options = options
    this.random = new SeededRandom(options.seed)
    this.client = new CairnClient(
      {
        clock: this.clock,
        random: new SeededRandom(options.seed + 1),
        log: silentLogger,
        transport: this.network.transport('client'),
        disk: this.clientDisk,
        owner: { name: 'simulated client', isGone: () => undefined },
      },
      { masters: [MASTER_URL], token: TOKEN, budgetBytes: 32 * 1024 * 1024 },
    )
  }

  static async start(options: SimOptions): Promise<SimCluster> {
    const cluster = new SimCluster(options)
    cluster.store = await openMemoryStore(cluster.clock, new SeededRandom(options.seed + 2))
    await cluster.startMaster()
    for (let index = 0; index < options.chunkservers; index += 1) {
      cluster.servers.push({
        node: `cs-${index}`,
        disk: new MemoryDisk(),
        zone: `zone-${index % (options.zones ?? 1)}`,
        running: undefined,
      })
      await cluster.startServer(index)
    }
    return cluster
  }

  async startMaster(): Promise<void> {
    this.master = await Master.open({
      clock: this.clock,
      random: new SeededRandom(this.random.integer(2 ** 31)),
      log: this.#options.log ?? silentLogger,
      store: this.store,
      settings: { repairStartDelayMs: 0, ...this.#options.settings },
      tokens: [{ name: 'root', token: TOKEN, scopes: ['admin'] }],
    })
    const handler = routeHandler(masterRoutes(this.master), this.master.routeServices())
    this.#masterListener = await this.network.transport('master').listen({ host: 'master', port: 1 }, handler)
  }

  async startServer(index: number): Promise<void> {
    const server = this.servers[index] as SimServer
    server.running = await this.run(
      Chunkserver.open({
        clock: this.clock,
        random: new SeededRandom(this.random.integer(2 ** 31)),
        log: this.#options.log ?? silentLogger,
        transport: this.network.transport(server.node),
        disk: server.disk,
        directories: ['/data'],
        listen: { host: server.node, port: 1 },
        masters: [MASTER_URL],
        token: TOKEN,
        zone: server.zone,
        rack: '',
        host: server.node,
      }),
    )
  }

  /** Power off: what was not synced is gone. */
  kill(index: number): void {
    const server = this.servers[index] as SimServer
    const running = server.running
    server.running = undefined
    this.network.kill(server.node)
    server.disk.crash()
    // The dead process's timers would go on in virtual time; closing it stops them. Its disk handles are void already.
    void running?.close().catch(() => undefined)
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
    await this.run(this.master.close())
  }
}
