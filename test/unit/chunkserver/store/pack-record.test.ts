import { describe, expect, test } from '@jest/globals'
import { chunkRoot } from '../../../../common/checksum/tree.js'
import { xxh64 } from '../../../../common/checksum/xxh64.js'
import { bytesToHex, type ChunkId, type UploadId } from '../../../../common/ids.js'
import {
  decodeGone,
  decodePackHeader,
  encodeChunkRecord,
  encodeGoneRecord,
  GONE_ENTRIES_MAX,
  isPayloadSound,
  PACK_RECORD_BYTES_MAX,
  PACKED_CHUNK_BYTES_MAX,
  payloadOf,
} from '../../../../chunkserver/store/pack-record.js'

const counting = (from: number): string => bytesToHex(Uint8Array.from({ length: 16 }, (_, index) => from + index))
const STAMP = { pack: 1, group: 1, writtenMs: 1_700_000_000_000 }
const chunkOf = (data: Uint8Array) => {
  const leafSums = new BigUint64Array([xxh64(data)])
  return {
    chunkId: counting(0) as ChunkId,
    uploadId: counting(16) as UploadId,
    chunkIndex: 2,
    metadataEpoch: 1,
    lengthBytes: data.length,
    root: chunkRoot(data.length, leafSums),
    leafSums,
  }
}

describe('records of packs', () => {
  test('the example of docs/formats/pack-file.md, byte by byte', () => {
    const data = new TextEncoder().encode('hello, cairn\n')
    const target = new Uint8Array(8192).fill(0xee)
    expect(encodeChunkRecord(target, chunkOf(data), data, STAMP)).toBe(4096)
    expect(bytesToHex(target.subarray(0, 144))).toBe(
      [
        '434149524e50434b010001000d000000',
        '000102030405060708090a0b0c0d0e0f',
        '101112131415161718191a1b1c1d1e1f',
        '02000000000000000100000000000000',
        '0100000001000000ae6afc8ade3fcf70',
        '607c90b6d04726220068e5cf8b010000',
        '00000000000000000000000000000000',
        '000000000000000055d57fcab8a231cd',
        '68656c6c6f2c20636169726e0a000000',
      ].join(''),
    )
    expect(target.subarray(144, 4096).every((byte) => byte === 0)).toBe(true)
    expect(target.subarray(4096).every((byte) => byte === 0xee)).toBe(true)
  })

  test.each([1, 3968, 3969, PACKED_CHUNK_BYTES_MAX])('a chunk of %i bytes comes back', (lengthBytes) => {
    const data = new Uint8Array(lengthBytes).map((_, index) => index)
    const target = new Uint8Array(PACK_RECORD_BYTES_MAX)
    encodeChunkRecord(target, chunkOf(data), data, STAMP)
    const record = decodePackHeader(target)
    expect(record).toEqual({ kind: 'chunk', stamp: STAMP, chunk: chunkOf(data), payloadBytes: lengthBytes })
    expect(record && isPayloadSound(record, payloadOf(record, target))).toBe(true)
  })

  test('a changed bit of the header or the data is noticed, whichever it is', () => {
    const data = new Uint8Array(20).fill(3)
    const sound = new Uint8Array(4096)
    encodeChunkRecord(sound, chunkOf(data), data, STAMP)
    for (let bit = 0; bit < (128 + data.length) * 8; bit += 1) {
      const bytes = sound.slice()
      bytes[bit >> 3] = (bytes[bit >> 3] ?? 0) ^ (1 << (bit & 7))
      const record = decodePackHeader(bytes)
      expect({ bit, sound: record !== undefined && isPayloadSound(record, payloadOf(record, bytes)) }).toEqual({
        bit,
        sound: false,
      })
    }
  })

  test('the longest list of what is gone comes back', () => {
    const entries = Array.from({ length: GONE_ENTRIES_MAX }, (_, index) => ({
      chunkId: counting(index % 200) as ChunkId,
      pack: index + 1,
      offset: index * 4096,
    }))
    const target = new Uint8Array(PACK_RECORD_BYTES_MAX)
    expect(encodeGoneRecord(target, entries, STAMP)).toBeLessThanOrEqual(PACK_RECORD_BYTES_MAX)
    const record = decodePackHeader(target)
    expect(record?.kind).toBe('gone')
    expect(record && isPayloadSound(record, payloadOf(record, target))).toBe(true)
    expect(record && decodeGone(payloadOf(record, target))).toEqual(entries)
  })
})
