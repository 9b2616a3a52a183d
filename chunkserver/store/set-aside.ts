/** Copies that are out of service: marked where they lie, or moved to quarantine. */
import path from 'node:path'
import { systemCode } from '../../common/errors/cairn-error.js'
import type { Logger } from '../../common/observe/logger.js'
import type { ChunkDisk } from './chunk-disk.js'
import type { IndexEntry } from './chunk-index.js'

type Entry = IndexEntry<ChunkDisk>

/** So that a bad copy does not count as good again after a restart, until it happens to be read once more. */
export async function leaveMark({ chunkId, disk }: Entry, damage: Error, log: Logger): Promise<void> {
  try {
    const reason = new TextEncoder().encode(`${damage.message}\n`)
    await disk.io('write', () => disk.disk.replaceFile(disk.badMarkPath(chunkId), reason))
  } catch (error) {
    log.warn({ chunkId, error }, 'a damaged copy could not be marked')
  }
}

/** Moves the file out of the way, its name saying since when and why. */
export async function toQuarantine(entry: Entry, sinceMs: number): Promise<void> {
  const { disk, chunkId } = entry
  const reason = entry.state === 'good' ? 'deleted' : 'corrupt'
  const target = path.join(disk.quarantineDirectory, `${chunkId}.${sinceMs}.${reason}`)
  await unlessMissing(disk.io('write', () => disk.disk.rename(disk.chunkPath(chunkId), target)))
  if (entry.state === 'corrupt') await unlessMissing(disk.io('write', () => disk.disk.remove(disk.badMarkPath(chunkId))))
}

/** What is to go may have gone already. */
async function unlessMissing(work: Promise<void>): Promise<void> {
  try {
    await work
  } catch (error) {
    if (systemCode(error) !== 'ENOENT') throw error
  }
}
