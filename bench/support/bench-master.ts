/** A master alone, as `cairn master` runs it: a process of its own with its database on disk, with its costs. */
import { mkdirSync } from 'node:fs'
import path from 'node:path'
import type { CairnProcess } from '../../testing/up-process.js'
import { startServer } from './bench-cluster.js'
import type { LoadTarget } from './http-load.js'
import { cpuSeconds, ProcessWatch, type MemoryFigures } from './process-watch.js'
import { round } from './statistics.js'

interface MasterReady {
  readonly url: string
  readonly token: string
  readonly serverToken: string
}

/** Where a master that is started in `directory` has its database. */
export function databaseOf(directory: string): string {
  mkdirSync(path.join(directory, 'master'), { recursive: true })
  return path.join(directory, 'master', 'metadata.sqlite')
}

export class BenchMaster implements AsyncDisposable {
  readonly #server: CairnProcess<MasterReady>
  readonly #watch = new ProcessWatch()
  /** From before its process was started until it served. */
  readonly startSeconds: number

  private constructor(server: CairnProcess<MasterReady>, startSeconds: number) {
    this.#server = server
    this.startSeconds = startSeconds
    this.#watch.watch('master', server.pid)
  }

  static async start(directory: string, flags: readonly string[] = []): Promise<BenchMaster> {
    const startedMs = performance.now()
    const args = ['master', '--dir', path.join(directory, 'master'), '--port', '0', ...flags]
    const server = await startServer<MasterReady>(args, path.join(directory, 'log'))
    return new BenchMaster(server, (performance.now() - startedMs) / 1000)
  }

  get target(): LoadTarget {
    return this.#server.ready
  }

  get serverToken(): string {
    return this.#server.ready.serverToken
  }

  get pid(): number {
    return this.#server.pid
  }

  memory(): Record<string, MemoryFigures> {
    return this.#watch.figures()
  }

  /** Does work and says what it cost, in CPU time, the master and the one who asks. */
  async costOf<T>(work: () => Promise<T>): Promise<{ readonly result: T; readonly cpu: { master: number; client: number } }> {
    const before = this.#counters()
    const result = await work()
    const after = this.#counters()
    return { result, cpu: { master: after.master - before.master, client: after.client - before.client } }
  }

  #counters(): { master: number; client: number } {
    return { master: cpuSeconds(this.#server.pid), client: cpuSeconds(process.pid) }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#watch[Symbol.dispose]()
    await this.#server.stop()
  }
}

/** CPU seconds per 1000 operations, by process. */
export const perThousand = (cpu: { readonly master: number; readonly client: number }, operations: number) => {
  const share = (seconds: number): number => round((seconds / operations) * 1000, 4)
  return { master: share(cpu.master), client: share(cpu.client), total: share(cpu.master + cpu.client) }
}
