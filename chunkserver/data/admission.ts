/**
 * How many transfers run at once, by kind. Writes are counted by their place in the chain: a stream at place n waits
 * only for streams at place n + 1 elsewhere, so separate shares for each place keep chains from waiting in a circle.
 */
import { BlockPool } from '../../common/bytes/block-pool.js'
import { StreamBlocks } from '../../common/bytes/stream-blocks.js'
import type { Clock } from '../../common/clock/clock.js'
import { Semaphore, type Permit } from '../../common/flow/semaphore.js'
import type { IncomingRequest } from '../../common/rpc/transport.js'
import { SECOND_MS } from '../../common/units.js'

/** Chains are rarely longer than three; all places from the third on share. */
const CHAIN_PLACES = 3
/** Where writes end that wait for no other server. */
export const LAST_PLACE = CHAIN_PLACES - 1
const WRITES_PER_PLACE = 10
const READS = 16
/** In flight per stream: one being filled, the others on their way to disk and onwards. */
const BLOCKS_PER_WRITE = 4
const BLOCKS_PER_READ = 3
/** Every admitted stream has one; the rest makes streams fast while there are few. */
const POOL_BLOCKS = CHAIN_PLACES * WRITES_PER_PLACE + READS + 34
const SIGN_OF_LIFE_MS = 1 * SECOND_MS

export interface Admitted {
  readonly blocks: StreamBlocks
  release(): void
}

export class Admission {
  readonly #clock: Clock
  readonly #pool = new BlockPool(POOL_BLOCKS)
  readonly #writes = Array.from({ length: CHAIN_PLACES }, () => new Semaphore(WRITES_PER_PLACE))
  readonly #reads = new Semaphore(READS)
  #activeWrites = 0
  #activeReads = 0

  constructor(clock: Clock) {
    this.#clock = clock
  }

  get load(): { readonly writes: number; readonly reads: number } {
    return { writes: this.#activeWrites, reads: this.#activeReads }
  }

  get blocksInUse(): number {
    return this.#pool.inUse
  }

  async admitWrite(place: number, signal: AbortSignal): Promise<Admitted> {
    // The place comes from a header: whatever it says, it is one of ours.
    const semaphore = this.#writes[Math.max(0, Math.min(Math.trunc(place) || 0, CHAIN_PLACES - 1))] as Semaphore
    const permit = await semaphore.acquire(1, signal)
    this.#activeWrites += 1
    return this.#admit(permit, BLOCKS_PER_WRITE, () => (this.#activeWrites -= 1))
  }

  async admitRead(signal: AbortSignal): Promise<Admitted> {
    const permit = await this.#reads.acquire(1, signal)
    this.#activeReads += 1
    return this.#admit(permit, BLOCKS_PER_READ, () => (this.#activeReads -= 1))
  }

  async #admit(permit: Permit, maxBlocks: number, onRelease: () => void): Promise<Admitted> {
    const blocks = await StreamBlocks.open(this.#pool, maxBlocks)
    return {
      blocks,
      release: () => {
        blocks.close()
        onRelease()
        permit.release()
      },
    }
  }

  /** While `work` runs, tells the other side each second that we are at it: waiting in line or for a slow disk is not being dead. */
  async withSignsOfLife<T>(request: IncomingRequest, work: () => Promise<T>): Promise<T> {
    const tick = (): void => {
      request.interim(102)
      timer = this.#clock.setTimer(SIGN_OF_LIFE_MS, tick)
    }
    let timer = this.#clock.setTimer(SIGN_OF_LIFE_MS, tick)
    try {
      return await work()
    } finally {
      timer.cancel()
    }
  }
}
