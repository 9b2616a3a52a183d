/**
 * A stream as an upload's source. It cannot be read again, so each chunk's bytes stay in memory until the chunk is
 * stored: a chain that breaks is fed again from there. The memory is the client's budget, shared by all its streams:
 * with many at once chunks become shorter rather than the memory more.
 */
import type { Block, BlockPool } from '../../common/bytes/block-pool.js'
import { LEAF_BYTES, leafCount, leafLength } from '../../common/checksum/tree.js'
import { CairnError } from '../../common/errors/cairn-error.js'
import { untilAborted } from '../../common/flow/abort.js'
import { deferred, observed, type Deferred } from '../../common/flow/deferred.js'
import type { Semaphore, Permit } from '../../common/flow/semaphore.js'
import type { ChunkWish } from './allocation-ahead.js'
import type { ChunkPayload, UploadSource } from './source.js'

/** Memory that stream uploads hold their chunks in. */
export interface StreamBudget {
  readonly blocks: BlockPool
  /** One unit per block. */
  readonly units: Semaphore
  /** Streams being uploaded now. */
  active: number
}

/** One chunk being filled while another is sent. */
const CHUNKS_PER_STREAM = 2

export interface StreamSourceOptions {
  readonly stream: AsyncIterable<Uint8Array>
  readonly sizeBytes: number | null
  readonly budget: StreamBudget
}

export class StreamSource implements UploadSource {
  readonly resumable = false
  readonly sizeBytes: number | null
  readonly #iterator: AsyncIterator<Uint8Array>
  readonly #budget: StreamBudget
  #rest: Uint8Array = new Uint8Array(0)
  #ended = false
  #pulling = false
  #open = true

  constructor(options: StreamSourceOptions) {
    this.sizeBytes = options.sizeBytes
    this.#iterator = options.stream[Symbol.asyncIterator]()
    this.#budget = options.budget
    this.#budget.active += 1
  }

  fingerprint(): Promise<string> {
    return Promise.reject(new CairnError('INTERNAL', 'a stream has no fingerprint'))
  }

  /** Lengths follow the memory of the moment, so none is certain. */
  upcoming(): ChunkWish[] {
    return []
  }

  chunkAt(): ChunkPayload {
    throw new CairnError('INTERNAL', 'a stream cannot be read again')
  }

  async *chunks(chunkSizeBytes: number, signal: AbortSignal): AsyncIterable<ChunkPayload> {
    let offset = 0
    for (let index = 0; ; index += 1) {
      const wanted = this.#lengthOfNext(chunkSizeBytes, offset)
      if (wanted === 0) break
      const permit = await this.#budget.units.acquire(leafCount(wanted), signal)
      const held = new HeldChunk(index, offset, wanted, permit)
      if (this.sizeBytes !== null) {
        // The length is certain, so the chunk is sent while it fills.
        const filling = observed(this.#fill(held, signal))
        yield held
        await filling
      } else {
        held.lengthBytes = await this.#fill(held, signal).catch((error: unknown) => {
          // Nobody has it yet, so nobody else gives it back.
          held.release()
          throw error
        })
        if (held.lengthBytes === 0) {
          held.release()
          break
        }
        yield held
      }
      offset += held.lengthBytes
      if (held.lengthBytes < wanted) break
    }
    if (this.sizeBytes !== null) await this.#expectEnd(signal)
  }

  /** At most this stream's share of the memory. */
  #lengthOfNext(chunkSizeBytes: number, offset: number): number {
    const share = Math.floor(this.#budget.blocks.capacity / (CHUNKS_PER_STREAM * this.#budget.active))
    const most = Math.min(chunkSizeBytes, Math.max(1, share) * LEAF_BYTES)
    return this.sizeBytes === null ? most : Math.min(most, this.sizeBytes - offset)
  }

  /** @returns how many bytes there were, at most those wanted */
  async #fill(chunk: HeldChunk, signal: AbortSignal): Promise<number> {
    const wanted = chunk.lengthBytes
    let total = 0
    try {
      for (let leaf = 0; leaf < leafCount(wanted); leaf += 1) {
        const block = await this.#budget.blocks.acquire(signal)
        const length = leafLength(wanted, leaf)
        const filled = await this.#readInto(block.bytes.subarray(0, length), signal).catch((error: unknown) => {
          block.release()
          throw error
        })
        total += filled
        chunk.add(block, filled)
        if (filled === length) continue
        if (this.sizeBytes !== null)
          throw new CairnError(
            'SOURCE_CHANGED',
            `The stream ended after ${chunk.offset + total} of the ${this.sizeBytes} bytes that were announced.`,
          )
        break
      }
      return total
    } catch (error) {
      chunk.fail(error)
      throw error
    }
  }

  async #readInto(target: Uint8Array, signal: AbortSignal): Promise<number> {
    let filled = 0
    while (filled < target.length) {
      if (this.#rest.length === 0 && !(await this.#pull(signal))) break
      const count = Math.min(this.#rest.length, target.length - filled)
      target.set(this.#rest.subarray(0, count), filled)
      this.#rest = this.#rest.subarray(count)
      filled += count
    }
    return filled
  }

  /** Waits for more. A stream may be silent for long; an abort does not wait for it. */
  async #pull(signal: AbortSignal): Promise<boolean> {
    if (this.#ended) return false
    this.#pulling = true
    const next = await untilAborted(observed(this.#iterator.next()), signal)
    this.#pulling = false
    if (next.done) this.#ended = true
    else this.#rest = next.value
    return !next.done
  }

  async #expectEnd(signal: AbortSignal): Promise<void> {
    while (this.#rest.length === 0 && (await this.#pull(signal)));
    if (this.#rest.length > 0)
      throw new CairnError('SOURCE_CHANGED', `The stream has more than the ${this.sizeBytes} bytes that were announced.`)
  }

  async checkUnchanged(): Promise<void> {}

  async close(): Promise<void> {
    if (!this.#open) return
    this.#open = false
    this.#budget.active -= 1
    if (this.#ended) return
    const ending = observed(Promise.resolve(this.#iterator.return?.()))
    // A stream that is being waited for ends when it next says something, which may be never.
    if (!this.#pulling) await ending
  }
}

/** A chunk's bytes in memory, read by the sender as they arrive. */
class HeldChunk implements ChunkPayload {
  readonly index: number
  readonly offset: number
  lengthBytes: number
  readonly #permit: Permit
  readonly #leaves: { readonly block: Block; readonly length: number }[] = []
  readonly #waiting = new Map<number, Deferred<Uint8Array>>()
  #failure: { readonly error: unknown } | undefined
  #released = false

  constructor(index: number, offset: number, lengthBytes: number, permit: Permit) {
    this.index = index
    this.offset = offset
    this.lengthBytes = lengthBytes
    this.#permit = permit
  }

  add(block: Block, length: number): void {
    if (this.#released || length === 0) return block.release()
    const leaf = this.#leaves.push({ block, length }) - 1
    this.#waiting.get(leaf)?.resolve(block.bytes.subarray(0, length))
    this.#waiting.delete(leaf)
  }

  fail(error: unknown): void {
    this.#failure = { error }
    for (const waiter of this.#waiting.values()) waiter.reject(error)
    this.#waiting.clear()
  }

  async readLeaf(leaf: number): Promise<Uint8Array> {
    const held = this.#leaves[leaf]
    if (held) return held.block.bytes.subarray(0, held.length)
    if (this.#failure) throw this.#failure.error
    const waiter = this.#waiting.get(leaf) ?? deferred<Uint8Array>()
    this.#waiting.set(leaf, waiter)
    return observed(waiter.promise)
  }

  release(): void {
    if (this.#released) return
    this.#released = true
    for (const { block } of this.#leaves.splice(0)) block.release()
    this.#permit.release()
  }
}
