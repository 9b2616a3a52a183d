/** One run of the swarm: the cluster, what is being done to it, what may be read from it, and what has gone wrong. */
import type { ProcessClock } from '../../../common/clock/process-clock.js'
import type { CrashDamage } from '../../../common/disk/memory-crash.js'
import type { MemoryDisk } from '../../../common/disk/memory-disk.js'
import { messageOf } from '../../../common/errors/cairn-error.js'
import type { Logger } from '../../../common/observe/logger.js'
import { SeededRandom } from '../../../common/random/seeded-random.js'
import { SECOND_MS } from '../../../common/units.js'
import { SimCluster, type SimServer } from '../../support/sim-cluster.js'
import { Model, Violation } from './model.js'
import { NetworkFaults } from './network-faults.js'
import type { Plan } from './plan.js'
import type { Trace } from './trace.js'

export interface Figures {
  readonly faults: Record<string, number>
  readonly operations: Record<string, number>
  bytesVerified: number
  checks: number
}

/** What a disk does wrong at the moment. */
export interface DiskTrouble {
  errors: boolean
  extraMs: number
}

/** Ten times what the longest runs have. */
const EVENTS_MAX = 5_000_000
const START_AGAIN_MS = 3 * SECOND_MS

export class World {
  readonly plan: Plan
  readonly trace: Trace
  readonly model = new Model()
  readonly figures: Figures = { faults: {}, operations: {}, bytesVerified: 0, checks: 0 }
  readonly violations: string[] = []
  readonly network: NetworkFaults
  /** For decisions of the run itself; the parts of the cluster have their own. */
  readonly random: SeededRandom
  readonly unreadable = new Map<MemoryDisk, Set<string>>()
  readonly troubles = new Map<MemoryDisk, DiskTrouble>()
  /** Servers that will never come back. */
  readonly gone = new Set<SimServer>()
  /** Copies that were destroyed by us: as `server chunk`. What the metadata believes of them is no fault of its own. */
  readonly destroyed = new Set<string>()
  /** Processes that may stand still. */
  readonly paused = new Set<ProcessClock>()
  /** While false nothing is broken any more. */
  troubled = true
  lastMasterJumpMs = -Infinity
  /** By how much in all the master's clock was set back: what waits for a time to come waits for so much longer. */
  masterSetBackMs = 0
  /** Nothing is started. */
  switchedOff = false
  cluster!: SimCluster
  readonly #diskRandom: SeededRandom
  readonly #storeRandom: SeededRandom

  private constructor(plan: Plan, trace: Trace) {
    this.plan = plan
    this.trace = trace
    this.random = new SeededRandom(plan.seed ^ 0x1111)
    this.#diskRandom = new SeededRandom(plan.seed ^ 0x2222)
    this.#storeRandom = new SeededRandom(plan.seed ^ 0x3333)
    this.network = new NetworkFaults(plan, trace)
  }

  static async open(plan: Plan, trace: Trace, hooks: WorldHooks): Promise<World> {
    const world = new World(plan, trace)
    world.cluster = await SimCluster.start({
      seed: plan.seed,
      chunkservers: 0,
      disksPerServer: plan.disksPerServer,
      packedBytesMax: plan.packedBytesMax,
      settings: plan.settings,
      ...(trace.isPrinted ? { log: (node: string) => world.#logger(node, {}) } : {}),
      storeHooks: {
        latencyMs: () => (world.troubled ? world.#storeRandom.fraction() * plan.storeLatencyMs : 0),
        around: (operation, args) => hooks.aroundStore(world, operation, args),
      },
      diskHooks: (node) => ({
        latencyMs: (_operation, file) => world.#diskLatencyMs(node, file),
        onOperation: (operation, file, bytes, target) => {
          trace.mixText(operation)
          trace.mixText(file)
          trace.mix(bytes)
          if (operation === 'rename' || operation === 'remove') hooks.onRemoval(world, node, operation, file, target)
        },
      }),
    })
    const { cluster } = world
    cluster.clock.onFire = (atMs, sequence) => {
      if (trace.count > EVENTS_MAX) throw new Error(`more than ${EVENTS_MAX} events: something goes round in circles`)
      trace.mix(atMs)
      trace.mix(sequence)
    }
    world.network.attach(cluster)
    for (let index = 0; index < plan.servers; index += 1) {
      world.addServer(`zone-${index % plan.zones}`)
      void world.start(index)
    }
    return world
  }

  get nowMs(): number {
    // The master speaks before the cluster is whole.
    return (this.cluster as SimCluster | undefined)?.clock.monotonic() ?? 0
  }

  note(text: string): void {
    this.trace.note(this.nowMs, text)
  }

  count(kind: 'faults' | 'operations', what: string): void {
    this.figures[kind][what] = (this.figures[kind][what] ?? 0) + 1
  }

  /** Writes down what must not be. The run ends at its next step. */
  fail(what: string): void {
    this.note(`VIOLATION ${what}`)
    this.violations.push(`at ${(this.nowMs / 1000).toFixed(3)} s: ${what}`)
  }

  /** Runs a check; what it throws is a violation. */
  check(work: () => void): void {
    this.figures.checks += 1
    try {
      work()
    } catch (error) {
      this.fail(
        error instanceof Violation ? error.message : `a check broke: ${error instanceof Error ? error.stack : messageOf(error)}`,
      )
    }
  }

  /** Later, in virtual time, and only if things still go wrong then. */
  after(delayMs: number, work: () => void): void {
    this.cluster.clock.setTimer(delayMs, () => {
      if (this.troubled) work()
    })
  }

  addServer(zone: string): number {
    const index = this.cluster.addServer(zone)
    for (const disk of this.server(index).disks.values()) this.adoptDisk(disk)
    return index
  }

  /** Lets a disk of the cluster be troubled from now on. */
  adoptDisk(disk: MemoryDisk): void {
    this.troubles.set(disk, { errors: false, extraMs: 0 })
    disk.fault = (operation, file) => {
      const trouble = this.troubles.get(disk)
      const isBad = trouble?.errors === true || (operation === 'read' && this.unreadable.get(disk)?.has(file))
      if (isBad) throw Object.assign(new Error(`EIO: ${file}`), { code: 'EIO' })
    }
  }

  server(index: number): SimServer {
    return this.cluster.servers[index] as SimServer
  }

  /** The servers that are there or will come back. */
  get members(): SimServer[] {
    return this.cluster.servers.filter((server) => !this.gone.has(server))
  }

  /** Starts a chunkserver's process; one that ends by itself is started again, as a supervisor would. */
  async start(index: number): Promise<void> {
    const server = this.server(index)
    if (server.process || this.gone.has(server) || this.switchedOff) return
    this.network.powered(server.node, true)
    this.note(`start ${server.node}`)
    try {
      await this.cluster.openServer(index)
    } catch (error) {
      this.note(`${server.node} did not start: ${messageOf(error)}`)
      this.cluster.killProcess(index)
      this.cluster.clock.setTimer(START_AGAIN_MS, () => void this.start(index))
    }
  }

  async startMaster(): Promise<void> {
    if (this.cluster.masterProcess) return
    this.note('start master')
    try {
      await this.cluster.startMaster()
    } catch (error) {
      this.fail(`the master did not start: ${error instanceof Error ? error.stack : messageOf(error)}`)
    }
  }

  crashDamage(): CrashDamage {
    return { random: this.#diskRandom, share: this.plan.crashShare, sectorBytes: this.plan.sectorBytes }
  }

  #diskLatencyMs(node: string, file: string): number {
    if (!this.troubled) return 0
    const server = this.cluster.servers.find((candidate) => candidate.node === node)
    const disk = server?.disks.get(file.slice(0, file.indexOf('/', 1) < 0 ? undefined : file.indexOf('/', 1)))
    const extraMs = (disk && this.troubles.get(disk)?.extraMs) ?? 0
    const ownMs = this.plan.diskLatencyMs
    return ownMs + extraMs === 0 ? 0 : ownMs * this.#diskRandom.fraction() + extraMs
  }

  /** What a process logs, as lines of the trace. */
  #logger(node: string, bound: Readonly<Record<string, unknown>>): Logger {
    const line =
      (level: string) =>
      (fields: Readonly<Record<string, unknown>>, message: string): void => {
        const text = JSON.stringify({ ...bound, ...fields }, (_key, value: unknown) =>
          value instanceof Error ? `${(value as { code?: string }).code ?? value.name}: ${value.message}` : value,
        )
        this.trace.print(this.nowMs, `  ${node} ${level} ${message} ${text}`)
      }
    return {
      debug: () => undefined,
      info: line('info'),
      warn: line('warn'),
      error: line('error'),
      child: (fields) => this.#logger(node, { ...bound, ...fields }),
    }
  }
}

/** Checks that are made in the moment when something happens. */
export interface WorldHooks {
  aroundStore(world: World, operation: string, args: unknown): (() => void) | undefined
  onRemoval(world: World, node: string, operation: 'rename' | 'remove', file: string, target: string): void
}
