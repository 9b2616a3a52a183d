/**
 * The checksum tree over a file: leaves of 1 MiB, a root per chunk, one checksum per file. Byte by byte in
 * docs/formats/checksums.md. It names content and finds rot; it is no defence against someone who forges data.
 */
import { assert } from '../assert.js'
import { KiB, MiB } from '../units.js'
import { checksumFromHex, checksumToHex, xxh64, type Checksum64 } from './xxh64.js'

/** A leaf is the unit of verification: whole leaves travel and are checked. The last one of a chunk may be shorter. */
export const LEAF_BYTES = MiB
/** Below this a chunk would cost more in metadata than in data. A file's last chunk may be shorter. */
export const CHUNK_BYTES_MIN = 64 * KiB
/** Bounds the leaf list (8 KiB at this size) and what one failed transfer repeats. */
export const CHUNK_BYTES_MAX = 1024 * MiB
export const LEAF_SUM_BYTES = 8

export const FILE_CHECKSUM_PREFIX = 'xxh64-tree:'

/** Number of leaves of a chunk of `lengthBytes` (at least 1). */
export const leafCount = (lengthBytes: number): number => Math.ceil(lengthBytes / LEAF_BYTES)

/** Length in bytes of leaf `index` of a chunk of `lengthBytes`. */
export const leafLength = (lengthBytes: number, index: number): number => Math.min(LEAF_BYTES, lengthBytes - index * LEAF_BYTES)

/** The chunk root: XXH64 over the length and the leaf sums, each as unsigned 64-bit little endian. */
export function chunkRoot(lengthBytes: number, leafSums: BigUint64Array): Checksum64 {
  assert(leafSums.length === leafCount(lengthBytes), `a chunk of ${lengthBytes} bytes has ${leafSums.length} leaf sums`)
  const bytes = new Uint8Array((1 + leafSums.length) * 8)
  const view = new DataView(bytes.buffer)
  view.setBigUint64(0, BigInt(lengthBytes), true)
  leafSums.forEach((sum, index) => view.setBigUint64((index + 1) * 8, sum, true))
  return checksumToHex(xxh64(bytes))
}

export interface ChunkSummary {
  readonly lengthBytes: number
  readonly root: Checksum64
}

/** The file checksum: XXH64 over (length, root) of each chunk in order; of an empty file, the XXH64 of nothing. */
export function fileChecksum(chunks: readonly ChunkSummary[]): string {
  const bytes = new Uint8Array(chunks.length * 16)
  const view = new DataView(bytes.buffer)
  chunks.forEach((chunk, index) => {
    view.setBigUint64(index * 16, BigInt(chunk.lengthBytes), true)
    view.setBigUint64(index * 16 + 8, checksumFromHex(chunk.root), true)
  })
  return FILE_CHECKSUM_PREFIX + checksumToHex(xxh64(bytes))
}

/** Leaf sums as they travel and lie on disk: 8 bytes each, little endian. */
export function encodeLeafSums(sums: BigUint64Array): Uint8Array {
  const bytes = new Uint8Array(sums.length * LEAF_SUM_BYTES)
  const view = new DataView(bytes.buffer)
  sums.forEach((sum, index) => view.setBigUint64(index * LEAF_SUM_BYTES, sum, true))
  return bytes
}

export function decodeLeafSums(bytes: Uint8Array): BigUint64Array {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  const sums = new BigUint64Array(Math.floor(bytes.length / LEAF_SUM_BYTES))
  for (let index = 0; index < sums.length; index += 1) sums[index] = view.getBigUint64(index * LEAF_SUM_BYTES, true)
  return sums
}
