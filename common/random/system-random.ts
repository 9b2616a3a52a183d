/** Randomness from the operating system, fit for ids and secrets. */
import { randomFillSync, randomInt } from 'node:crypto'
import type { Random } from './random.js'

/** Asked for in one piece: a call into the system costs more than what an id of 16 bytes needs from it. */
const POOL_BYTES = 4096

export class SystemRandom implements Random {
  readonly #pool = new Uint8Array(POOL_BYTES)
  #used = POOL_BYTES

  bytes(count: number): Uint8Array {
    if (count > POOL_BYTES) return randomFillSync(new Uint8Array(count))
    if (this.#used + count > POOL_BYTES) {
      randomFillSync(this.#pool)
      this.#used = 0
    }
    const given = this.#pool.slice(this.#used, this.#used + count)
    // It may become a secret, which nothing else in this process should hold.
    this.#pool.fill(0, this.#used, this.#used + count)
    this.#used += count
    return given
  }

  integer(bound: number): number {
    return randomInt(bound)
  }

  fraction(): number {
    return Math.random()
  }
}
