/** The network of a cluster under test: a proxy in front of every member, and the partitions in force. */
import { Worker } from 'node:worker_threads'
import { CairnError } from '../../common/errors/cairn-error.js'
import { deferred, type Deferred } from '../../common/flow/deferred.js'
import type { ProxyOptions, Target } from './fault-proxy.js'
import type { Partition } from './partition.js'
import type { ProxyAnswer, ProxyOrder, ProxyRequest } from './proxy-thread.js'
import type { KnownProcess } from './socket-owner.js'

export class Network {
  readonly #worker: Worker
  readonly #waiting = new Map<number, Deferred<number>>()
  #nextId = 1
  #held = true
  #failure: Error | undefined
  #partitions: readonly Partition[] = []
  #processes: readonly KnownProcess[] = []

  constructor() {
    // Options of the test's own process are not for the thread: some are refused there.
    this.#worker = new Worker(new URL('./proxy-thread.js', import.meta.url), { execArgv: [] })
    this.#worker.on('message', ({ id, port }: ProxyAnswer) => {
      this.#waiting.get(id)?.resolve(port)
      this.#waiting.delete(id)
      if (this.#waiting.size === 0 && !this.#held) this.#worker.unref()
    })
    this.#worker.on('error', (error) => this.#fail(error))
    this.#worker.on('exit', () => this.#fail(new CairnError('SHUTTING_DOWN', 'The network of the cluster is closed.')))
  }

  #fail(error: Error): void {
    this.#failure ??= error
    for (const waiting of this.#waiting.values()) waiting.reject(this.#failure)
    this.#waiting.clear()
  }

  /** Opens a proxy. @returns the address that stands for the member */
  async open(proxy: ProxyOptions): Promise<string> {
    return `http://127.0.0.1:${await this.#order({ kind: 'open', proxy })}`
  }

  /** Says where a member listens now. */
  async setTarget(member: string, target: Target): Promise<void> {
    await this.#order({ kind: 'target', member, target })
  }

  async setProcesses(processes: readonly KnownProcess[]): Promise<void> {
    this.#processes = processes
    await this.#send()
  }

  get partitions(): readonly Partition[] {
    return this.#partitions
  }

  /** In force when this resolves. */
  async setPartitions(partitions: readonly Partition[]): Promise<void> {
    this.#partitions = partitions
    await this.#send()
  }

  async #send(): Promise<void> {
    await this.#order({ kind: 'state', state: { partitions: this.#partitions, processes: this.#processes } })
  }

  #order(order: ProxyOrder): Promise<number> {
    if (this.#failure !== undefined) return Promise.reject(this.#failure)
    const id = this.#nextId++
    const answer = deferred<number>()
    this.#waiting.set(id, answer)
    this.#worker.ref()
    this.#worker.postMessage({ id, order } satisfies ProxyRequest)
    return answer.promise
  }

  /** From now on the thread does not keep a test process alive that forgot to stop its cluster. */
  letGo(): void {
    this.#held = false
    if (this.#waiting.size === 0) this.#worker.unref()
  }

  async close(): Promise<void> {
    await this.#worker.terminate()
  }
}
