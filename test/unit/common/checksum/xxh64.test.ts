/** XXH64 against published values, and against the algorithm written down plainly (xxHash's doc/xxhash_spec.md). */
import { describe, expect, test } from '@jest/globals'
import fc from 'fast-check'
import { checksumFromHex, checksumToHex, isChecksum64, xxh64 } from '../../../../common/checksum/xxh64.js'

describe('XXH64', () => {
  test.each([
    ['', 'ef46db3751d8e999'],
    ['a', 'd24ec4f1a98c6e5b'],
    ['as', '1c330fb2d66be179'],
    ['asd', '631c37ce72a97393'],
    ['asdf', '415872f599cea71e'],
    ['abc', '44bc2cf5ad770999'],
    ['Call me Ishmael. Some years ago--never mind how long precisely-', '02a2e85470d6fd96'],
    ['Nobody inspects the spammish repetition', 'fbcea83c8a378bf1'],
  ])('of %j is %s', (text, hex) => {
    expect(checksumToHex(xxh64(new TextEncoder().encode(text)))).toBe(hex)
  })

  test('property: equals the plain algorithm for every length and every alignment', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 200 }), fc.nat(7), (bytes, shift) => {
        const shifted = new Uint8Array(bytes.length + shift)
        shifted.set(bytes, shift)
        expect(xxh64(shifted.subarray(shift))).toBe(plainXxh64(bytes))
      }),
    )
  })

  test('the hasher keeps nothing between calls, also after a large one', () => {
    const large = new Uint8Array(3 * 1024 * 1024).fill(7)
    const first = xxh64(large)
    expect(checksumToHex(xxh64(new Uint8Array(0)))).toBe('ef46db3751d8e999')
    expect(xxh64(large)).toBe(first)
  })
})

test('property: a checksum is 16 hex digits, leading zeros kept, and comes back', () => {
  fc.assert(
    fc.property(fc.bigInt(0n, 2n ** 64n - 1n), (value) => {
      const hex = checksumToHex(value)
      expect(isChecksum64(hex)).toBe(true)
      expect(checksumFromHex(hex)).toBe(value)
    }),
  )
  for (const other of ['', 'ABCDEF0123456789', '0123', '0123456789abcdef0', 12, null]) expect(isChecksum64(other)).toBe(false)
})

const MASK = 2n ** 64n - 1n
const P1 = 0x9e3779b185ebca87n
const P2 = 0xc2b2ae3d27d4eb4fn
const P3 = 0x165667b19e3779f9n
const P4 = 0x85ebca77c2b2ae63n
const P5 = 0x27d4eb2f165667c5n
const rotate = (value: bigint, by: bigint): bigint => ((value << by) | (value >> (64n - by))) & MASK
const round = (accumulator: bigint, lane: bigint): bigint => (rotate((accumulator + lane * P2) & MASK, 31n) * P1) & MASK

function plainXxh64(bytes: Uint8Array): bigint {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  let at = 0
  let hash = P5
  if (bytes.length >= 32) {
    const lanes = [(P1 + P2) & MASK, P2, 0n, (0n - P1) & MASK]
    for (; at + 32 <= bytes.length; at += 32)
      lanes.forEach((lane, index) => (lanes[index] = round(lane, view.getBigUint64(at + index * 8, true))))
    const [one = 0n, two = 0n, three = 0n, four = 0n] = lanes
    hash = (rotate(one, 1n) + rotate(two, 7n) + rotate(three, 12n) + rotate(four, 18n)) & MASK
    for (const lane of lanes) hash = ((hash ^ round(0n, lane)) * P1 + P4) & MASK
  }
  hash = (hash + BigInt(bytes.length)) & MASK
  for (; at + 8 <= bytes.length; at += 8) hash = (rotate(hash ^ round(0n, view.getBigUint64(at, true)), 27n) * P1 + P4) & MASK
  if (at + 4 <= bytes.length) {
    hash = (rotate(hash ^ ((BigInt(view.getUint32(at, true)) * P1) & MASK), 23n) * P2 + P3) & MASK
    at += 4
  }
  for (; at < bytes.length; at += 1) hash = (rotate(hash ^ ((BigInt(bytes[at] ?? 0) * P5) & MASK), 11n) * P1) & MASK
  hash = ((hash ^ (hash >> 33n)) * P2) & MASK
  hash = ((hash ^ (hash >> 29n)) * P3) & MASK
  return hash ^ (hash >> 32n)
}
