/** The processes of one `cairn up`: a master, chunkservers, a gateway. Children end when the supervisor is gone. */
import path from 'node:path'
import type { Clock } from '../../common/clock/clock.js'
import { CairnError } from '../../common/errors/cairn-error.js'
import { lockDirectory } from '../../common/disk/directory-lock.js'
import type { DirectoryLock } from '../../common/disk/disk.js'
import { sleep } from '../../common/clock/clock.js'
import { SECOND_MS } from '../../common/units.js'
import { ensureTokens, type ClusterTokens } from '../tokens.js'
import { Child, type ChildEvents, type ChildSpec } from './child.js'
import { freePorts, isFree } from './ports.js'
import { loadState, saveState, type UpState } from './state.js'

export interface UpOptions {
  readonly directory: string
  /** Undefined: as many as there were, or three. */
  readonly chunkservers: number | undefined
  /** The master's. Undefined: the one it had, or the usual one if that is free. 0: any. */
  readonly port: number | undefined
  readonly restart: boolean
  /** Flags passed on to the master. */
  readonly masterFlags: readonly string[]
  /** Flags passed on to each chunkserver. */
  readonly chunkserverFlags: readonly string[]
  readonly logLevel: string
  readonly clock: Clock
  readonly events: ChildEvents
}

export interface ReadyEvent {
  readonly event: 'ready'
  readonly master: string
  readonly gateway: string
  readonly token: string
  readonly processes: readonly {
    readonly role: string
    readonly id: string
    readonly pid: number
    readonly url: string
    readonly dir: string
  }[]
}

export const DEFAULT_MASTER_PORT = 9440
const DEFAULT_CHUNKSERVERS = 3
/** More threads than operations at once, so that a hung disk does not stop every other file call. */
const CHUNKSERVER_THREADS = '16'
/** How long a port that was ours may stay taken: children of an `up` that was killed let go of it within moments. */
const PORT_PATIENCE_MS = 2 * SECOND_MS
const PORT_POLL_MS = 100

export class Supervisor {
  readonly #options: UpOptions
  readonly #lock: DirectoryLock
  readonly #tokens: ClusterTokens
  readonly #children: Child[]

  private constructor(options: UpOptions, lock: DirectoryLock, tokens: ClusterTokens, state: UpState) {
    this.#options = options
    this.#lock = lock
    this.#tokens = tokens
    this.#children = this.#specs(state).map(
      (spec) => new Child(spec, { clock: options.clock, restart: options.restart, events: options.events }),
    )
  }

  /** @throws `DIRECTORY_LOCKED` when another `up` runs on the directory, `PORT_IN_USE` */
  static async open(options: UpOptions): Promise<Supervisor> {
    const lock = lockDirectory(options.directory)
    try {
      const state = await chooseState(options)
      saveState(options.directory, state)
      return new Supervisor(options, lock, ensureTokens(options.directory), state)
    } catch (error) {
      lock.release()
      throw error
    }
  }

  #specs(state: UpState): ChildSpec[] {
    const { directory, masterFlags, chunkserverFlags, logLevel } = this.#options
    const logDirectory = path.join(directory, 'logs')
    const master = `http://127.0.0.1:${state.masterPort}`
    const common = ['--log-level', logLevel]
    const spec = (
      role: ChildSpec['role'],
      name: string,
      port: number,
      args: readonly string[],
      env: Record<string, string>,
    ): ChildSpec => ({
      role,
      name,
      directory: path.join(directory, name),
      logDirectory,
      args: ['--port', String(port), ...common, ...args],
      env: { CAIRN_MASTER: master, CAIRN_TOKEN: '', ...env },
    })
    return [
      spec('master', 'master', state.masterPort, ['--dir', path.join(directory, 'master'), ...masterFlags], {
        CAIRN_BOOTSTRAP_TOKENS: JSON.stringify(this.#tokens),
      }),
      ...state.chunkservers.map(({ name, port }) =>
        spec('chunkserver', name, port, ['--dir', path.join(directory, name), ...chunkserverFlags], {
          CAIRN_TOKEN: this.#tokens.server,
          UV_THREADPOOL_SIZE: CHUNKSERVER_THREADS,
        }),
      ),
      spec('gateway', 'gateway', state.gatewayPort, [], {}),
    ]
  }

  /** Starts everything at once: who needs the master waits for it. @returns once all are ready */
  async start(): Promise<ReadyEvent> {
    try {
      await Promise.all(this.#children.map((child) => child.start()))
    } catch (error) {
      await this.stop()
      throw error
    }
    return this.ready()
  }

  ready(): ReadyEvent {
    const url = (role: string): string => this.#children.find((child) => child.spec.role === role)?.url ?? ''
    return {
      event: 'ready',
      master: url('master'),
      gateway: url('gateway'),
      token: this.#tokens.root,
      processes: this.#children.map((child) => ({
        role: child.spec.role,
        id: child.id,
        pid: child.pid,
        url: child.url,
        dir: child.spec.directory,
      })),
    }
  }

  /** Gateway first, master last: each can still say good-bye to those it needs. */
  async stop(): Promise<void> {
    for (const role of ['gateway', 'chunkserver', 'master']) {
      await Promise.all(this.#children.filter((child) => child.spec.role === role).map((child) => child.stop()))
    }
    this.#lock.release()
  }
}

async function chooseState(options: UpOptions): Promise<UpState> {
  const before = loadState(options.directory)
  const count = options.chunkservers ?? before?.chunkservers.length ?? DEFAULT_CHUNKSERVERS
  const names = Array.from({ length: count }, (_, index) => `chunkserver-${index + 1}`)
  const fresh = await freePorts(count + 2)
  const keep = async (port: number | undefined): Promise<number> =>
    port !== undefined && (await freeSoon(options, port)) ? port : (fresh.pop() as number)
  const chunkservers = []
  for (const name of names)
    chunkservers.push({ name, port: await keep(before?.chunkservers.find((one) => one.name === name)?.port) })
  return {
    formatVersion: 1,
    masterPort: await masterPort(options, before, () => fresh.pop() as number),
    gatewayPort: await keep(before?.gatewayPort),
    chunkservers,
  }
}

async function masterPort(options: UpOptions, before: UpState | undefined, any: () => number): Promise<number> {
  const { port } = options
  if (port === 0) return any()
  if (port !== undefined) {
    if (await freeSoon(options, port)) return port
    throw new CairnError('PORT_IN_USE', `Another program listens on port ${port}. Choose another --port, or 0 for any.`)
  }
  for (const candidate of [before?.masterPort, DEFAULT_MASTER_PORT])
    if (candidate !== undefined && (await isFree(candidate))) return candidate
  return any()
}

async function freeSoon(options: UpOptions, port: number): Promise<boolean> {
  const startedMs = options.clock.monotonic()
  while (!(await isFree(port))) {
    if (options.clock.monotonic() - startedMs >= PORT_PATIENCE_MS) return false
    await sleep(options.clock, PORT_POLL_MS)
  }
  return true
}
