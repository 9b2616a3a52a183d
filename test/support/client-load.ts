/**
 * Clients at work while faults happen: they write, read, overwrite, copy and delete files whose contents they know, and at
 * the end everything that was acknowledged is read back and compared.
 *
 * A path belongs to one worker, which does one thing at a time to it, so what it must hold is known: exactly what the last
 * acknowledged change left. A change that failed may have been done or not, and may still come about as long as its request
 * is on its way: from then on the path is only read, and holds what was before or what was to be.
 */
import { Readable } from 'node:stream'
import { isCairnError, type CairnClient } from '../../client/index.js'
import { SeededRandom } from '../../common/random/seeded-random.js'
import { KiB, MiB } from '../../common/units.js'

export interface LoadOptions {
  readonly seed?: number
  /** Each with a file of its own in hand. Default 3. */
  readonly workers?: number
  /** Where in the namespace. Default `/load`. */
  readonly prefix?: string
  /** Default 64 KiB, so that small files have several chunks. */
  readonly chunkSizeBytes?: number
  /** Largest file. Default 1 MiB. */
  readonly sizeBytesMax?: number
  /** Files that a worker keeps at most; with more it deletes. Default 12. */
  readonly filesPerWorker?: number
  /** Pause of a worker between two operations. Default 150: the machine has to have time for what else goes on. */
  readonly thinkMs?: number
}

export type OperationKind = 'put' | 'overwrite' | 'read' | 'copy' | 'delete'

export interface FailedOperation {
  readonly kind: OperationKind
  readonly path: string
  readonly code: string
  readonly message: string
}

export interface LoadFigures {
  readonly operations: number
  readonly failed: number
  readonly bytesWritten: number
  readonly bytesVerified: number
}

/** What a path may hold: a content, by its number, or nothing. */
type Content = { readonly number: number; readonly sizeBytes: number } | null

interface PathState {
  /** One as long as all is known. */
  candidates: readonly Content[]
}

const HEADER_BYTES = 16
const FINAL_READS_AT_ONCE = 4

export class ClientLoad implements AsyncDisposable {
  /** Operations that ended with an error, in the order in which they did. */
  readonly failures: FailedOperation[] = []
  /** Wrong bytes, files that are gone or came back, errors without a code. Must stay empty. */
  readonly violations: string[] = []
  /** Milliseconds that acknowledged writes took, in the order in which they ended. */
  readonly writeMs: number[] = []
  readonly #client: CairnClient
  readonly #options: Required<LoadOptions>
  readonly #random: SeededRandom
  readonly #noise: Buffer
  readonly #paths = new Map<string, PathState>()
  readonly #workers: Promise<void>[]
  readonly #abort = new AbortController()
  #stopping = false
  #count = 0
  #operations = 0
  #bytesWritten = 0
  #bytesVerified = 0

  private constructor(client: CairnClient, options: LoadOptions) {
    this.#client = client
    this.#options = {
      seed: 1,
      workers: 3,
      prefix: '/load',
      chunkSizeBytes: 64 * KiB,
      sizeBytesMax: MiB,
      filesPerWorker: 12,
      thinkMs: 150,
      ...options,
    }
    this.#random = new SeededRandom(this.#options.seed)
    this.#noise = Buffer.from(this.#random.bytes(2 * this.#options.sizeBytesMax))
    this.#workers = Array.from({ length: this.#options.workers }, (_, worker) => this.#work(worker))
  }

  /** Begins at once. */
  static start(client: CairnClient, options: LoadOptions = {}): ClientLoad {
    return new ClientLoad(client, options)
  }

  get figures(): LoadFigures {
    return {
      operations: this.#operations,
      failed: this.failures.length,
      bytesWritten: this.#bytesWritten,
      bytesVerified: this.#bytesVerified,
    }
  }

  /** Resolves once so many more operations have ended. */
  async progress(operations: number): Promise<void> {
    const goal = this.#operations + operations
    while (this.#operations < goal && !this.#stopping) await pause(5)
  }

  /** Lets every worker end what it is at, then reads everything back. @returns what was wrong at any time; empty if nothing */
  async finish(): Promise<readonly string[]> {
    await this.stop()
    await this.verifyAll()
    return this.violations
  }

  async stop(): Promise<void> {
    this.#stopping = true
    await Promise.all(this.#workers)
  }

  /** When a test has failed on the way: what is under way is given up, so that nothing goes on without its cluster. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#abort.abort()
    await this.stop()
  }

  /** Reads every file back and compares listing and contents with what was acknowledged. */
  async verifyAll(): Promise<void> {
    const listed = new Set<string>()
    for await (const entry of this.#client.list(`${this.#options.prefix}/`)) listed.add(entry.path)
    for (const path of listed) if (!this.#paths.has(path)) this.violations.push(`${path} is listed and was never written`)
    const paths = [...this.#paths]
    const verify = async (): Promise<void> => {
      for (let next = paths.pop(); next; next = paths.pop()) await this.#verify(next[0], next[1], listed.has(next[0]))
    }
    await Promise.all(Array.from({ length: FINAL_READS_AT_ONCE }, verify))
  }

  async #verify(path: string, state: PathState, isListed: boolean): Promise<void> {
    const found = await this.#read(path, state)
    if (found === 'unreadable') this.violations.push(`${path} cannot be read at the end`)
    else if (found !== 'wrong' && (found !== null) !== isListed)
      this.violations.push(`${path} is ${isListed ? 'listed' : 'not listed'}, and ${found === null ? 'absent' : 'there'}`)
  }

  async #work(worker: number): Promise<void> {
    const { seed, prefix, thinkMs, filesPerWorker } = this.#options
    const random = new SeededRandom(seed * 1000 + worker + 1)
    const own: string[] = []
    while (!this.#stopping) {
      const dice = random.fraction()
      const path = own[random.integer(own.length)]
      if (path === undefined || (dice < 0.35 && own.length < filesPerWorker)) {
        const fresh = `${prefix}/w${worker}/${(this.#count += 1)}`
        own.push(fresh)
        await this.#write('put', fresh, random)
      } else if (dice < 0.5) await this.#write('overwrite', path, random)
      else if (dice < 0.8) await this.#check(path)
      else if (dice < 0.9 && own.length < filesPerWorker) {
        const target = `${prefix}/w${worker}/${(this.#count += 1)}`
        if (await this.#copy(path, target)) own.push(target)
      } else await this.#delete(path, random)
      // Of those that are gone or in doubt the worker lets go.
      for (const [index, one] of [...own.entries()].reverse()) if (!this.#isLive(one)) own.splice(index, 1)
      this.#operations += 1
      await pause(thinkMs)
    }
  }

  #isLive(path: string): boolean {
    const candidates = this.#paths.get(path)?.candidates ?? []
    return candidates.length === 1 && candidates[0] !== null
  }

  #newContent(random: SeededRandom): { readonly number: number; readonly sizeBytes: number } {
    const sizeBytes = HEADER_BYTES + Math.floor(random.fraction() ** 2 * (this.#options.sizeBytesMax - HEADER_BYTES))
    return { number: (this.#count += 1), sizeBytes }
  }

  async #write(kind: 'put' | 'overwrite', path: string, random: SeededRandom): Promise<void> {
    const content = this.#newContent(random)
    const startedMs = performance.now()
    const options = { chunkSizeBytes: this.#options.chunkSizeBytes, signal: this.#abort.signal }
    const done = await this.#change(kind, path, content, () =>
      this.#client.uploadStream(Readable.from(this.#pieces(content)), path, options),
    )
    if (!done) return
    this.#bytesWritten += content.sizeBytes
    this.writeMs.push(performance.now() - startedMs)
  }

  #delete(path: string, random: SeededRandom): Promise<boolean> {
    const purge = random.fraction() < 0.5
    return this.#change('delete', path, null, () => this.#client.delete(path, { purge, signal: this.#abort.signal }))
  }

  async #copy(from: string, to: string): Promise<boolean> {
    const [content] = this.#paths.get(from)?.candidates ?? []
    return content ? this.#change('copy', to, content, () => this.#client.copy(from, to, { signal: this.#abort.signal })) : false
  }

  /** A change of one path. @returns whether it was acknowledged */
  async #change(kind: OperationKind, path: string, after: Content, work: () => Promise<unknown>): Promise<boolean> {
    const before = this.#paths.get(path)?.candidates ?? [null]
    this.#paths.set(path, { candidates: [...before, after] })
    try {
      await work()
      this.#paths.set(path, { candidates: [after] })
      return true
    } catch (error) {
      this.#failed(kind, path, error)
      return false
    }
  }

  async #check(path: string): Promise<void> {
    const state = this.#paths.get(path)
    if (state) await this.#read(path, state)
  }

  /** Reads a path and notes it when it holds none of what it may. */
  async #read(path: string, state: PathState): Promise<Content | 'wrong' | 'unreadable'> {
    try {
      const { signal } = this.#abort
      const file = await this.#client.stat(path, signal)
      const pieces: Buffer[] = []
      for await (const piece of this.#client.download(file, { signal })) pieces.push(Buffer.from(piece))
      const bytes = Buffer.concat(pieces)
      const found = state.candidates.find((content) => content !== null && this.#bytes(content).equals(bytes))
      if (found === undefined) return this.#wrong(`${path} holds ${bytes.length} bytes that nobody wrote there`)
      this.#bytesVerified += bytes.length
      return found
    } catch (error) {
      if (!isCairnError(error, 'FILE_NOT_FOUND')) {
        this.#failed('read', path, error)
        return 'unreadable'
      }
      return state.candidates.includes(null) ? null : this.#wrong(`${path} was acknowledged and is not there`)
    }
  }

  #wrong(what: string): 'wrong' {
    this.violations.push(what)
    return 'wrong'
  }

  #failed(kind: OperationKind, path: string, error: unknown): void {
    const message = error instanceof Error ? error.message : String(error)
    const code = isCairnError(error) ? error.code : 'UNTYPED'
    this.failures.push({ kind, path, code, message })
    if (code === 'UNTYPED' || code === 'INTERNAL') this.violations.push(`${kind} of ${path} failed without a reason: ${message}`)
  }

  /** Different for every number, in every leaf and from the first byte on. */
  #bytes({ number, sizeBytes }: NonNullable<Content>): Buffer {
    const from = (number * 4099) % this.#options.sizeBytesMax
    const bytes = Buffer.from(this.#noise.subarray(from, from + sizeBytes))
    bytes.write(`#${number} `.padEnd(HEADER_BYTES, '.'))
    return bytes
  }

  *#pieces(content: NonNullable<Content>): Generator<Buffer> {
    const bytes = this.#bytes(content)
    for (let from = 0; from < bytes.length; from += 100_000) yield bytes.subarray(from, from + 100_000)
  }
}

const pause = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms))
