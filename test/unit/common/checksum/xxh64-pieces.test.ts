/** Long inputs are hashed piece by piece: the sum must be that of the whole. */
import { describe, expect, test } from '@jest/globals'
import xxhash from 'xxhash-wasm'
import { hashableMemory, RunningXxh64, xxh64 } from '../../../../common/checksum/xxh64.js'
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

describe.each([
  ['memory of a hasher', (lengthBytes: number) => hashableMemory(lengthBytes)],
  ['any other memory', (lengthBytes: number) => new Uint8Array(lengthBytes)],
])('in %s', (_name, make) => {
  test('places in it are hashed as anywhere else', () => {
    const memory = make(2 * MiB)
    memory.set(new SeededRandom(2).bytes(2 * MiB))
    for (const [from, to] of [
      [0, 0],
      [0, 5],
      [7, 4096],
      [MiB - 3, 2 * MiB],
      [0, 2 * MiB],
    ] as const)
      expect(xxh64(memory.subarray(from, to))).toBe(hasher.h64Raw(memory.slice(from, to)))
  })

  test('what arrives piece by piece in several places at once has the sum of the whole', () => {
    const random = new SeededRandom(3)
    const content = random.bytes(4 * MiB)
    const memory = make(4 * MiB)
    const places = [0, MiB, 2 * MiB, 3 * MiB].map((at) => {
      const target = memory.subarray(at, at + MiB)
      return { at, target, sum: new RunningXxh64(target), filled: 0 }
    })
    while (places.some(({ filled }) => filled < MiB)) {
      for (const place of places) {
        const count = Math.min(MiB - place.filled, 1 + random.integer(200_000))
        place.target.set(content.subarray(place.at + place.filled, place.at + place.filled + count), place.filled)
        place.filled += count
        place.sum.advance(place.filled)
      }
    }
    for (const { at, sum } of places) expect(sum.digest()).toBe(hasher.h64Raw(content.slice(at, at + MiB)))
  })

  test('a place is used again and again, for shorter and for longer', () => {
    const memory = make(MiB)
    for (const length of [MiB, 1, 0, 100_000, MiB]) {
      const bytes = new SeededRandom(length).bytes(length)
      const sum = new RunningXxh64(memory)
      memory.set(bytes)
      sum.advance(length)
      expect(sum.digest()).toBe(hasher.h64Raw(bytes))
    }
  })
})
