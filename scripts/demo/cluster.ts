/** The cluster of the demonstration: `cairn up` in a process of its own, the command line, and the REST API. */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import type { ClusterStatus } from '../../common/protocol/admin.js'
import { CAIRN, CairnProcess, envOf, type ProcessInfo, type UpReady } from '../../testing/up-process.js'

/** A death is noticed in seconds rather than in the usual minute, and nothing that was killed comes back by itself. */
const FLAGS = ['--no-restart', '--heartbeat-interval', '200ms', '--suspect-after', '1s', '--dead-after', '3s']

export class DemoCluster implements AsyncDisposable {
  readonly directory: string
  readonly killed: ProcessInfo[] = []
  readonly #up: CairnProcess<UpReady>

  private constructor(up: CairnProcess<UpReady>, directory: string) {
    this.#up = up
    this.directory = directory
  }

  get ready(): UpReady {
    return this.#up.ready
  }

  static async start(options: { readonly directory: string; readonly chunkservers: number }): Promise<DemoCluster> {
    const args = ['up', '--dir', options.directory, '--chunkservers', String(options.chunkservers), ...FLAGS]
    const up = await CairnProcess.start(args, { stderr: 'inherit' })
    // Ctrl-C reaches the whole process group; a signal to this process alone is passed on.
    for (const signal of ['SIGINT', 'SIGTERM'] as const) {
      process.once(signal, () => {
        void up.stop().then(() => process.exit(0))
      })
    }
    return new DemoCluster(up, options.directory)
  }

  /** Runs a command with its progress bar on this terminal. */
  async cairn(args: readonly string[]): Promise<void> {
    const child = spawn(process.execPath, [CAIRN, ...args], {
      stdio: ['ignore', 'ignore', 'inherit'],
      env: { ...process.env, ...envOf(this.ready) },
    })
    const [code] = (await once(child, 'exit')) as [number | null]
    if (code !== 0) throw new Error(`cairn ${args.join(' ')} ended with code ${code}`)
  }

  /** Kills the living chunkserver that holds most chunks. */
  async killOne(): Promise<ProcessInfo> {
    const { servers } = await this.status()
    const living = this.ready.processes.filter((one) => one.role === 'chunkserver' && !this.killed.includes(one))
    const chunksOf = (one: ProcessInfo): number => servers.find((server) => server.id === one.id)?.chunks ?? 0
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
    await this.#up.gone
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#up.stop()
  }
}
