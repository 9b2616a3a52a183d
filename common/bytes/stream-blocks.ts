/**
 * The blocks of one stream: one that is its own from start to end, and a few more while the pool has some to spare.
 *
 * Why not simply wait for the pool: a chain waits on the next server's blocks while it holds ours. If streams could
 * hold none and wait, two servers full of chains towards each other would wait for ever. With one block of its own,
 * every stream that was admitted moves on as soon as the one after it does, and the last of a chain waits for no one.
 */
import { assert } from '../assert.js'
import { CairnError } from '../errors/cairn-error.js'
import { deferred, type Deferred } from '../flow/deferred.js'
import type { Block, BlockPool } from './block-pool.js'

export class StreamBlocks {
  readonly #pool: BlockPool
  readonly #max: number
  readonly #reserve: number
  readonly #own: Block
  #ownFree = true
  #extra = 0
  #waiter: Deferred<Block> | undefined
  #closed = false

  private constructor(pool: BlockPool, own: Block, max: number, reserve: number) {
    this.#pool = pool
    this.#own = own
    this.#max = max
    this.#reserve = reserve
  }

  /**
   * @param max blocks at once, the own one included
   * @param reserve blocks of the pool that are left alone when taking more than the own one
   */
  static async open(pool: BlockPool, max: number, signal?: AbortSignal, reserve = 0): Promise<StreamBlocks> {
    return new StreamBlocks(pool, await pool.acquire(signal), max, reserve)
  }

  /** A block if one can be had without waiting. */
  tryTake(): Block | undefined {
    assert(!this.#closed, 'a closed stream has no blocks')
    if (this.#ownFree) {
      this.#ownFree = false
      return this.#wrap(this.#own, true)
    }
    if (this.#extra + 1 >= this.#max || this.#pool.capacity - this.#pool.inUse <= this.#reserve) return undefined
    const block = this.#pool.tryAcquire()
    if (!block) return undefined
    this.#extra += 1
    return this.#wrap(block, false)
  }

  /** A block, waiting for one of this stream's own to come back if need be. One caller at a time. */
  take(): Promise<Block> {
    const block = this.tryTake()
    if (block) return Promise.resolve(block)
    assert(!this.#waiter, 'one waits at a time')
    this.#waiter = deferred<Block>()
    return this.#waiter.promise
  }

  /** Gives the blocks back to the pool: those at hand now, those still in use as they are released. Whoever waits gets `ABORTED`. */
  close(): void {
    assert(!this.#closed, 'a stream ends once')
    this.#closed = true
    this.#waiter?.reject(new CairnError('ABORTED', 'The stream was closed while it waited for memory.'))
    this.#waiter = undefined
    if (this.#ownFree) this.#own.release()
  }

  #wrap(block: Block, own: boolean): Block {
    let held = true
    return {
      bytes: block.bytes,
      release: () => {
        assert(held, 'a block is released once')
        held = false
        this.#release(block, own)
      },
    }
  }

  #release(block: Block, own: boolean): void {
    const waiter = this.#waiter
    if (waiter) {
      this.#waiter = undefined
      waiter.resolve(this.#wrap(block, own))
      return
    }
    if (!own) this.#extra -= 1
    if (own && !this.#closed) this.#ownFree = true
    else block.release()
  }
}
