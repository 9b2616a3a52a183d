/** What is done to a cluster while it works: drawn from the seed, one trouble after another, each ending by itself after a while. */
import { SECOND_MS } from '../../../common/units.js'
import type { ProcessClock } from '../../../common/clock/process-clock.js'
import type { SimServer } from '../../support/sim-cluster.js'
import type { Atlas } from './atlas.js'
import { damageCopy } from './damage.js'
import { troubleDisk } from './disk-faults.js'
import type { Operator } from './operator.js'
import type { Fault } from './plan.js'
import type { Actor, Workload } from './workload.js'
import type { World } from './world.js'

export class Nemesis {
  readonly #world: World
  readonly #load: Workload
  readonly #atlas: Atlas
  readonly #operator: Operator

  constructor(world: World, load: Workload, atlas: Atlas, operator: Operator) {
    this.#world = world
    this.#load = load
    this.#atlas = atlas
    this.#operator = operator
    this.#next()
  }

  #next(): void {
    const { random, plan } = this.#world
    if (plan.faults.length === 0) return
    this.#world.after(random.fraction() * 2 * plan.faultEveryMs, () => {
      const fault = this.#draw()
      if (this.#strike(fault)) this.#world.count('faults', fault)
      this.#next()
    })
  }

  #draw(): Fault {
    const { faults } = this.#world.plan
    let draw = this.#world.random.fraction() * faults.reduce((sum, { weight }) => sum + weight, 0)
    return (faults.find(({ weight }) => (draw -= weight) < 0) ?? faults[0])?.fault as Fault
  }

  /** @returns false when there was nothing to strike */
  #strike(fault: Fault): boolean {
    const { random } = this.#world
    switch (fault) {
      case 'power-cut':
        return this.#end(this.#anyRunning(), true)
      case 'process-kill':
        return this.#end(this.#anyRunning(), false)
      case 'zone-loss':
        return this.#loseZone()
      case 'server-pause':
        return this.#pause(this.#anyRunning()?.process, 'a chunkserver', 1 + random.fraction() * 40)
      case 'master-pause':
        return this.#pause(this.#world.cluster.masterProcess, 'the master', 1 + random.fraction() * 20)
      case 'client-pause':
        return this.#pause(this.#anyActor().process.process, 'a client', 1 + random.fraction() * 20)
      case 'master-kill':
        return this.#killMaster()
      case 'client-kill': {
        const actor = this.#anyActor()
        this.#world.note(`kill ${actor.name}`)
        this.#load.kill(actor)
        return true
      }
      case 'partition':
        return this.#partition(true)
      case 'one-way-partition':
        return this.#partition(false)
      case 'clock-jump':
        return this.#jump()
      case 'join':
        return this.#join()
      case 'drain':
      case 'maintenance': {
        const server = this.#anyServer()
        return server !== undefined && this.#operator.wish(server, fault)
      }
      case 'server-gone':
        return this.#removeForGood()
      case 'bit-flip':
      case 'torn-chunk':
      case 'lost-chunk':
      case 'misdirected-write':
      case 'unreadable-sector': {
        const server = this.#anyServer()
        return server !== undefined && damageCopy(this.#world, this.#atlas, server, fault)
      }
      case 'disk-errors':
      case 'disk-hang':
      case 'disk-slow':
      case 'disk-full':
      case 'disk-replaced':
      case 'disk-emptied': {
        const server = this.#anyServer()
        return server !== undefined && troubleDisk(this.#world, this.#atlas, server, fault)
      }
    }
  }

  #anyServer(): SimServer | undefined {
    const { members, random } = this.#world
    return members[random.integer(Math.max(1, members.length))]
  }

  #anyRunning(): SimServer | undefined {
    const running = this.#world.members.filter((server) => server.process !== undefined)
    return running[this.#world.random.integer(Math.max(1, running.length))]
  }

  #anyActor(): Actor {
    return this.#load.actors[this.#world.random.integer(this.#load.actors.length)] as Actor
  }

  /** Mostly back soon, sometimes only after it was declared dead. */
  #end(server: SimServer | undefined, powerCut: boolean): boolean {
    if (!server) return false
    const { world, index } = { world: this.#world, index: this.#world.cluster.servers.indexOf(server) }
    world.note(`${powerCut ? 'cut the power of' : 'kill'} ${server.node}`)
    if (powerCut) {
      world.network.powered(server.node, false)
      world.cluster.kill(index, world.crashDamage())
    } else world.cluster.killProcess(index)
    const awayMs = world.random.fraction() < 0.6 ? 500 + world.random.fraction() * 4_000 : world.random.fraction() * 60_000
    world.after(awayMs, () => void world.start(index))
    return true
  }

  #loseZone(): boolean {
    const zones = [...new Set(this.#world.members.map(({ zone }) => zone))]
    if (zones.length < 2) return false
    const zone = zones[this.#world.random.integer(zones.length)]
    for (const server of this.#world.members) if (server.zone === zone && server.process) this.#end(server, true)
    return true
  }

  #pause(process: ProcessClock | undefined, what: string, seconds: number): boolean {
    if (!process || process.paused) return false
    this.#world.note(`pause ${what} for ${seconds.toFixed(1)} s`)
    process.pause()
    this.#world.paused.add(process)
    this.#world.after(seconds * SECOND_MS, () => process.resume())
    return true
  }

  #killMaster(): boolean {
    const { cluster, random } = this.#world
    if (!cluster.masterProcess) return false
    this.#world.note('kill master')
    cluster.killMaster()
    this.#world.after(200 + random.fraction() * 8_000, () => void this.#world.startMaster())
    return true
  }

  #partition(bothWays: boolean): boolean {
    const { random, network, cluster } = this.#world
    const nodes = ['master', ...cluster.servers.map(({ node }) => node), ...this.#load.actors.map(({ name }) => name)]
    const one = new Set(nodes.filter(() => random.fraction() < (random.fraction() < 0.5 ? 0.2 : 0.5)))
    const other = new Set(nodes.filter((node) => !one.has(node)))
    if (one.size === 0 || other.size === 0) return false
    const seconds = 1 + random.fraction() * 25
    this.#world.note(`cut ${[...one].join(' ')} off${bothWays ? '' : ', one way,'} for ${seconds.toFixed(1)} s`)
    const ends = [network.cut({ from: one, to: other }), ...(bothWays ? [network.cut({ from: other, to: one })] : [])]
    this.#world.after(seconds * SECOND_MS, () => ends.forEach((end) => end()))
    return true
  }

  #jump(): boolean {
    const { random, cluster } = this.#world
    const byMs = (random.fraction() < 0.5 ? -1 : 1) * random.fraction() ** 3 * 600 * SECOND_MS
    if (random.fraction() < 0.3) {
      this.#world.note(`the master's clock jumps by ${Math.round(byMs)} ms`)
      cluster.masterWall.offsetMs += Math.round(byMs)
      this.#world.lastMasterJumpMs = this.#world.nowMs
      this.#world.masterSetBackMs += Math.max(0, Math.round(-byMs))
      return true
    }
    const machine = random.fraction() < 0.7 ? this.#anyServer() : this.#anyActor()
    if (!machine) return false
    this.#world.note(`a clock jumps by ${Math.round(byMs)} ms`)
    machine.wall.offsetMs += Math.round(byMs)
    return true
  }

  #join(): boolean {
    const { cluster, random } = this.#world
    if (cluster.servers.length >= 9) return false
    const index = this.#world.addServer(`zone-${random.integer(this.#world.plan.zones)}`)
    void this.#world.start(index)
    return true
  }

  /** A server that burns down. Enough must stay for all copies that are wanted. */
  #removeForGood(): boolean {
    const server = this.#anyServer()
    const { members, cluster, gone } = this.#world
    if (!server || members.length <= 4 || gone.size > 0 || !this.#atlas.mayLoseAll(server)) return false
    this.#world.note(`${server.node} burns down`)
    this.#atlas.brokenAll(server)
    gone.add(server)
    this.#world.network.powered(server.node, false)
    cluster.kill(cluster.servers.indexOf(server), this.#world.crashDamage())
    return true
  }
}
