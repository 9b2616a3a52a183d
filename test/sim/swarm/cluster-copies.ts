/** What lies on the disks of a simulated cluster, seen from outside: which copies of a chunk there are, and which are good. */
import { leafLength, LEAF_BYTES } from '../../../common/checksum/tree.js'
import { xxh64 } from '../../../common/checksum/xxh64.js'
import type { MemoryDisk } from '../../../common/disk/memory-disk.js'
import { decodeFooter, decodeTrailer, TRAILER_BYTES } from '../../../chunkserver/store/chunk-file.js'
import { packNumber } from '../../../chunkserver/store/pack-log.js'
import {
  decodeGone,
  decodePackHeader,
  isPayloadSound,
  PACK_HEADER_BYTES,
  packRecordBytes,
  payloadOf,
} from '../../../chunkserver/store/pack-record.js'
import { DISK_ALIGNMENT_BYTES } from '../../../common/disk/disk.js'
import type { SimServer } from '../../support/sim-cluster.js'

export interface Copy {
  readonly chunkId: string
  readonly server: SimServer
  readonly directory: string
  readonly disk: MemoryDisk
  readonly file: string
  /** Of a copy in a pack: its record there. */
  readonly record?: PackedRecord
}

export interface PackedRecord {
  readonly file: string
  readonly offset: number
  /** Header and data. */
  readonly usedBytes: number
  /** With the padding. */
  readonly totalBytes: number
  readonly isSound: boolean
}

const CHUNK = /\/([0-9a-f]{32})\.chunk$/

export const chunkFile = (directory: string, chunkId: string): string =>
  `${directory}/chunks/${chunkId.slice(0, 2)}/${chunkId}.chunk`

/** Where each copy lies that a start of its server would find: by directory, then by name. */
export function* copiesOn(server: SimServer): Generator<Copy> {
  for (const [directory, disk] of server.disks) {
    for (const file of disk.peekFiles(`${directory}/chunks`)) {
      const chunkId = CHUNK.exec(file)?.[1]
      if (chunkId) yield { chunkId, server, directory, disk, file }
    }
    for (const [chunkId, record] of recordsOn(disk, directory, (file) => disk.peek(file)))
      yield { chunkId, server, directory, disk, file: record.file, record }
  }
}

/** The chunk that a file's bytes are, all checksums right; undefined when they are none. */
export function chunkIn(bytes: Uint8Array): { readonly chunkId: string; readonly lengthBytes: number } | undefined {
  if (bytes.length < TRAILER_BYTES) return undefined
  const start = decodeTrailer(bytes, bytes.length)
  const footer = start === undefined ? undefined : decodeFooter(bytes.subarray(start), bytes.length)
  if (!footer) return undefined
  for (let leaf = 0; leaf < footer.leafSums.length; leaf += 1) {
    const at = leaf * LEAF_BYTES
    if (xxh64(bytes.subarray(at, at + leafLength(footer.lengthBytes, leaf))) !== footer.leafSums[leaf]) return undefined
  }
  return footer
}

/** The records of chunks that count in the packs of a disk, as a start would find them. @param read what a file holds */
export function recordsOn(
  disk: MemoryDisk,
  directory: string,
  read: (file: string) => Uint8Array | undefined,
): Map<string, PackedRecord> {
  const byPlace = new Map<string, PackedRecord & { readonly chunkId: string }>()
  for (const name of disk.peekNames(`${directory}/packs`)) {
    const pack = packNumber(name)
    const file = `${directory}/packs/${name}`
    const bytes = read(file)
    if (pack === undefined || !bytes) continue
    for (let offset = 0; offset < bytes.length;) {
      const record = decodePackHeader(bytes.subarray(offset))
      const totalBytes = record ? packRecordBytes(record.payloadBytes) : DISK_ALIGNMENT_BYTES
      if (record?.stamp.pack === pack && offset + totalBytes <= bytes.length) {
        const payload = payloadOf(record, bytes.subarray(offset))
        const isSound = isPayloadSound(record, payload)
        const usedBytes = PACK_HEADER_BYTES + record.payloadBytes
        if (record.kind === 'chunk')
          byPlace.set(`${pack} ${offset}`, { chunkId: record.chunk.chunkId, file, offset, usedBytes, totalBytes, isSound })
        else if (isSound) for (const gone of decodeGone(payload)) byPlace.delete(`${gone.pack} ${gone.offset}`)
      }
      offset += totalBytes
    }
  }
  const out = new Map<string, PackedRecord>()
  for (const { chunkId, ...record } of byPlace.values()) if (record.isSound || !out.has(chunkId)) out.set(chunkId, record)
  return out
}

/** Files that cannot be read at some place, however often it is tried. */
export type Unreadable = ReadonlyMap<MemoryDisk, ReadonlySet<string>>

/** Whether a good copy lies at this place that would survive a power cut, and that its server does not hold to be bad. */
export function isGood(disk: MemoryDisk, directory: string, chunkId: string, unreadable: Unreadable): boolean {
  return isGoodFile(disk, directory, chunkId, unreadable) || isGoodRecord(disk, directory, chunkId)
}

function isGoodRecord(disk: MemoryDisk, directory: string, chunkId: string): boolean {
  const now = recordsOn(disk, directory, (file) => disk.peek(file)).get(chunkId)
  return now?.isSound === true && recordsOn(disk, directory, (file) => disk.durable(file)).get(chunkId)?.isSound === true
}

function isGoodFile(disk: MemoryDisk, directory: string, chunkId: string, unreadable: Unreadable): boolean {
  const file = chunkFile(directory, chunkId)
  if (unreadable.get(disk)?.has(file) || disk.peek(file.replace(/\.chunk$/, '.bad'))) return false
  const durable = disk.durable(file)
  if (!durable || !disk.peek(file)) return false
  return chunkIn(durable)?.chunkId === chunkId
}

/** The servers with a good, durable copy of a chunk. */
export function goodHolders(servers: readonly SimServer[], chunkId: string, unreadable: Unreadable): SimServer[] {
  return servers.filter((server) => [...server.disks].some(([directory, disk]) => isGood(disk, directory, chunkId, unreadable)))
}

/** How many of its disks a server uses: not those that have failed or that its start left out. */
export const usableDisks = (server: SimServer): number =>
  server.running?.store.disks().filter((disk) => disk.state !== 'failed').length ?? Infinity
