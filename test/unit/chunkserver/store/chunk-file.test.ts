import { describe, expect, test } from '@jest/globals'
import fc from 'fast-check'
import { storedChunkBytes } from '../../../../common/protocol/stored-size.js'
import {
  chunkFileBytes,
  decodeFooter,
  decodeTrailer,
  encodeFooter,
  footerBytes,
  footerStart,
  TRAILER_BYTES,
  type ChunkFooter,
} from '../../../../chunkserver/store/chunk-file.js'
import { CHUNK_BYTES_MAX, chunkRoot, LEAF_BYTES, leafCount } from '../../../../common/checksum/tree.js'
import { xxh64 } from '../../../../common/checksum/xxh64.js'
import { newId, type ChunkId, type UploadId } from '../../../../common/ids.js'
import { SeededRandom } from '../../../../common/random/seeded-random.js'
import { KiB } from '../../../../common/units.js'

const random = new SeededRandom(8)
/** Where the checksum over the footer ends: behind it is only padding, up to the trailer. */
const soundBytes = (lengthBytes: number): number => 88 + leafCount(lengthBytes) * 8 + 8

function footerOf(lengthBytes: number, changes: Partial<ChunkFooter> = {}): ChunkFooter {
  const leafSums = BigUint64Array.from({ length: leafCount(lengthBytes) }, () =>
    new DataView(random.bytes(8).slice().buffer).getBigUint64(0),
  )
  return {
    chunkId: newId<ChunkId>(random),
    uploadId: newId<UploadId>(random),
    chunkIndex: 3,
    metadataEpoch: 1,
    lengthBytes,
    root: chunkRoot(lengthBytes, leafSums),
    leafSums,
    ...changes,
  }
}

const encoded = (footer: ChunkFooter): Uint8Array => encodeFooter(footer, new Uint8Array(32 * KiB).fill(0xaa)).slice()
const decode = (bytes: Uint8Array, lengthBytes: number): ChunkFooter | undefined =>
  decodeFooter(bytes, chunkFileBytes(lengthBytes))

const lengths = fc.oneof(
  fc.integer({ min: 1, max: 3 * LEAF_BYTES }),
  fc.integer({ min: 1, max: CHUNK_BYTES_MAX }),
  fc.constantFrom(1, 4095, 4096, 4097, LEAF_BYTES, LEAF_BYTES + 1, 498 * LEAF_BYTES, 499 * LEAF_BYTES, CHUNK_BYTES_MAX),
)

describe('the footer of a chunk file', () => {
  test('property: comes back as it was written, at a place that only the length decides', () => {
    fc.assert(
      fc.property(lengths, fc.nat(2 ** 31), fc.nat(2 ** 31), (lengthBytes, chunkIndex, metadataEpoch) => {
        const footer = footerOf(lengthBytes, { chunkIndex, metadataEpoch })
        const bytes = encoded(footer)
        expect(bytes).toHaveLength(footerBytes(lengthBytes))
        expect(decode(bytes, lengthBytes)).toEqual(footer)
        const fileBytes = chunkFileBytes(lengthBytes)
        expect(fileBytes % 4096).toBe(0)
        expect(footerStart(lengthBytes)).toBeGreaterThanOrEqual(lengthBytes)
        expect(decodeTrailer(bytes, fileBytes)).toBe(footerStart(lengthBytes))
      }),
    )
  })

  test('every flipped bit of what it says is found', () => {
    for (const lengthBytes of [1, LEAF_BYTES + 5]) {
      const bytes = encoded(footerOf(lengthBytes))
      for (let bit = 0; bit < soundBytes(lengthBytes) * 8; bit += 1) {
        const at = bit >> 3
        bytes[at] = (bytes[at] ?? 0) ^ (1 << (bit & 7))
        expect(decode(bytes, lengthBytes)).toBeUndefined()
        bytes[at] = (bytes[at] ?? 0) ^ (1 << (bit & 7))
      }
      expect(decode(bytes, lengthBytes)).toBeDefined()
    }
  })

  test('every flipped bit of the trailer is found, or leads to a place where no footer starts', () => {
    const lengthBytes = 2 * LEAF_BYTES
    const bytes = encoded(footerOf(lengthBytes))
    const trailer = bytes.subarray(bytes.length - TRAILER_BYTES)
    for (let bit = 0; bit < TRAILER_BYTES * 8; bit += 1) {
      const wrong = trailer.slice()
      wrong[bit >> 3] = (wrong[bit >> 3] ?? 0) ^ (1 << (bit & 7))
      expect(decodeTrailer(wrong, chunkFileBytes(lengthBytes))).not.toBe(footerStart(lengthBytes))
    }
  })

  test('property: truncated anywhere, it is not taken for whole', () => {
    fc.assert(
      fc.property(fc.constantFrom(1, LEAF_BYTES + 5, 600 * LEAF_BYTES), fc.nat(8 * KiB), (lengthBytes, cut) => {
        const bytes = encoded(footerOf(lengthBytes))
        const kept = bytes.subarray(0, Math.min(cut, soundBytes(lengthBytes) - 1))
        expect(decode(kept, lengthBytes)).toBeUndefined()
        const short = bytes.subarray(0, Math.max(0, bytes.length - 1 - (cut % bytes.length)))
        expect(decodeTrailer(short, chunkFileBytes(lengthBytes))).toBeUndefined()
      }),
    )
  })

  test('a file that is longer or shorter than its footer says is refused', () => {
    const bytes = encoded(footerOf(LEAF_BYTES))
    const fileBytes = chunkFileBytes(LEAF_BYTES)
    for (const other of [fileBytes - 4096, fileBytes + 4096, 0]) expect(decodeFooter(bytes, other)).toBeUndefined()
  })

  test('a footer of another version or leaf size is refused, though its checksum is right', () => {
    for (const [at, value] of [
      [8, 2],
      [10, 16],
    ] as const) {
      const bytes = encoded(footerOf(1))
      const view = new DataView(bytes.buffer)
      view.setUint16(at, value, true)
      view.setBigUint64(96, xxh64(bytes.subarray(0, 96)), true)
      expect(decode(bytes, 1)).toBeUndefined()
    }
  })

  test('a root that is not that of the leaf sums is refused, though the checksum is right', () => {
    const footer = footerOf(LEAF_BYTES)
    expect(decode(encoded({ ...footer, root: footerOf(LEAF_BYTES).root }), LEAF_BYTES)).toBeUndefined()
  })

  test('property: no bytes make the decoder fail instead of refusing', () => {
    const magic = new TextEncoder().encode('CAIRNCHK\x01\0\x14\0')
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 300 }), fc.boolean(), fc.nat(1e9), (tail, begun, fileBytes) => {
        const bytes = begun ? Uint8Array.from([...magic, ...tail]) : tail
        expect(decodeFooter(bytes, fileBytes)).toBeUndefined()
        expect(decodeTrailer(bytes, fileBytes)).toBeUndefined()
      }),
    )
  })
})

test('masters count a chunk with what its file weighs', () => {
  for (const lengthBytes of [1, 4096, 4097, LEAF_BYTES, LEAF_BYTES + 1, 64 * LEAF_BYTES, 498 * LEAF_BYTES, 1024 * LEAF_BYTES])
    expect(storedChunkBytes(lengthBytes)).toBe(chunkFileBytes(lengthBytes))
})
