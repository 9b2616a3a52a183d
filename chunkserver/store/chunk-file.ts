/**
 * The format of a chunk file: data, padded to 4 KiB, then a footer that says what the data is. Byte by byte in
 * docs/formats/chunk-file.md; a change of one changes both, and the version.
 */
import { decodeLeafSums, encodeLeafSums, chunkRoot, LEAF_BYTES, leafCount } from '../../common/checksum/tree.js'
import { checksumFromHex, checksumToHex, xxh64, type Checksum64 } from '../../common/checksum/xxh64.js'
import { alignUp, DISK_ALIGNMENT_BYTES } from '../../common/disk/disk.js'
import { bytesToHex, hexToBytes, type ChunkId, type UploadId } from '../../common/ids.js'

export const CHUNK_FILE_VERSION = 1

const MAGIC = new TextEncoder().encode('CAIRNCHK')
const END_MAGIC = new TextEncoder().encode('CAIRNEND')
const FIXED_BYTES = 88
const CHECKSUM_BYTES = 8
/** At the very end of the file: where the footer starts, and a magic. */
export const TRAILER_BYTES = 16

export interface ChunkFooter {
  readonly chunkId: ChunkId
  readonly uploadId: UploadId
  readonly chunkIndex: number
  readonly metadataEpoch: number
  readonly lengthBytes: number
  readonly root: Checksum64
  readonly leafSums: BigUint64Array
}

/** Where the footer starts: after the data and its padding. */
export const footerStart = (lengthBytes: number): number => alignUp(lengthBytes)

export const footerBytes = (lengthBytes: number): number =>
  alignUp(FIXED_BYTES + leafCount(lengthBytes) * 8 + CHECKSUM_BYTES + TRAILER_BYTES)

/** Size of the whole file of a chunk of this length. */
export const chunkFileBytes = (lengthBytes: number): number => footerStart(lengthBytes) + footerBytes(lengthBytes)

/** Writes the footer, padding and trailer into `target` and returns the part of it that they fill. */
export function encodeFooter(footer: ChunkFooter, target: Uint8Array): Uint8Array {
  const total = footerBytes(footer.lengthBytes)
  const bytes = target.subarray(0, total).fill(0)
  const view = new DataView(bytes.buffer, bytes.byteOffset, total)
  const sums = encodeLeafSums(footer.leafSums)
  const checksumAt = FIXED_BYTES + sums.length
  bytes.set(MAGIC, 0)
  view.setUint16(8, CHUNK_FILE_VERSION, true)
  view.setUint16(10, Math.log2(LEAF_BYTES), true)
  view.setUint32(12, checksumAt + CHECKSUM_BYTES, true)
  bytes.set(hexToBytes(footer.chunkId), 16)
  bytes.set(hexToBytes(footer.uploadId), 32)
  view.setBigUint64(48, BigInt(footer.chunkIndex), true)
  view.setBigUint64(56, BigInt(footer.metadataEpoch), true)
  view.setBigUint64(64, BigInt(footer.lengthBytes), true)
  view.setBigUint64(72, checksumFromHex(footer.root), true)
  view.setUint32(80, footer.leafSums.length, true)
  bytes.set(sums, FIXED_BYTES)
  view.setBigUint64(checksumAt, xxh64(bytes.subarray(0, checksumAt)), true)
  view.setBigUint64(total - TRAILER_BYTES, BigInt(footerStart(footer.lengthBytes)), true)
  bytes.set(END_MAGIC, total - 8)
  return bytes
}

/** Where the footer starts, read from the last bytes of the file; undefined when they are no trailer. */
export function decodeTrailer(lastBytes: Uint8Array, fileSizeBytes: number): number | undefined {
  const trailer = lastBytes.subarray(lastBytes.length - TRAILER_BYTES)
  if (!equal(trailer.subarray(8), END_MAGIC)) return undefined
  const start = Number(new DataView(trailer.buffer, trailer.byteOffset, 8).getBigUint64(0, true))
  const plausible = start % DISK_ALIGNMENT_BYTES === 0 && start < fileSizeBytes
  return plausible ? start : undefined
}

/** The footer, checked in every way that needs no data; undefined when it is not whole and sound. */
export function decodeFooter(bytes: Uint8Array, fileSizeBytes: number): ChunkFooter | undefined {
  if (bytes.length < FIXED_BYTES || !equal(bytes.subarray(0, 8), MAGIC)) return undefined
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  if (view.getUint16(8, true) !== CHUNK_FILE_VERSION || view.getUint16(10, true) !== Math.log2(LEAF_BYTES)) return undefined
  const footerLength = view.getUint32(12, true)
  const count = view.getUint32(80, true)
  const checksumAt = FIXED_BYTES + count * 8
  if (footerLength !== checksumAt + CHECKSUM_BYTES || footerLength > bytes.length) return undefined
  if (view.getBigUint64(checksumAt, true) !== xxh64(bytes.subarray(0, checksumAt))) return undefined
  const lengthBytes = Number(view.getBigUint64(64, true))
  const root = checksumToHex(view.getBigUint64(72, true))
  const leafSums = decodeLeafSums(bytes.subarray(FIXED_BYTES, checksumAt))
  if (count !== leafCount(lengthBytes) || chunkFileBytes(lengthBytes) !== fileSizeBytes) return undefined
  if (chunkRoot(lengthBytes, leafSums) !== root) return undefined
  return {
    chunkId: bytesToHex(bytes.subarray(16, 32)) as ChunkId,
    uploadId: bytesToHex(bytes.subarray(32, 48)) as UploadId,
    chunkIndex: Number(view.getBigUint64(48, true)),
    metadataEpoch: Number(view.getBigUint64(56, true)),
    lengthBytes,
    root,
    leafSums,
  }
}

const equal = (one: Uint8Array, other: Uint8Array): boolean =>
  one.length === other.length && one.every((byte, index) => byte === other[index])
