/**
 * A stream as an upload's source. It cannot be read again, so each chunk's bytes stay in memory until the chunk is
 * stored: a chain that breaks is fed again from there. The memory is the client's budget, shared by all its streams.
 *
 * A chunk is filled before it is sent, so that a slow sender holds memory only for what it has sent so far, and no
 * chunkserver at all. Each stream has two blocks of its own, which is what keeps it going whatever the others do; more
 * are taken as bytes arrive, while there are some. When there are none a chunk ends where it is: with many streams
 * chunks become shorter rather than the memory more.
 */
import type { Block, BlockPool } from '../../common/bytes/block-pool.js'
import { LEAF_BYTES } from '../../common/checksum/tree.js'
import type { Clock } from '../../common/clock/clock.js'
import { CairnError } from '../../common/errors/cairn-error.js'
import { untilAborted } from '../../common/flow/abort.js'
import { Semaphore, type Permit } from '../../common/flow/semaphore.js'
import { SECOND_MS } from '../../common/units.js'
import type { ChunkWish } from './allocation-ahead.js'
import { isSmall, type ChunkPayload, type UploadSource } from './source.js'

/** Memory that stream uploads hold their chunks in. */
export interface StreamBudget {
  readonly blocks: BlockPool
  /** One unit per block. */
  readonly units: Semaphore
  /** Streams being uploaded now. */
  active: number
}

/** One chunk being filled while another is sent: also the blocks that a stream has of its own, one for each. */
const CHUNKS_PER_STREAM = 2
/** This part of the memory is left to streams that have only their own blocks, and to those yet to come. */
const RESERVED_SHARE = 1 / 4
/** Below this part free, a chunk that fills slowly is sent as it is, to make room. */
const SCARCE_SHARE = 1 / 2
const SLOW_FILL_MS = 5 * SECOND_MS

export interface StreamSourceOptions {
  readonly stream: AsyncIterable<Uint8Array>
  readonly sizeBytes: number | null
  readonly budget: StreamBudget
  readonly clock: Clock
}

export class StreamSource implements UploadSource {
  readonly resumable = false
  readonly sizeBytes: number | null
  readonly #iterator: AsyncIterator<Uint8Array>
  readonly #budget: StreamBudget
  readonly #clock: Clock
  readonly #own = new Semaphore(CHUNKS_PER_STREAM)
  #seat: Permit | undefined
  #rest: Uint8Array = new Uint8Array(0)
  #ended = false
  #pulling = false
  #open = true

  constructor(options: StreamSourceOptions) {
    this.sizeBytes = options.sizeBytes
    this.#iterator = options.stream[Symbol.asyncIterator]()
    this.#budget = options.budget
    this.#clock = options.clock
    this.#budget.active += 1
  }

  fingerprint(): Promise<string> {
    return Promise.reject(new CairnError('INTERNAL', 'a stream has no fingerprint'))
  }

  /** Lengths follow the memory of the moment, so none is certain. */
  upcoming(): ChunkWish[] {
    return []
  }

  /** A leaf is filled whatever the memory of the moment. */
  get isSmall(): boolean {
    return isSmall(this.sizeBytes)
  }

  chunkAt(): ChunkPayload {
    throw new CairnError('INTERNAL', 'a stream cannot be read again')
  }

  async *chunks(chunkSizeBytes: number, signal: AbortSignal): AsyncIterable<ChunkPayload> {
    this.#seat = await this.#budget.units.acquire(CHUNKS_PER_STREAM, signal)
    let offset = 0
    for (let index = 0; this.sizeBytes === null || offset < this.sizeBytes; index += 1) {
      const most = this.sizeBytes === null ? chunkSizeBytes : Math.min(chunkSizeBytes, this.sizeBytes - offset)
      const chunk = new HeldChunk(index, offset, await this.#own.acquire(1, signal), this.#clock.monotonic())
      try {
        await this.#fill(chunk, most, signal)
      } catch (error) {
        chunk.release()
        throw error
      }
      if (chunk.lengthBytes === 0) {
        chunk.release()
        break
      }
      offset += chunk.lengthBytes
      yield chunk
    }
    if (this.sizeBytes !== null) await this.#expectEnd(offset, this.sizeBytes, signal)
  }

  /** Fills the chunk as far as the stream, its greatest length and the memory go. */
  async #fill(chunk: HeldChunk, most: number, signal: AbortSignal): Promise<void> {
    while (chunk.lengthBytes < most && (chunk.leafCount === 0 || this.#grow(chunk))) {
      const block = await this.#budget.blocks.acquire(signal)
      const length = Math.min(LEAF_BYTES, most - chunk.lengthBytes)
      let filled = 0
      try {
        filled = await this.#readInto(block.bytes.subarray(0, length), signal)
      } finally {
        chunk.add(block, filled)
      }
      if (filled < length) return
    }
  }

  /** Memory for one more leaf. False: the chunk should go as it is. */
  #grow(chunk: HeldChunk): boolean {
    const { units, blocks, active } = this.#budget
    const share = Math.floor(blocks.capacity / (CHUNKS_PER_STREAM * active))
    if (chunk.leafCount >= share || units.available <= blocks.capacity * RESERVED_SHARE) return false
    const isSlow = this.#clock.monotonic() - chunk.startedMs > SLOW_FILL_MS
    if (isSlow && units.available < blocks.capacity * SCARCE_SHARE) return false
    const permit = units.tryAcquire(1)
    if (permit) chunk.hold(permit)
    return permit !== undefined
  }

  /** @returns how many bytes there were; fewer than asked for only at the stream's end */
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

  /** A sender that is silent must not keep a failed upload from ending, hence the signal. */
  async #pull(signal: AbortSignal): Promise<boolean> {
    if (this.#ended) return false
    const next = await untilAborted(this.#iterator.next(), signal)
    if (next.done) this.#ended = true
    else this.#rest = next.value
    return !next.done
  }

  async #expectEnd(offset: number, sizeBytes: number, signal: AbortSignal): Promise<void> {
    if (offset < sizeBytes)
      throw new CairnError('SOURCE_CHANGED', `The stream ended after ${offset} of the ${sizeBytes} bytes that were announced.`)
    while (this.#rest.length === 0 && (await this.#pull(signal)));
    if (this.#rest.length > 0)
      throw new CairnError('SOURCE_CHANGED', `The stream has more than the ${sizeBytes} bytes that were announced.`)
  }

  async checkUnchanged(): Promise<void> {}

  async close(): Promise<void> {
    if (!this.#open) return
    this.#open = false
    this.#budget.active -= 1
    this.#seat?.release()
    // Not waited for: a generator that is waiting for its own source returns only after that.
    if (!this.#ended) this.#iterator.return?.().catch(() => undefined)
  }
}

/** A chunk's bytes in memory. */
class HeldChunk implements ChunkPayload {
  readonly index: number
  readonly offset: number
  readonly startedMs: number
  lengthBytes = 0
  readonly #permits: Permit[]
  readonly #leaves: { readonly block: Block; readonly length: number }[] = []
  #released = false

  constructor(index: number, offset: number, permit: Permit, startedMs: number) {
    this.index = index
    this.offset = offset
    this.startedMs = startedMs
    this.#permits = [permit]
  }

  get leafCount(): number {
    return this.#leaves.length
  }

  hold(permit: Permit): void {
    this.#permits.push(permit)
  }

  add(block: Block, length: number): void {
    if (length === 0) return block.release()
    this.#leaves.push({ block, length })
    this.lengthBytes += length
  }

  heldLeaf(leaf: number): Uint8Array {
    const held = this.#leaves[leaf]
    if (!held) throw new CairnError('INTERNAL', 'a chunk is sent while its bytes are held')
    return held.block.bytes.subarray(0, held.length)
  }

  async readLeaf(leaf: number): Promise<Uint8Array> {
    return this.heldLeaf(leaf)
  }

  release(): void {
    if (this.#released) return
    this.#released = true
    for (const { block } of this.#leaves.splice(0)) block.release()
    for (const permit of this.#permits.splice(0)) permit.release()
  }
}
