/** Randomness from the operating system, fit for ids and secrets. */
import { randomBytes, randomInt } from 'node:crypto'
import type { Random } from './random.js'

export class SystemRandom implements Random {
  bytes(count: number): Uint8Array {
    return randomBytes(count)
  }

  integer(bound: number): number {
    return randomInt(bound)
  }

  fraction(): number {
    return Math.random()
  }
}
