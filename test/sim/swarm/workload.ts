/** The clients of a run: each does one thing after another, and tells the model what it was told. */
import { sleep } from '../../../common/clock/clock.js'
import type { WallClock } from '../../../common/clock/process-clock.js'
import { MemoryDisk } from '../../../common/disk/memory-disk.js'
import { SeededRandom } from '../../../common/random/seeded-random.js'
import { KiB } from '../../../common/units.js'
import type { SimClient } from '../../support/sim-cluster.js'
import { CONTENT_BYTES_MIN, EMPTY, type Content } from './content.js'
import type { Change } from './model.js'
import { performOperation } from './operations.js'
import type { World } from './world.js'

/** A machine with one client process at a time. */
export interface Actor {
  readonly name: string
  readonly random: SeededRandom
  readonly disk: MemoryDisk
  readonly wall: WallClock
  process: SimClient
  idle: boolean
  /** Changes whose outcome it has not been told. */
  pending: Change[]
  /** A file upload that was broken off, to be gone on with. */
  unfinished: { readonly local: string; readonly path: string; readonly content: Content } | undefined
}

const PATHS_PER_BUCKET = 5
const THINK_MS_MAX = 3_000

export class Workload {
  readonly actors: Actor[] = []
  readonly #world: World
  #contents = 0
  #begun = 0

  constructor(world: World) {
    this.#world = world
    for (let index = 0; index < world.plan.clients; index += 1) {
      const name = `client-${index}`
      const random = new SeededRandom(world.plan.seed ^ (0x5555 + index))
      const disk = new MemoryDisk()
      const wall = { offsetMs: 0 }
      const process = world.cluster.startClient(name, disk, random.integer(2 ** 31), wall)
      const actor: Actor = { name, random, disk, wall, process, idle: false, pending: [], unfinished: undefined }
      this.actors.push(actor)
      void this.#live(actor)
    }
  }

  get isOver(): boolean {
    return this.#begun >= this.#world.plan.operations && this.actors.every((actor) => actor.idle)
  }

  /** No further operations; those under way go on. */
  end(): void {
    this.#begun = Infinity
  }

  /** The client's process is gone, and with it whatever it was doing. The next one goes on with the file it was sending. */
  kill(actor: Actor): void {
    const { cluster, model } = this.#world
    actor.process.process.kill()
    cluster.network.kill(actor.name)
    for (const change of actor.pending.splice(0)) model.unknown(change)
    actor.process = cluster.startClient(actor.name, actor.disk, actor.random.integer(2 ** 31), actor.wall)
    void this.#live(actor)
  }

  /** A content that was never used before. */
  fresh(random: SeededRandom): Content {
    const kind = random.fraction()
    if (kind < 0.03) return EMPTY
    const most = kind < 0.35 ? 4 * KiB : kind < 0.75 ? 64 * KiB : 200 * KiB
    this.#contents += 1
    return { id: this.#contents, sizeBytes: CONTENT_BYTES_MIN + random.integer(most) }
  }

  anyPath(random: SeededRandom): string {
    const bucket = random.integer(2)
    return random.fraction() < 0.2
      ? `/b${bucket}/dir-${random.integer(2)}/f${random.integer(2)}`
      : `/b${bucket}/f${random.integer(PATHS_PER_BUCKET)}`
  }

  async #live(actor: Actor): Promise<void> {
    const mine = actor.process
    actor.idle = false
    try {
      while (this.#begun < this.#world.plan.operations) {
        await sleep(mine.process, actor.random.fraction() * THINK_MS_MAX)
        if (this.#begun >= this.#world.plan.operations) break
        this.#begun += 1
        await performOperation(this.#world, this, actor)
        if (actor.process !== mine) return
      }
    } catch (error) {
      this.#world.fail(`a client broke: ${error instanceof Error ? error.stack : String(error)}`)
    }
    if (actor.process === mine) actor.idle = true
  }
}
