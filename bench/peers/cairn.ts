/** This project, as its users have it: `cairn up` with three chunkservers, the `cairn` command, the client library. */
import { createHash } from 'node:crypto'
import { mkdirSync } from 'node:fs'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { BenchCluster } from '../support/bench-cluster.js'
import type { LoadResult, LoadTask } from '../support/load-task.js'
import { commitHash } from '../support/machine.js'
import { TransferClients } from '../support/transfer-clients.js'
import { LoadProcess } from './load-process.js'
import { own } from './owned.js'
import type { RunningSystem, ServerProcess, StartContext, System } from './system.js'

const script = (name: string): string => fileURLToPath(new URL(name, import.meta.url))
const LIBRARY_CLIENT = script('../support/small-files-client.js')
const HTTP_CLIENT = script('http-client.js')
const MASTER_CLIENT = script('master-client.js')
const BUCKET = 'bench'

export const cairn: System = {
  name: 'cairn',
  title: 'Cairn',
  durability: () => '3 copies; a write is answered when at least two of them and the metadata are synced (always)',
  install: async () => ({ version: commitHash(), start: (context) => RunningCairn.start(context) }),
}

class RunningCairn implements RunningSystem {
  readonly #cluster: BenchCluster
  readonly #log: string
  readonly #ended: () => void
  #clients: TransferClients | undefined

  private constructor(cluster: BenchCluster, directory: string) {
    this.#cluster = cluster
    this.#log = path.join(directory, 'client.log')
    this.#ended = own(this)
  }

  static async start({ directory }: StartContext): Promise<RunningCairn> {
    mkdirSync(directory, { recursive: true })
    return new RunningCairn(await BenchCluster.start(path.join(directory, 'cluster')), directory)
  }

  get processes(): readonly ServerProcess[] {
    let number = 0
    const servers = this.#cluster.processes.map(({ role, pid }) => ({
      name: role === 'chunkserver' ? `chunkserver-${(number += 1)}` : role,
      pid,
    }))
    return [...servers, ...(this.#clients?.pids ?? []).map((pid, index) => ({ name: `client-${index + 1}`, pid }))]
  }

  async upload(source: string, name: string): Promise<void> {
    await this.#cluster.perform(['put', source, `/${BUCKET}/${name}`])
  }

  async openClients(count: number): Promise<AsyncDisposable> {
    const clients = await TransferClients.start(count, this.#cluster.env)
    this.#clients = clients
    return {
      [Symbol.asyncDispose]: async () => {
        this.#clients = undefined
        await clients[Symbol.asyncDispose]()
      },
    }
  }

  async uploadAtOnce(sources: readonly string[], names: readonly string[]): Promise<void> {
    await this.#clients?.put(sources.map((source, index) => ({ source, target: `/${BUCKET}/${names[index]}` })))
  }

  async download(name: string): Promise<void> {
    await this.#cluster.run({ args: ['get', `/${BUCKET}/${name}`, '-'], output: 'nowhere' })
  }

  async sha256Of(name: string): Promise<string> {
    const hash = createHash('sha256')
    await this.#cluster.run({ args: ['get', `/${BUCKET}/${name}`, '-'], output: (piece) => hash.update(piece) })
    return hash.digest('hex')
  }

  load(task: LoadTask): Promise<LoadResult> {
    return this.#perform(inBucket(task), LIBRARY_CLIENT, [], this.#cluster.env)
  }

  /** Contents through the gateway; metadata alone through the master, which is its own gateway. */
  loadOverHttp(task: LoadTask): Promise<LoadResult> {
    const { master, gateway, token } = this.#cluster.addresses
    const http = inBucket({ ...task, prefix: `http-${task.prefix}` })
    if (task.bytes === 0) return this.#perform(http, MASTER_CLIENT, [], { BENCH_URL: master, BENCH_TOKEN: token })
    return this.#perform(http, HTTP_CLIENT, ['/v1/files', '/content'], { BENCH_URL: gateway, BENCH_TOKEN: token })
  }

  async #perform(task: LoadTask, client: string, args: readonly string[], env: Record<string, string>): Promise<LoadResult> {
    await using process = await LoadProcess.start(client, args, { env, log: this.#log })
    return await process.perform(task)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#cluster[Symbol.asyncDispose]()
    this.#ended()
  }
}

const inBucket = (task: LoadTask): LoadTask => ({ ...task, prefix: `/${BUCKET}/${task.prefix}` })
