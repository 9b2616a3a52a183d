/**
 * Repeatable randomness from one 32-bit seed, for simulations and test data. Not fit for secrets.
 * Source: sfc32 by Chris Doty-Humphrey (PractRand), seeded as in its reference code.
 */
import type { Random } from './random.js'

export class SeededRandom implements Random {
  #a: number
  #b: number
  #c = 0x9e3779b9
  #counter = 1

  constructor(seed: number) {
    this.#a = seed >>> 0
    this.#b = Math.imul(seed ^ 0x85ebca6b, 0xc2b2ae35) >>> 0
    for (let round = 0; round < 15; round += 1) this.#next()
  }

  #next(): number {
    const out = (this.#a + this.#b + this.#counter) >>> 0
    this.#counter = (this.#counter + 1) >>> 0
    this.#a = (this.#b ^ (this.#b >>> 9)) >>> 0
    this.#b = (this.#c + (this.#c << 3)) >>> 0
    this.#c = (((this.#c << 21) | (this.#c >>> 11)) + out) >>> 0
    return out
  }

  bytes(count: number): Uint8Array {
    const out = new Uint8Array(count)
    for (let index = 0; index < count; index += 4) {
      let word = this.#next()
      for (let offset = index; offset < Math.min(index + 4, count); offset += 1) {
        out[offset] = word & 0xff
        word >>>= 8
      }
    }
    return out
  }

  integer(bound: number): number {
    return Math.floor(this.fraction() * bound)
  }

  fraction(): number {
    return this.#next() / 2 ** 32
  }
}
