/** A client in a process of its own, told over its channel what to do: see support/load-client.ts. */
import { once } from 'node:events'
import type { LoadResult, LoadTask } from '../support/load-task.js'
import { OwnedProcess, type OwnedOptions } from './owned.js'

export class LoadProcess implements AsyncDisposable {
  readonly #process: OwnedProcess

  private constructor(process: OwnedProcess) {
    this.#process = process
  }

  /** @param prefix what to start it with, such as `nsenter`; it must exec the rest */
  static async start(
    script: string,
    args: readonly string[],
    options: Pick<OwnedOptions, 'env' | 'log'>,
    prefix: readonly string[] = [],
  ): Promise<LoadProcess> {
    return new LoadProcess(await OwnedProcess.start([...prefix, process.execPath, script, ...args], { ...options, ipc: true }))
  }

  get pid(): number {
    return this.#process.pid
  }

  async perform(task: LoadTask): Promise<LoadResult> {
    const answered = once(this.#process.child, 'message') as Promise<[LoadResult]>
    this.#process.child.send(task)
    const [result] = await Promise.race([answered, this.#process.failure()])
    return result
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.#process[Symbol.asyncDispose]()
  }
}
