/** The processes of a cluster under test: how each is started, ended, found, and where its proxies point. */
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { Child, type ChildSpec } from '../cli/up/child.js'
import type { ClusterTokens } from '../cli/tokens.js'
import { SystemClock } from '../common/clock/system-clock.js'
import { CairnError } from '../common/errors/cairn-error.js'
import { DiskFaults } from './disk-faults.js'
import { Member, type TestMember } from './member.js'
import { CLIENTS } from './network/partition.js'
import { Network } from './network/network.js'
import { timerFlags, type TestClusterOptions } from './options.js'
import { PausedProcesses } from './paused-processes.js'

export interface ClusterParts {
  readonly directory: string
  readonly temporary: boolean
  readonly token: string
  readonly clientMasterUrl: string
  readonly servers: Servers
}

const SKEW = fileURLToPath(new URL('./clock-skew.js', import.meta.url))
/** More threads than operations at once, as `cairn up` does it. */
const CHUNKSERVER_THREADS = '16'

export class Servers {
  readonly network = new Network()
  readonly members: Member[] = []
  readonly #directory: string
  readonly #tokens: ClusterTokens
  readonly #options: TestClusterOptions
  readonly #faults = new Map<TestMember, DiskFaults>()
  readonly #paused = new PausedProcesses()
  readonly #clock = new SystemClock()

  constructor(directory: string, tokens: ClusterTokens, options: TestClusterOptions) {
    this.#directory = directory
    this.#tokens = tokens
    this.#options = options
  }

  get logDirectory(): string {
    return path.join(this.#directory, 'logs')
  }

  /** @throws `USAGE` when nobody has that name or id */
  member(nameOrId: string): Member {
    const found = this.members.find(({ name, id }) => name === nameOrId || id === nameOrId)
    if (!found) throw new CairnError('USAGE', `The cluster has no member ${nameOrId}.`)
    return found
  }

  diskFaults(member: TestMember): DiskFaults {
    const faults = this.#faults.get(member)
    if (!faults) throw new CairnError('USAGE', `${member.name} has no disks that can be made to fail.`)
    return faults
  }

  /** The address of the master for one of those who speak to it. */
  masterUrlFor(source: string): Promise<string> {
    return this.network.open({ member: 'master', source })
  }

  addMaster(): Member {
    const directory = path.join(this.#directory, 'master')
    const { masterFlags = [], timers = {} } = this.#options
    const args = ['--dir', directory, ...timerFlags(timers), ...masterFlags]
    const env = { CAIRN_BOOTSTRAP_TOKENS: JSON.stringify(this.#tokens) }
    return this.#add('master', 'master', '', [directory], args, env, undefined)
  }

  async addGateway(): Promise<Member> {
    const master = await this.masterUrlFor('gateway')
    const url = await this.network.open({ member: 'gateway', source: CLIENTS })
    return this.#add('gateway', 'gateway', '', [], [], { CAIRN_MASTER: master }, url)
  }

  /** Makes a chunkserver known; {@link begin} starts it. */
  async newChunkserver(zone: string): Promise<Member> {
    const name = `chunkserver-${this.members.filter(({ role }) => role === 'chunkserver').length + 1}`
    const url = await this.network.open({ member: name, source: undefined })
    const master = await this.masterUrlFor(name)
    const { disks = 1, capacityBytes, chunkserverFlags = [] } = this.#options
    const home = path.join(this.#directory, name)
    const directories = disks === 1 ? [home] : Array.from({ length: disks }, (_, index) => path.join(home, `disk-${index + 1}`))
    const faults = new DiskFaults(path.join(this.#directory, 'faults', `${name}.json`))
    const args = [
      ...['--dir', ...directories, '--advertise', url],
      ...(zone === '' ? [] : ['--zone', zone]),
      ...(capacityBytes === undefined ? [] : ['--capacity', String(capacityBytes)]),
      // A copy that is to be damaged has a file of its own.
      ...['--pack-below', '0'],
      ...chunkserverFlags,
    ]
    const env = {
      CAIRN_MASTER: master,
      CAIRN_TOKEN: this.#tokens.server,
      UV_THREADPOOL_SIZE: CHUNKSERVER_THREADS,
      ...faults.env,
    }
    const member = this.#add('chunkserver', name, zone, directories, args, env, url)
    this.#faults.set(member, faults)
    return member
  }

  async addChunkserver(zone: string): Promise<Member> {
    const member = await this.newChunkserver(zone)
    await this.begin(member)
    return member
  }

  #add(
    role: ChildSpec['role'],
    name: string,
    zone: string,
    directories: readonly string[],
    args: readonly string[],
    env: Record<string, string>,
    url: string | undefined,
  ): Member {
    const spec: ChildSpec = {
      role,
      name,
      directory: directories[0] ?? '',
      logDirectory: this.logDirectory,
      args: ['--port', '0', '--log-level', this.#options.logLevel ?? 'info', ...args],
      // Nothing of the tester's own settings reaches the cluster.
      env: { CAIRN_MASTER: '', CAIRN_TOKEN: '', CAIRN_ZONE: '', CAIRN_METADATA: '', ...env },
    }
    const child = new Child(spec, {
      clock: this.#clock,
      restart: false,
      events: {
        onReady: () => undefined,
        onExit: () => {
          member.paused = false
          // After the end of the cluster there is nobody left to tell.
          this.network.setTarget(name, 'down').catch(() => undefined)
        },
      },
    })
    const member: Member = new Member({ child, url, zone, directories })
    this.members.push(member)
    return member
  }

  /** Starts a member's process. @returns once it serves and can be reached */
  async begin(target: TestMember, clockSkewMs?: number): Promise<void> {
    const { child } = this.member(target.name)
    if (clockSkewMs !== undefined) {
      const execArgv = clockSkewMs === 0 ? [] : ['--import', SKEW]
      child.spec = { ...child.spec, execArgv, env: { ...child.spec.env, CAIRN_TEST_CLOCK_SKEW_MS: String(clockSkewMs) } }
    }
    const ready = child.start()
    await this.#tellProcesses()
    await ready
    await this.network.setTarget(target.name, Number(new URL(child.listenUrl).port))
    child.hold(false)
  }

  /** Ends a member's process if there is one. @returns once it is gone and cannot be reached */
  async end(target: TestMember, signal: NodeJS.Signals): Promise<void> {
    const { child } = this.member(target.name)
    if (!child.running) return
    if (signal !== 'SIGKILL') this.resume(target)
    await child.stop(signal)
    this.#paused.resume(child.pid)
    await this.network.setTarget(target.name, 'down')
  }

  pause(target: TestMember): void {
    const member = this.member(target.name)
    if (!member.running || member.paused) return
    member.paused = true
    this.#paused.pause(member.pid)
  }

  resume(target: TestMember): void {
    const member = this.member(target.name)
    member.paused = false
    this.#paused.resume(member.pid)
  }

  async #tellProcesses(): Promise<void> {
    await this.network.setProcesses(this.members.filter(({ running }) => running).map(({ name, pid }) => ({ name, pid })))
  }

  /** Ends all: the gateway first, the master last. */
  async close(signal: NodeJS.Signals): Promise<void> {
    for (const role of ['gateway', 'chunkserver', 'master'])
      await Promise.all(this.members.filter((member) => member.role === role).map((member) => this.end(member, signal)))
    this.#paused.close()
    await this.network.close()
  }

  /** From now on the cluster does not keep a process alive that forgets to stop it. */
  letGo(): void {
    this.network.letGo()
  }
}
