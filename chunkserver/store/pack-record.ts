/**
 * The format of a pack file: records of small chunks one behind the other, each padded to 4 KiB and saying itself what it
 * is, and lists of records that count no more. Byte by byte in docs/formats/pack-file.md; a change of one changes both.
 */
import { chunkRoot } from '../../common/checksum/tree.js'
import { checksumFromHex, checksumToHex, xxh64 } from '../../common/checksum/xxh64.js'
import { alignUp, DISK_ALIGNMENT_BYTES } from '../../common/disk/disk.js'
import { bytesToHex, hexToBytes, type ChunkId, type UploadId } from '../../common/ids.js'
import { KiB } from '../../common/units.js'
import type { ChunkFooter } from './chunk-file.js'

export const PACK_FILE_VERSION = 1
export const PACK_HEADER_BYTES = 128
/** No record is longer, header and padding included. */
export const PACK_RECORD_BYTES_MAX = 32 * KiB
/** The longest chunk that a record can hold. */
export const PACKED_CHUNK_BYTES_MAX = PACK_RECORD_BYTES_MAX - PACK_HEADER_BYTES

const MAGIC = new TextEncoder().encode('CAIRNPCK')
const CHECKSUM_AT = PACK_HEADER_BYTES - 8
const KIND_CHUNK = 1
const KIND_GONE = 2
const GONE_ENTRY_BYTES = 24
export const GONE_ENTRIES_MAX = Math.floor(PACKED_CHUNK_BYTES_MAX / GONE_ENTRY_BYTES)

/** Where a record lies. */
export interface PackPlace {
  readonly pack: number
  readonly offset: number
}

/** A record that counts no more. */
export interface GoneRecord extends PackPlace {
  readonly chunkId: ChunkId
}

/** Where and when a record is written. */
export interface RecordStamp {
  readonly pack: number
  /** Records of one group were written by one write; the group before it was synced by then. */
  readonly group: number
  readonly writtenMs: number
}

export type PackRecord =
  | { readonly kind: 'chunk'; readonly stamp: RecordStamp; readonly chunk: ChunkFooter; readonly payloadBytes: number }
  | { readonly kind: 'gone'; readonly stamp: RecordStamp; readonly sum: bigint; readonly payloadBytes: number }

/** Of the whole record. */
export const packRecordBytes = (payloadBytes: number): number => alignUp(PACK_HEADER_BYTES + payloadBytes)

/** What a list of records that are gone takes. */
export const goneRecordBytes = (entries: number): number => packRecordBytes(entries * GONE_ENTRY_BYTES)

/** Writes the record of a chunk into `target`. @returns its length */
export function encodeChunkRecord(target: Uint8Array, chunk: ChunkFooter, data: Uint8Array, stamp: RecordStamp): number {
  const [sum] = chunk.leafSums
  return encode(target, stamp, KIND_CHUNK, data, sum ?? 0n, (bytes, view) => {
    bytes.set(hexToBytes(chunk.chunkId), 16)
    bytes.set(hexToBytes(chunk.uploadId), 32)
    view.setBigUint64(48, BigInt(chunk.chunkIndex), true)
    view.setBigUint64(56, BigInt(chunk.metadataEpoch), true)
    view.setBigUint64(72, checksumFromHex(chunk.root), true)
  })
}

/** Writes a list of records that count no more into `target`. @returns its length */
export function encodeGoneRecord(target: Uint8Array, entries: readonly GoneRecord[], stamp: RecordStamp): number {
  const payload = new Uint8Array(entries.length * GONE_ENTRY_BYTES)
  const view = new DataView(payload.buffer)
  for (const [index, { chunkId, pack, offset }] of entries.entries()) {
    const at = index * GONE_ENTRY_BYTES
    payload.set(hexToBytes(chunkId), at)
    view.setUint32(at + 16, pack, true)
    view.setUint32(at + 20, offset / DISK_ALIGNMENT_BYTES, true)
  }
  return encode(target, stamp, KIND_GONE, payload, xxh64(payload), () => undefined)
}

function encode(
  target: Uint8Array,
  stamp: RecordStamp,
  kind: number,
  payload: Uint8Array,
  sum: bigint,
  fill: (bytes: Uint8Array, view: DataView) => void,
): number {
  const total = packRecordBytes(payload.length)
  const bytes = target.subarray(0, total)
  bytes.fill(0, 0, PACK_HEADER_BYTES)
  const view = new DataView(bytes.buffer, bytes.byteOffset, total)
  bytes.set(MAGIC, 0)
  view.setUint16(8, PACK_FILE_VERSION, true)
  view.setUint16(10, kind, true)
  view.setUint32(12, payload.length, true)
  view.setUint32(64, stamp.pack, true)
  view.setUint32(68, stamp.group, true)
  view.setBigUint64(80, sum, true)
  view.setBigUint64(88, BigInt(Math.trunc(stamp.writtenMs)), true)
  fill(bytes, view)
  view.setBigUint64(CHECKSUM_AT, xxh64(bytes.subarray(0, CHECKSUM_AT)), true)
  bytes.set(payload, PACK_HEADER_BYTES)
  bytes.fill(0, PACK_HEADER_BYTES + payload.length, total)
  return total
}

/** What a record says that begins with these bytes; undefined when none does. The payload is not looked at. */
export function decodePackHeader(bytes: Uint8Array): PackRecord | undefined {
  if (bytes.length < PACK_HEADER_BYTES || !MAGIC.every((byte, index) => bytes[index] === byte)) return undefined
  const view = new DataView(bytes.buffer, bytes.byteOffset, PACK_HEADER_BYTES)
  if (view.getUint16(8, true) !== PACK_FILE_VERSION) return undefined
  if (view.getBigUint64(CHECKSUM_AT, true) !== xxh64(bytes.subarray(0, CHECKSUM_AT))) return undefined
  const payloadBytes = view.getUint32(12, true)
  if (payloadBytes < 1 || payloadBytes > PACKED_CHUNK_BYTES_MAX) return undefined
  const stamp: RecordStamp = {
    pack: view.getUint32(64, true),
    group: view.getUint32(68, true),
    writtenMs: Number(view.getBigUint64(88, true)),
  }
  const sum = view.getBigUint64(80, true)
  const kind = view.getUint16(10, true)
  if (kind === KIND_GONE) return { kind: 'gone', stamp, sum, payloadBytes }
  if (kind !== KIND_CHUNK) return undefined
  const leafSums = new BigUint64Array([sum])
  const root = checksumToHex(view.getBigUint64(72, true))
  if (chunkRoot(payloadBytes, leafSums) !== root) return undefined
  const chunk: ChunkFooter = {
    chunkId: bytesToHex(bytes.subarray(16, 32)) as ChunkId,
    uploadId: bytesToHex(bytes.subarray(32, 48)) as UploadId,
    chunkIndex: Number(view.getBigUint64(48, true)),
    metadataEpoch: Number(view.getBigUint64(56, true)),
    lengthBytes: payloadBytes,
    root,
    leafSums,
  }
  return { kind: 'chunk', stamp, chunk, payloadBytes }
}

/** The payload of a record whose header has been read. @param bytes the record */
export const payloadOf = (record: PackRecord, bytes: Uint8Array): Uint8Array =>
  bytes.subarray(PACK_HEADER_BYTES, PACK_HEADER_BYTES + record.payloadBytes)

/** Whether the payload is what the header says. */
export const isPayloadSound = (record: PackRecord, payload: Uint8Array): boolean =>
  xxh64(payload) === (record.kind === 'chunk' ? record.chunk.leafSums[0] : record.sum)

export function decodeGone(payload: Uint8Array): GoneRecord[] {
  const view = new DataView(payload.buffer, payload.byteOffset, payload.byteLength)
  const out: GoneRecord[] = []
  for (let at = 0; at + GONE_ENTRY_BYTES <= payload.length; at += GONE_ENTRY_BYTES) {
    const chunkId = bytesToHex(payload.subarray(at, at + 16)) as ChunkId
    const offset = view.getUint32(at + 20, true) * DISK_ALIGNMENT_BYTES
    out.push({ chunkId, pack: view.getUint32(at + 16, true), offset })
  }
  return out
}
