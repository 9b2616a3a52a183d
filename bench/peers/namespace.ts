/**
 * A network and mounts of their own, for servers that refuse to talk over loopback. Held by one sleeping process: with it,
 * and the processes that were started inside, network and mounts are gone too.
 */
import { OwnedProcess, perform, until, type OwnedOptions } from './owned.js'
import { readlinkSync } from 'node:fs'
import { Unavailable } from './system.js'

export class Namespace implements AsyncDisposable {
  readonly #holder: OwnedProcess

  private constructor(holder: OwnedProcess) {
    this.#holder = holder
  }

  /** @param addresses of the loopback device inside, such as `10.1.2.3/24` @throws {@link Unavailable} without the right to make one */
  static async open(addresses: readonly string[]): Promise<Namespace> {
    const holder = await OwnedProcess.start(['unshare', '--net', '--mount', '--propagation', 'private', 'sleep', 'infinity'])
    const namespace = new Namespace(holder)
    try {
      const apart = (): boolean => readlinkSync(`/proc/${holder.pid}/ns/net`) !== readlinkSync('/proc/self/ns/net')
      await until(() => apart(), 'a namespace', [holder])
      await namespace.perform(['ip', 'link', 'set', 'lo', 'up'])
      for (const address of addresses) await namespace.perform(['ip', 'address', 'add', address, 'dev', 'lo'])
      return namespace
    } catch (error) {
      await holder[Symbol.asyncDispose]()
      throw new Unavailable(`no namespace for network and mounts (takes root, unshare and ip): ${(error as Error).message}`)
    }
  }

  /** To be put before a command; it becomes that command, under the same pid. */
  get entrance(): readonly string[] {
    return ['nsenter', '--target', String(this.#holder.pid), '--net', '--mount', '--']
  }

  perform(command: readonly string[], options: Pick<OwnedOptions, 'env' | 'cwd'> = {}): Promise<string> {
    return perform([...this.entrance, ...command], options)
  }

  start(command: readonly string[], options: OwnedOptions): Promise<OwnedProcess> {
    return OwnedProcess.start([...this.entrance, ...command], options)
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.#holder[Symbol.asyncDispose]()
  }
}
