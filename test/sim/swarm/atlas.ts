/**
 * What may be broken for good: only copies of which another one exists that is good, durable, on a disk that will come
 * back, and not about to be given up. More than that no system could survive.
 */
import { copiesOn, goodHolders, isGood, type Copy } from './cluster-copies.js'
import { ghost } from './check-copies.js'
import type { Rows } from './rows.js'
import type { World } from './world.js'
import type { SimServer } from '../../support/sim-cluster.js'

const ALLOCATED = 0
const LIVE = 1

export class Atlas {
  readonly #world: World
  readonly #rows: Rows

  constructor(world: World, rows: Rows) {
    this.#world = world
    this.#rows = rows
  }

  /** Whether the copies of a chunk on this server may go. */
  mayLose(server: SimServer, chunkId: string): boolean {
    const chunk = this.#rows.chunk(chunkId)
    // What nobody knows may always go; so may what is on its way out. What is just being written may not.
    if (chunk?.state !== LIVE) return chunk?.state !== ALLOCATED
    const good = goodHolders(this.#world.members, chunkId, this.#world.unreadable)
    const staying = this.#rows.replicas(chunkId).filter((row) => row.state === 0 && !this.#rows.isLeaving(row))
    // Of more copies than are wanted any may be given up, and whatever lies somewhere may come to count: a drain is taken
    // back, a power cut undoes a removal.
    const lying = this.#world.members.filter((member) => [...copiesOn(member)].some((copy) => copy.chunkId === chunkId))
    const spare = Math.max(0, lying.length - chunk.wanted)
    const others = staying
      .map((row) => this.#rows.serverOf(row))
      .filter((other) => other !== server && good.includes(other as SimServer))
    return others.length > spare
  }

  /** The other servers with a good copy, for the log. */
  others(server: SimServer, chunkId: string): string[] {
    const holders = goodHolders(this.#world.members, chunkId, this.#world.unreadable)
    return holders.filter((other) => other !== server).map(({ node }) => node)
  }

  /** Whether everything on these disks of a server may go. */
  mayLoseAll(server: SimServer, directories: readonly string[] = [...server.disks.keys()]): boolean {
    for (const copy of copiesOn(server)) {
      if (directories.includes(copy.directory) && !this.mayLose(server, copy.chunkId)) return false
    }
    return true
  }

  /** A good copy that may be broken, drawn at random. */
  draw(server: SimServer): Copy | undefined {
    const copies = [...copiesOn(server)]
    for (let tries = 0; tries < 5 && copies.length > 0; tries += 1) {
      const copy = copies[this.#world.random.integer(copies.length)]
      if (!copy || !isGood(copy.disk, copy.directory, copy.chunkId, this.#world.unreadable)) continue
      if (this.mayLose(server, copy.chunkId)) return copy
    }
    return undefined
  }

  /** Remembers that a copy was broken by us. */
  broken(server: SimServer, chunkId: string): void {
    this.#world.destroyed.add(ghost(server.node, chunkId))
  }

  brokenAll(server: SimServer, directories: readonly string[] = [...server.disks.keys()]): void {
    this.#rows.remember(server)
    for (const copy of copiesOn(server)) if (directories.includes(copy.directory)) this.broken(server, copy.chunkId)
  }
}
