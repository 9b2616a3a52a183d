/** Long inputs are hashed piece by piece: the sum must be that of the whole. */
import { expect, test } from '@jest/globals'
import xxhash from 'xxhash-wasm'
import { xxh64 } from '../../../../common/checksum/xxh64.js'
import { SeededRandom } from '../../../../common/random/seeded-random.js'
import { KiB, MiB } from '../../../../common/units.js'

const hasher = await xxhash()
const PIECE = 128 * KiB

test.each([0, 1, 31, 32, PIECE - 1, PIECE, PIECE + 1, 2 * PIECE, 3 * PIECE - 7, MiB, MiB + 5])(
  'the sum of %i bytes is that of the bytes at once',
  (length) => {
    const bytes = new SeededRandom(length).bytes(length + 3).subarray(3)
    expect(xxh64(bytes)).toBe(hasher.h64Raw(bytes))
  },
)

test('a changed byte in any piece changes the sum', () => {
  const bytes = new SeededRandom(1).bytes(MiB)
  const sum = xxh64(bytes)
  for (let at = 0; at < MiB; at += PIECE) {
    bytes[at] = (bytes[at] as number) ^ 1
    expect(xxh64(bytes)).not.toBe(sum)
    bytes[at] = (bytes[at] as number) ^ 1
  }
  expect(xxh64(bytes)).toBe(sum)
})
