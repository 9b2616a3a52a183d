/** The cluster of the demonstration: `cairn up` in a process of its own, the command line, and the REST API. */
import { spawn, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import type { ClusterStatus } from '../../common/protocol/admin.js'

const CAIRN = fileURLToPath(new URL('../../../bin/cairn', import.meta.url))
/** A death is noticed in seconds rather than in the usual minute, and nothing that was killed comes back by itself. */
const FLAGS = ['--no-restart', '--heartbeat-interval', '200ms', '--suspect-after', '1s', '--dead-after', '3s']

export interface ClusterProcess {
  readonly role: string
  readonly id: string
  readonly pid: number
  readonly url: string
  readonly dir: string
}

interface Ready {
  readonly master: string
  readonly gateway: string
  readonly token: string
  readonly processes: readonly ClusterProcess[]
}

export class DemoCluster implements AsyncDisposable {
  readonly ready: Ready
  readonly directory: string
  readonly killed: ClusterProcess[] = []
  readonly #up: ChildProcess
  readonly #gone: Promise<unknown>

  private constructor(up: ChildProcess, ready: Ready, directory: string) {
    this.#up = up
    this.#gone = up.exitCode === null ? once(up, 'exit') : Promise.resolve()
    this.ready = ready
    this.directory = directory
  }

  static async start(options: { readonly directory: string; readonly chunkservers: number }): Promise<DemoCluster> {
    const args = ['up', '--dir', options.directory, '--chunkservers', String(options.chunkservers), '--json', ...FLAGS]
    const up = spawn(process.execPath, [CAIRN, ...args], { stdio: ['ignore', 'pipe', 'inherit'] })
    const lines = createInterface({ input: up.stdout })
    const ready = await new Promise<Ready>((resolve, reject) => {
      lines.on('line', (line) => {
        const event = JSON.parse(line) as { event?: string; error?: { message: string } }
        if (event.event === 'ready') resolve(event as unknown as Ready)
        if (event.error) reject(new Error(event.error.message))
      })
      up.once('exit', (code) => reject(new Error(`the cluster ended with code ${code} before it was ready`)))
    })
    // Ctrl-C reaches the whole process group; a signal to this process alone is passed on.
    for (const signal of ['SIGINT', 'SIGTERM'] as const) {
      process.once(signal, () => {
        up.once('exit', () => process.exit(0))
        if (!up.kill('SIGTERM')) process.exit(0)
      })
    }
    return new DemoCluster(up, ready, options.directory)
  }

  /** Runs a command with its progress bar on this terminal. */
  async cairn(args: readonly string[]): Promise<void> {
    const child = spawn(process.execPath, [CAIRN, ...args], {
      stdio: ['ignore', 'ignore', 'inherit'],
      env: { ...process.env, CAIRN_MASTER: this.ready.master, CAIRN_TOKEN: this.ready.token },
    })
    const [code] = (await once(child, 'exit')) as [number | null]
    if (code !== 0) throw new Error(`cairn ${args.join(' ')} ended with code ${code}`)
  }

  /** Kills the living chunkserver that holds most chunks. */
  async killOne(): Promise<ClusterProcess> {
    const { servers } = await this.status()
    const living = this.ready.processes.filter((one) => one.role === 'chunkserver' && !this.killed.includes(one))
    const chunksOf = (one: ClusterProcess): number => servers.find((server) => server.id === one.id)?.chunks ?? 0
    const victim = living.sort((a, b) => chunksOf(b) - chunksOf(a))[0]
    if (!victim) throw new Error('no chunkserver is left to kill')
    process.kill(victim.pid, 'SIGKILL')
    this.killed.push(victim)
    return victim
  }

  status(): Promise<ClusterStatus> {
    return this.get<ClusterStatus>('/v1/status')
  }

  async get<T>(route: string): Promise<T> {
    const response = await fetch(this.ready.master + route, { headers: { authorization: `Bearer ${this.ready.token}` } })
    if (!response.ok) throw new Error(`GET ${route} was answered with ${response.status}`)
    return (await response.json()) as T
  }

  /** Until the reader ends it with Ctrl-C, which reaches the cluster as well, or stops it from elsewhere. */
  async untilStopped(): Promise<void> {
    await this.#gone
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#up.kill('SIGTERM')
    await this.#gone
  }
}
