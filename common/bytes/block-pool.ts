/**
 * A fixed pool of page-aligned blocks, 1 MiB each unless said otherwise: the only memory that chunk bytes pass through.
 *
 * It is the memory of hashers: it starts on a page boundary, which is what `O_DIRECT` asks for, never grows, and what lies
 * in it is hashed without being copied. A pool is made of several, as they are needed.
 */
import { assert } from '../assert.js'
import { hashableMemory } from '../checksum/xxh64.js'
import { DISK_ALIGNMENT_BYTES } from '../disk/disk.js'
import { Semaphore, type Permit } from '../flow/semaphore.js'
import { MiB } from '../units.js'

export const BLOCK_BYTES = MiB

/** Blocks that come into being together. Each memory is one allocation to V8, which collects garbage the sooner the more there is of it. */
const SLAB_BLOCKS = 8

/** Exclusive use of one block until {@link Block.release}, which may be called once. */
export interface Block {
  readonly bytes: Uint8Array
  release(): void
}

export class BlockPool {
  readonly #free: Uint8Array[] = []
  readonly #blockBytes: number
  /** Blocks that there is no memory for yet. */
  #unmade: number
  readonly #permits: Semaphore
  readonly capacity: number

  /** @param blockBytes a multiple of 4 KiB */
  constructor(blockCount: number, blockBytes = BLOCK_BYTES) {
    assert(blockCount > 0, 'a block pool holds at least one block')
    assert(blockBytes % DISK_ALIGNMENT_BYTES === 0, 'blocks are aligned')
    this.#blockBytes = blockBytes
    this.#unmade = blockCount
    this.capacity = blockCount
    this.#permits = new Semaphore(blockCount)
  }

  get inUse(): number {
    return this.capacity - this.#permits.available
  }

  /** Waits for a block, first come first served. The content is whatever the last holder left. */
  async acquire(signal?: AbortSignal): Promise<Block> {
    return this.#take(await this.#permits.acquire(1, signal))
  }

  /** A block if one is free right now. */
  tryAcquire(): Block | undefined {
    const permit = this.#permits.tryAcquire(1)
    return permit && this.#take(permit)
  }

  /** Memory for further blocks. Pushed in reverse, so that the same few low ones are reused while load is light and RSS stays small. */
  #make(): void {
    const count = Math.min(SLAB_BLOCKS, this.#unmade)
    const slab = hashableMemory(count * this.#blockBytes)
    for (let index = count - 1; index >= 0; index -= 1)
      this.#free.push(slab.subarray(index * this.#blockBytes, (index + 1) * this.#blockBytes))
    this.#unmade -= count
  }

  #take(permit: Permit): Block {
    if (this.#free.length === 0) this.#make()
    const bytes = this.#free.pop()
    assert(bytes, 'a permit stands for a free block')
    let held = true
    return {
      bytes,
      release: () => {
        assert(held, 'a block is released once')
        held = false
        this.#free.push(bytes)
        permit.release()
      },
    }
  }
}
