import { describe, expect, test } from '@jest/globals'
import fc from 'fast-check'
import {
  chunkRoot,
  decodeLeafSums,
  encodeLeafSums,
  fileChecksum,
  LEAF_BYTES,
  leafCount,
  leafLength,
} from '../../../../common/checksum/tree.js'
import { checksumToHex, xxh64 } from '../../../../common/checksum/xxh64.js'

const sum = fc.bigInt(0n, 2n ** 64n - 1n)
/** The bytes of unsigned 64-bit numbers, little endian, by other means than the code's. */
const littleEndian = (...values: bigint[]): Uint8Array =>
  Uint8Array.from(values.flatMap((value) => Array.from({ length: 8 }, (_, index) => Number((value >> BigInt(8 * index)) & 255n))))

describe('leaves', () => {
  test.each([
    [1, 1],
    [LEAF_BYTES - 1, 1],
    [LEAF_BYTES, 1],
    [LEAF_BYTES + 1, 2],
    [64 * LEAF_BYTES, 64],
  ])('a chunk of %d bytes has %d', (lengthBytes, count) => {
    expect(leafCount(lengthBytes)).toBe(count)
  })

  test('property: they fill the chunk, all full but the last, which is not empty', () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 40 * LEAF_BYTES }), (lengthBytes) => {
        const lengths = Array.from({ length: leafCount(lengthBytes) }, (_, index) => leafLength(lengthBytes, index))
        expect(lengths.reduce((total, length) => total + length, 0)).toBe(lengthBytes)
        expect(lengths.slice(0, -1).every((length) => length === LEAF_BYTES)).toBe(true)
        expect(lengths.at(-1)).toBeGreaterThan(0)
      }),
    )
  })

  test('property: leaf sums are 8 bytes each, little endian, and come back from any place in memory', () => {
    fc.assert(
      fc.property(fc.array(sum, { maxLength: 20 }), fc.nat(7), (sums, shift) => {
        const bytes = encodeLeafSums(BigUint64Array.from(sums))
        expect(bytes).toEqual(littleEndian(...sums))
        const shifted = new Uint8Array(bytes.length + shift)
        shifted.set(bytes, shift)
        expect([...decodeLeafSums(shifted.subarray(shift))]).toEqual(sums)
      }),
    )
  })
})

describe('roots', () => {
  test('property: a chunk root is the XXH64 of the length and the leaf sums', () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 1, max: 8 * LEAF_BYTES }),
        fc.array(sum, { minLength: 8, maxLength: 8 }),
        (lengthBytes, all) => {
          const sums = all.slice(0, leafCount(lengthBytes))
          const expected = checksumToHex(xxh64(littleEndian(BigInt(lengthBytes), ...sums)))
          expect(chunkRoot(lengthBytes, BigUint64Array.from(sums))).toBe(expected)
        },
      ),
    )
  })

  test('a chunk whose leaf list has the wrong length is a bug, and said so', () => {
    expect(() => chunkRoot(LEAF_BYTES + 1, new BigUint64Array(1))).toThrow('leaf sums')
  })

  test('a root tells chunks apart that differ only in length', () => {
    expect(chunkRoot(10, BigUint64Array.of(5n))).not.toBe(chunkRoot(11, BigUint64Array.of(5n)))
  })

  test('property: a file checksum is the XXH64 of lengths and roots in order', () => {
    const chunk = fc.record({ lengthBytes: fc.integer({ min: 1, max: 2 ** 30 }), sum })
    fc.assert(
      fc.property(fc.array(chunk, { maxLength: 10 }), (chunks) => {
        const bytes = littleEndian(...chunks.flatMap((one) => [BigInt(one.lengthBytes), one.sum]))
        expect(fileChecksum(chunks.map((one) => ({ lengthBytes: one.lengthBytes, root: checksumToHex(one.sum) })))).toBe(
          `xxh64-tree:${checksumToHex(xxh64(bytes))}`,
        )
      }),
    )
  })

  test('an empty file has the XXH64 of nothing, and order matters', () => {
    expect(fileChecksum([])).toBe('xxh64-tree:ef46db3751d8e999')
    const one = { lengthBytes: 1, root: checksumToHex(1n) }
    const two = { lengthBytes: 1, root: checksumToHex(2n) }
    expect(fileChecksum([one, two])).not.toBe(fileChecksum([two, one]))
  })
})
