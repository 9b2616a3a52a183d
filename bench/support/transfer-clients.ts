/** Clients that put files at once, each a process of its own: see transfer-client.ts. */
import { fork, type ChildProcess, type ForkOptions } from 'node:child_process'
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'
import type { Transfer } from './transfer-client.js'

const CLIENT = fileURLToPath(new URL('transfer-client.js', import.meta.url))

export class TransferClients implements AsyncDisposable {
  readonly #children: readonly ChildProcess[]
  readonly #gone: readonly Promise<unknown>[]

  private constructor(children: readonly ChildProcess[]) {
    this.#children = children
    this.#gone = children.map((child) => once(child, 'exit'))
  }

  /** @returns once all of them run @param env says which cluster */
  static async start(count: number, env: Readonly<Record<string, string>>): Promise<TransferClients> {
    const options = { env: { ...process.env, ...env }, stdio: ['ignore', 'ignore', 'inherit', 'ipc'] } satisfies ForkOptions
    const clients = new TransferClients(Array.from({ length: count }, () => fork(CLIENT, options)))
    await Promise.all(clients.#children.map((_, index) => clients.#heard(index)))
    return clients
  }

  get pids(): readonly number[] {
    return this.#children.map(({ pid }) => pid as number)
  }

  /** Gives each client one file. @returns when the last is done */
  async put(transfers: readonly Transfer[]): Promise<void> {
    await Promise.all(
      transfers.map((transfer, index) => {
        const heard = this.#heard(index)
        this.#children[index]?.send(transfer)
        return heard
      }),
    )
  }

  async #heard(index: number): Promise<void> {
    const failed = this.#gone[index]?.then(() => Promise.reject(new Error('a client has ended: see above')))
    await Promise.race([once(this.#children[index] as ChildProcess, 'message'), failed])
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const child of this.#children) if (child.connected) child.send('end')
    await Promise.all(this.#gone)
  }
}
