/**
 * Finds the small chunks of a disk at its start: every pack is read and checked to its last byte, since a list of what is in
 * it could be lost or wrong. A record counts unless a later one says that it is gone. Behind the last group that was synced
 * anything may lie: what is not sound there was never acknowledged, and is not spoken of.
 */
import path from 'node:path'
import type { BlockPool } from '../../common/bytes/block-pool.js'
import { DISK_ALIGNMENT_BYTES, type DiskFile } from '../../common/disk/disk.js'
import { isCairnError, systemCode } from '../../common/errors/cairn-error.js'
import type { Logger } from '../../common/observe/logger.js'
import type { ChunkDisk } from './chunk-disk.js'
import type { ChunkFooter } from './chunk-file.js'
import { withBlock } from './disk-io.js'
import { packName, packNumber } from './pack-log.js'
import {
  decodeGone,
  decodePackHeader,
  isPayloadSound,
  PACK_HEADER_BYTES,
  PACK_RECORD_BYTES_MAX,
  packRecordBytes,
  payloadOf,
  type GoneRecord,
  type PackPlace,
} from './pack-record.js'

/** What any disk writes whole or not at all. */
const SECTOR_BYTES = 512

/** Codes that say something about this process, not about the file. */
const OWN_TROUBLE: ReadonlySet<string> = new Set(['EMFILE', 'ENFILE', 'ENOMEM'])
export const isOwnTrouble = (error: unknown): boolean => OWN_TROUBLE.has(systemCode(error) ?? '')

export interface PackedFind {
  readonly chunk: ChunkFooter
  readonly place: PackPlace
  readonly good: boolean
  readonly writtenMs: number
  readonly group: number
}

interface ScannedPack {
  readonly number: number
  readonly sizeBytes: number
  readonly finds: readonly PackedFind[]
  readonly gone: GoneRecord[]
  readonly isDamaged: boolean
}

/** @returns what counts, each chunk once per disk. What is wrong with a pack is logged. */
export async function scanPacks(disk: ChunkDisk, blocks: BlockPool, log: Logger): Promise<PackedFind[]> {
  const found = new Map<string, PackedFind>()
  const keyOf = ({ pack, offset }: PackPlace): string => `${pack} ${offset}`
  const numbers = await packNumbers(disk)
  if (numbers.length > 0) await disk.syncDirectory(disk.packs.directory)
  for (const number of numbers) {
    disk.packs.reserve(number)
    const scanned = await scanPack(disk, number, blocks, log)
    if (!scanned) continue
    disk.packs.adopt(number, scanned.sizeBytes, scanned.gone, scanned.isDamaged)
    for (const find of scanned.finds) found.set(keyOf(find.place), find)
    for (const gone of scanned.gone) if (found.get(keyOf(gone))?.chunk.chunkId === gone.chunkId) found.delete(keyOf(gone))
  }
  return onePerChunk([...found.values()])
}

/** A compaction that was broken off leaves a chunk in two places: the sound one counts, of two sound ones the later. */
function onePerChunk(finds: readonly PackedFind[]): PackedFind[] {
  const out = new Map<string, PackedFind>()
  for (const find of finds) {
    const other = out.get(find.chunk.chunkId)
    if (!other || find.good || !other.good) out.set(find.chunk.chunkId, find)
  }
  return [...out.values()]
}

async function packNumbers(disk: ChunkDisk): Promise<number[]> {
  try {
    const entries = await disk.io('look', () => disk.disk.list(disk.packs.directory))
    const numbers = entries.map(({ name, kind }) => (kind === 'file' ? packNumber(name) : undefined))
    return numbers.filter((number) => number !== undefined).sort((one, other) => one - other)
  } catch (error) {
    if (systemCode(error) !== 'ENOENT') throw error
    return []
  }
}

/** Undefined when the file cannot be opened: it is left as it is, and what it holds is missing. */
async function scanPack(disk: ChunkDisk, number: number, blocks: BlockPool, log: Logger): Promise<ScannedPack | undefined> {
  const name = path.join(disk.packs.directory, packName(number))
  let file: DiskFile
  try {
    file = await disk.io('read', () => disk.disk.openFile(name, { mode: 'read', direct: true }))
  } catch (error) {
    if (isCairnError(error) || isOwnTrouble(error)) throw error
    log.error({ pack: name, error }, 'a pack cannot be opened')
    return undefined
  }
  try {
    // A process that was killed may have left its last group unsynced; what counts from now on must outlive a power cut.
    await disk.io('sync', () => file.sync())
    const sizeBytes = await disk.io('read', () => file.sizeBytes())
    const { finds, gone, damagedBytes, isDamaged } = await readRecords(disk, file, number, sizeBytes, blocks)
    const lastGroup = finds.reduce((last, find) => Math.max(last, find.good ? find.group : 0), 0)
    // A sector is written whole or not at all: with a sound header in it, its data have been sound too.
    const kept = finds.filter((find) => find.good || find.group < lastGroup || isOneSector(find.chunk))
    if (damagedBytes > 0) log.warn({ pack: name, damagedBytes }, 'a pack has bytes that are no record: its end, if it was torn')
    return { number, sizeBytes, finds: kept, gone, isDamaged }
  } finally {
    await disk.closeFile(file)
  }
}

const isOneSector = ({ lengthBytes }: ChunkFooter): boolean => PACK_HEADER_BYTES + lengthBytes <= SECTOR_BYTES

async function readRecords(disk: ChunkDisk, file: DiskFile, number: number, sizeBytes: number, blocks: BlockPool) {
  const finds: PackedFind[] = []
  const gone: GoneRecord[] = []
  let damagedBytes = 0
  let damagedInside = 0
  await withBlock(blocks.acquire(), async (block) => {
    let offset = 0
    while (offset < sizeBytes) {
      const { count, unreadable } = await readWindow(disk, file, block.bytes, offset)
      damagedInside += unreadable
      disk.moved(count)
      if (count === 0) return
      const window = block.bytes.subarray(0, count)
      const isLast = offset + count >= sizeBytes
      let at = 0
      // A record that may go on behind the window is read with the next one.
      while (at < count && (isLast || at + PACK_RECORD_BYTES_MAX <= count)) {
        const bytes = window.subarray(at)
        const record = decodePackHeader(bytes)
        const total = record ? packRecordBytes(record.payloadBytes) : DISK_ALIGNMENT_BYTES
        if (record?.stamp.pack !== number || total > bytes.length) {
          damagedBytes += DISK_ALIGNMENT_BYTES
          at += DISK_ALIGNMENT_BYTES
          continue
        }
        // With a sound record behind it, it is no torn end.
        damagedInside = Math.max(damagedInside, damagedBytes)
        const payload = payloadOf(record, bytes)
        const good = isPayloadSound(record, payload)
        const place = { pack: number, offset: offset + at }
        const { writtenMs, group } = record.stamp
        if (record.kind === 'chunk') finds.push({ chunk: record.chunk, place, good, writtenMs, group })
        else if (good) gone.push(...decodeGone(payload))
        at += total
      }
      offset += at
    }
  })
  return { finds, gone, damagedBytes, isDamaged: damagedInside > 0 }
}

/** One sector that cannot be read must not cost the others: what cannot be read is passed over, and reads as zeros. */
async function readWindow(disk: ChunkDisk, file: DiskFile, target: Uint8Array, offset: number) {
  const read = async (bytes: Uint8Array, position: number): Promise<number | undefined> => {
    try {
      return await disk.io('read', () => file.read(bytes, position))
    } catch (error) {
      if (isCairnError(error) || isOwnTrouble(error)) throw error
      return undefined
    }
  }
  const whole = await read(target, offset)
  if (whole !== undefined) return { count: whole, unreadable: 0 }
  let unreadable = 0
  let count = 0
  while (count < target.length) {
    const piece = target.subarray(count, count + DISK_ALIGNMENT_BYTES)
    const got = await read(piece, offset + count)
    if (got === undefined) {
      piece.fill(0)
      unreadable += piece.length
    }
    count += got ?? piece.length
    if (got !== undefined && got < piece.length) break
  }
  return { count, unreadable }
}
