/** What an operator does to servers in the middle of it all: drains them, announces maintenance, takes it back, gives up the lost. */
import { sleep } from '../../../common/clock/clock.js'
import { isCairnError } from '../../../common/errors/cairn-error.js'
import { MemoryDisk } from '../../../common/disk/memory-disk.js'
import type { ServerId } from '../../../common/ids.js'
import type { ServerAction } from '../../../common/protocol/servers.js'
import { SECOND_MS } from '../../../common/units.js'
import type { SimClient, SimServer } from '../../support/sim-cluster.js'
import { serverIdOf } from './rows.js'
import type { World } from './world.js'

/** No message is later than this. */
const LATEST_MS = 25 * SECOND_MS

export class Operator {
  readonly #world: World
  readonly #client: SimClient
  readonly #underWay = new Set<Promise<void>>()

  constructor(world: World) {
    this.#world = world
    this.#client = world.cluster.startClient('operator', new MemoryDisk(), world.plan.seed ^ 0x6666)
  }

  /** Wishes something of a server for a while. A refusal is an answer. @returns false when it has never joined */
  wish(server: SimServer, action: 'drain' | 'maintenance'): boolean {
    const { random } = this.#world
    if (!serverIdOf(server)) return false
    void this.#change(server, action)
    if (action === 'maintenance') this.#stopForAWhile(server)
    this.#world.after((3 + random.fraction() * 40) * SECOND_MS, () => void this.#change(server, 'serve'))
    return true
  }

  /** Takes all wishes back, once those under way have come about, doubles that are late among them. */
  async settle(): Promise<void> {
    await Promise.all(this.#underWay)
    await sleep(this.#world.cluster.clock, LATEST_MS)
    for (const server of this.#world.members) await this.#change(server, 'serve')
  }

  /** Servers that burnt down are removed, and with them what is still expected of them. */
  async removeLost(): Promise<void> {
    for (const server of this.#world.gone) if (serverIdOf(server)) await this.#change(server, 'remove')
  }

  #stopForAWhile(server: SimServer): void {
    const { cluster, random } = this.#world
    const index = cluster.servers.indexOf(server)
    this.#world.after(random.fraction() * 2 * SECOND_MS, () => {
      this.#world.note(`stop ${server.node} for maintenance`)
      cluster.killProcess(index)
      this.#world.after(random.fraction() * 15 * SECOND_MS, () => void this.#world.start(index))
    })
  }

  #change(server: SimServer, action: ServerAction): Promise<void> {
    const work = this.#ask(server, action).finally(() => this.#underWay.delete(work))
    this.#underWay.add(work)
    return work
  }

  async #ask(server: SimServer, action: ServerAction): Promise<void> {
    const serverId = serverIdOf(server)
    if (!serverId) return
    const body = { action, graceMs: 20 * SECOND_MS, acceptDataLoss: false }
    try {
      await this.#client.client.api.call('changeServer', { params: { serverId: serverId as ServerId }, body })
      this.#world.note(`operator: ${action} ${server.node}`)
    } catch (error) {
      if (!isCairnError(error) || error.code === 'INTERNAL')
        this.#world.fail(`${action} ${server.node} failed with ${String(error)}`)
      else this.#world.note(`operator: ${action} ${server.node}: ${error.code} ${error.message}`)
    }
  }
}
