/**
 * What a store does before it serves: removes what unfinished writes have left, finds every chunk file, and makes durable
 * what it finds. What is no file of ours is left alone, whatever it is, and named in the log.
 */
import path from 'node:path'
import type { BlockPool } from '../../common/bytes/block-pool.js'
import type { DirectoryEntry } from '../../common/disk/disk.js'
import { isCairnError } from '../../common/errors/cairn-error.js'
import { isHexId, type ChunkId } from '../../common/ids.js'
import type { Logger } from '../../common/observe/logger.js'
import { BAD_MARK_SUFFIX, CHUNK_SUFFIX, type ChunkDisk } from './chunk-disk.js'
import { chunkFileBytes, type ChunkFooter } from './chunk-file.js'
import { readFooter } from './chunk-file-reader.js'
import { packRecordBytes, type PackPlace } from './pack-record.js'
import { isOwnTrouble, scanPacks } from './pack-scan.js'
import { parseQuarantineName, unlessMissing } from './set-aside.js'

const FOOTERS_AT_ONCE = 8
/** Strangers named in the log; of more, the number. */
const STRANGERS_NAMED = 10
/** How {@link Disk.replaceFile} calls its temporary files. */
const UNFINISHED_SUFFIX = '.new'

export interface FoundCopy {
  readonly disk: ChunkDisk
  readonly chunkId: ChunkId
  /** Absent when not even the footer is sound. */
  readonly footer: ChunkFooter | undefined
  /** A whole footer, and no mark beside it that says the data is bad. */
  readonly good: boolean
  /** Of the file and its mark, or of the record in a pack. */
  readonly fileBytes: number
  /** Of a small chunk in a pack, and when it was written there. */
  readonly packed?: { readonly place: PackPlace; readonly writtenMs: number } | undefined
}

/** @throws what says that the disk, not a file, is in trouble */
export async function scanDisk(
  disk: ChunkDisk,
  footers: BlockPool,
  packBlocks: BlockPool,
  onFound: (copy: FoundCopy) => void,
  log: Logger,
): Promise<void> {
  await removeTemporary(disk, log)
  for (const { chunk, place, good, writtenMs } of await scanPacks(disk, packBlocks, log)) {
    const fileBytes = packRecordBytes(chunk.lengthBytes)
    onFound({ disk, chunkId: chunk.chunkId, footer: chunk, good, fileBytes, packed: { place, writtenMs } })
  }
  const strangers = await measureQuarantine(disk)
  const chunks = path.join(disk.directory, 'chunks')
  for (const entry of await disk.io('look', () => disk.disk.list(chunks))) {
    if (entry.kind === 'directory') strangers.push(...(await scanShard(disk, entry.name, footers, onFound, log)))
    else strangers.push(path.join('chunks', entry.name))
  }
  if (strangers.length > 0) {
    const some = strangers.slice(0, STRANGERS_NAMED)
    log.warn({ directory: disk.directory, count: strangers.length, some }, 'files that are none of ours are left alone')
  }
}

/** @returns what does not belong here */
async function scanShard(
  disk: ChunkDisk,
  shard: string,
  footers: BlockPool,
  onFound: (copy: FoundCopy) => void,
  log: Logger,
): Promise<string[]> {
  const directory = path.join(disk.directory, 'chunks', shard)
  const entries = await disk.io('look', () => disk.disk.list(directory))
  const ids = idsOf(entries, CHUNK_SUFFIX).filter((id) => id.startsWith(shard))
  const held = new Set(ids)
  const marks = idsOf(entries, BAD_MARK_SUFFIX)
  const unfinished = idsOf(entries, BAD_MARK_SUFFIX + UNFINISHED_SUFFIX).map(
    (id) => `${id}${BAD_MARK_SUFFIX}${UNFINISHED_SUFFIX}`,
  )
  // A mark that outlived its copy would condemn the next one.
  const widowed = marks.filter((id) => !held.has(id)).map((id) => `${id}${BAD_MARK_SUFFIX}`)
  for (const name of [...unfinished, ...widowed])
    await unlessMissing(disk.io('write', () => disk.disk.remove(path.join(directory, name))))
  const marked = new Set(marks)
  // A process that was killed may have left an entry unsynced; what is about to be counted must outlive a power cut.
  if (ids.length > 0) await disk.syncDirectory(directory)
  await forEachAtOnce(ids, FOOTERS_AT_ONCE, async (chunkId) => {
    const markBytes = marked.has(chunkId)
      ? ((await disk.io('look', () => disk.disk.stat(disk.badMarkPath(chunkId))))?.sizeBytes ?? 0)
      : undefined
    onFound(await scanOne(disk, chunkId, markBytes, footers, log))
  })
  const ours = new Set([...ids.map((id) => id + CHUNK_SUFFIX), ...marks.map((id) => id + BAD_MARK_SUFFIX), ...unfinished])
  return entries.filter(({ name }) => !ours.has(name)).map(({ name }) => path.join('chunks', shard, name))
}

const idsOf = (entries: readonly DirectoryEntry[], suffix: string): ChunkId[] =>
  entries
    .filter(({ name, kind }) => kind === 'file' && name.endsWith(suffix) && isHexId(name.slice(0, -suffix.length)))
    .map(({ name }) => name.slice(0, -suffix.length) as ChunkId)

async function removeTemporary(disk: ChunkDisk, log: Logger): Promise<void> {
  const torn = await disk.io('look', () => disk.disk.list(disk.temporaryDirectory))
  for (const entry of torn) await disk.io('write', () => disk.disk.removeTree(path.join(disk.temporaryDirectory, entry.name)))
  if (torn.length > 0) log.info({ directory: disk.directory, files: torn.length }, 'removed torn temporary files')
}

/** Takes up what lies in quarantine. @returns what does not belong there */
async function measureQuarantine(disk: ChunkDisk): Promise<string[]> {
  const strangers: string[] = []
  for (const { name, kind } of await disk.io('look', () => disk.disk.list(disk.quarantineDirectory))) {
    if (kind !== 'file' || !parseQuarantineName(name)) {
      strangers.push(path.join('quarantine', name))
      continue
    }
    const stat = await disk.io('look', () => disk.disk.stat(path.join(disk.quarantineDirectory, name)))
    disk.usage.quarantine.set(name, stat?.sizeBytes ?? 0)
  }
  return strangers
}

/** @param markBytes size of the mark that says the copy is bad, if there is one */
async function scanOne(
  disk: ChunkDisk,
  chunkId: ChunkId,
  markBytes: number | undefined,
  footers: BlockPool,
  log: Logger,
): Promise<FoundCopy> {
  const file = disk.chunkPath(chunkId)
  const measured = async (): Promise<number> =>
    ((await disk.io('look', () => disk.disk.stat(file)))?.sizeBytes ?? 0) + (markBytes ?? 0)
  try {
    const handle = await disk.io('read', () => disk.disk.openFile(file, { mode: 'read', direct: true }))
    try {
      const footer = await readFooter(disk, handle, chunkId, footers)
      const good = markBytes === undefined
      return { disk, chunkId, footer, good, fileBytes: good ? chunkFileBytes(footer.lengthBytes) : await measured() }
    } finally {
      await disk.closeFile(handle)
    }
  } catch (error) {
    if (isCairnError(error, 'DISK_FAILED') || isOwnTrouble(error)) throw error
    log.warn({ chunkId, directory: disk.directory, error }, 'a chunk file is damaged')
    return { disk, chunkId, footer: undefined, good: false, fileBytes: await measured() }
  }
}

async function forEachAtOnce<T>(items: readonly T[], limit: number, work: (item: T) => Promise<void>): Promise<void> {
  let next = 0
  const worker = async (): Promise<void> => {
    while (next < items.length) await work(items[next++] as T)
  }
  await Promise.all(Array.from({ length: Math.min(limit, items.length) }, worker))
}
