/** Copies that are out of service: marked where they lie, or moved to quarantine and dropped from there in the end. */
import path from 'node:path'
import { systemCode } from '../../common/errors/cairn-error.js'
import { isHexId, type ChunkId } from '../../common/ids.js'
import type { Logger } from '../../common/observe/logger.js'
import type { BlockPool } from '../../common/bytes/block-pool.js'
import type { ChunkDisk } from './chunk-disk.js'
import { chunkFileBytes, encodeFooter, footerStart } from './chunk-file.js'
import type { CopyEntry, CopyTable } from './copy-table.js'
import { isHanging, withBlock } from './disk-io.js'
import type { PackPlace } from './pack-record.js'
import { readPacked } from './packed-read.js'

/** `replaced` until the new copy is durable, `corrupt` from then on. `duplicate`: another disk of this server has one too. */
export type QuarantineReason = 'deleted' | 'corrupt' | 'replaced' | 'duplicate'

/** So that a bad copy does not count as good again after a restart, until it happens to be read once more. */
export async function leaveMark(entry: CopyEntry, damage: Error, copies: CopyTable, log: Logger): Promise<void> {
  const { chunkId, disk } = entry
  try {
    const reason = new TextEncoder().encode(`${damage.message}\n`)
    await disk.io('write', () => disk.disk.replaceFile(disk.badMarkPath(chunkId), reason))
    const stat = await disk.io('look', () => disk.disk.stat(disk.chunkPath(chunkId)))
    copies.measured(entry, (stat?.sizeBytes ?? 0) + reason.length)
  } catch (error) {
    log.warn({ chunkId, error }, 'a damaged copy could not be marked')
  }
}

/** The bad copy is gone, and its mark has to go too. Best effort: the next start does the same. */
export async function dropMark({ chunkId, disk }: CopyEntry, log: Logger): Promise<void> {
  try {
    await unlessMissing(disk.io('write', () => disk.disk.remove(disk.badMarkPath(chunkId))))
  } catch (error) {
    log.warn({ chunkId, error }, 'the mark beside a vanished copy could not be removed')
  }
}

export interface QuarantineName {
  readonly chunkId: ChunkId
  readonly sinceMs: number
  readonly reason: QuarantineReason
}

const REASONS: readonly string[] = ['deleted', 'corrupt', 'replaced', 'duplicate'] satisfies QuarantineReason[]

const nameOf = ({ chunkId, sinceMs, reason }: QuarantineName): string => `${chunkId}.${sinceMs}.${reason}`

/** Undefined for files that are none of ours. */
export function parseQuarantineName(name: string): QuarantineName | undefined {
  const [chunkId, since, reason, ...rest] = name.split('.')
  if (!isHexId(chunkId) || !/^\d+$/.test(since ?? '') || !REASONS.includes(reason ?? '') || rest.length > 0) return undefined
  return { chunkId: chunkId as ChunkId, sinceMs: Number(since), reason: reason as QuarantineReason }
}

/**
 * Moves a copy's file out of the way, its name saying since when and why. Durable on return for a bad copy: its mark must
 * not go first, or a power cut brings it back as a good one.
 * @returns the file's name in quarantine; undefined when it had gone already
 */
export async function toQuarantine(
  { disk, chunkId, state }: Pick<CopyEntry, 'disk' | 'chunkId' | 'state'>,
  sinceMs: number,
  reason: QuarantineReason,
): Promise<string | undefined> {
  const name = nameOf({ chunkId, sinceMs, reason })
  const target = path.join(disk.quarantineDirectory, name)
  const moved = await unlessMissing(disk.io('write', () => disk.disk.rename(disk.chunkPath(chunkId), target)))
  if (moved) disk.usage.quarantine.set(name, (await disk.io('look', () => disk.disk.stat(target)))?.sizeBytes ?? 0)
  if (state === 'corrupt') {
    await disk.syncDirectory(disk.shardDirectory(chunkId))
    await disk.syncDirectory(disk.quarantineDirectory)
    await unlessMissing(disk.io('write', () => disk.disk.remove(disk.badMarkPath(chunkId))))
  }
  return moved ? name : undefined
}

/**
 * Takes a copy out of service for good: its file goes to quarantine; of a record in a pack a file is made there, as far as
 * there is room and it can be read, and then it is said to be gone.
 * @param buffers blocks with room for a record
 */
export async function retire(
  entry: Pick<CopyEntry, 'disk' | 'chunkId' | 'state' | 'place' | 'lengthBytes'>,
  sinceMs: number,
  reason: QuarantineReason,
  buffers: BlockPool,
  log: Logger,
): Promise<void> {
  const { disk, chunkId, place } = entry
  if (!place) return void (await toQuarantine(entry, sinceMs, reason))
  try {
    await unpack({ ...entry, place }, nameOf({ chunkId, sinceMs, reason }), buffers)
  } catch (error) {
    // What cannot be read any more can still be said to be gone.
    if (disk.failed || isHanging(error)) throw error
    log.warn({ chunkId, directory: disk.directory, error }, 'a small chunk goes without a file in quarantine')
  }
  await disk.packs.drop([{ ...place, chunkId }])
}

/** Writes a chunk file with what a record holds. Not synced: as a file that is renamed, it may be lost with the power. */
async function unpack(
  { disk, chunkId, place, lengthBytes }: Pick<CopyEntry, 'disk' | 'chunkId' | 'lengthBytes'> & { readonly place: PackPlace },
  name: string,
  buffers: BlockPool,
): Promise<void> {
  const { chunk, data } = await readPacked({ disk, chunkId, place, lengthBytes }, buffers)
  await withBlock(buffers.acquire(), async (block) => {
    const dataBytes = footerStart(data.length)
    const bytes = block.bytes.subarray(0, chunkFileBytes(data.length))
    bytes.fill(0)
    bytes.set(data)
    encodeFooter(chunk, bytes.subarray(dataBytes))
    const target = path.join(disk.quarantineDirectory, name)
    const file = await disk.io('write', () => disk.disk.openFile(target, { mode: 'create', direct: true }))
    try {
      await disk.io('write', () => file.write(bytes, 0))
    } catch (error) {
      await disk.io('write', () => disk.disk.remove(target)).catch(() => undefined)
      throw error
    } finally {
      await disk.closeFile(file)
    }
    disk.usage.quarantine.set(name, bytes.length)
  })
}

/** The copy that took a bad one's place is durable: from here on the bad one is evidence, and no longer a fallback. */
export async function settleReplaced(disk: ChunkDisk, name: string): Promise<void> {
  const parsed = parseQuarantineName(name)
  if (!parsed) return
  const settled = nameOf({ ...parsed, reason: 'corrupt' })
  const inQuarantine = (file: string): string => path.join(disk.quarantineDirectory, file)
  // After a power cut a file can have both names, and renaming one to the other would do nothing.
  const isThere = disk.usage.quarantine.sizeOf(settled) !== undefined
  const settle = (): Promise<void> =>
    isThere ? disk.disk.remove(inQuarantine(name)) : disk.disk.rename(inQuarantine(name), inQuarantine(settled))
  const moved = await unlessMissing(disk.io('write', settle))
  if (moved) disk.usage.quarantine.set(settled, disk.usage.quarantine.sizeOf(name) ?? 0)
  disk.usage.quarantine.delete(name)
}

/** Drops files in quarantine that `isDue` says are due. Others that lie there are left alone. */
export async function dropFromQuarantine(disk: ChunkDisk, isDue: (file: QuarantineName) => boolean): Promise<void> {
  for (const name of disk.usage.quarantine.names) {
    const parsed = parseQuarantineName(name)
    if (!parsed || parsed.reason === 'replaced' || !isDue(parsed)) continue
    await unlessMissing(disk.io('write', () => disk.disk.remove(path.join(disk.quarantineDirectory, name))))
    disk.usage.quarantine.delete(name)
  }
}

/** Removes what writers had to leave behind. */
export async function dropLeftovers(disk: ChunkDisk): Promise<void> {
  for (const name of disk.leftovers) {
    await unlessMissing(disk.io('write', () => disk.disk.remove(path.join(disk.temporaryDirectory, name))))
    disk.leftovers.delete(name)
    disk.usage.temporary.delete(name)
  }
}

/** What is to go may have gone already. @returns whether it was there */
export async function unlessMissing(work: Promise<void>): Promise<boolean> {
  try {
    await work
    return true
  } catch (error) {
    if (systemCode(error) !== 'ENOENT') throw error
    return false
  }
}
