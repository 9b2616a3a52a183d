/** What a store does before it serves: removes torn temporary files, and finds every whole chunk. */
import path from 'node:path'
import type { BlockPool } from '../../common/bytes/block-pool.js'
import { isCairnError } from '../../common/errors/cairn-error.js'
import { isHexId, type ChunkId } from '../../common/ids.js'
import type { Logger } from '../../common/observe/logger.js'
import type { ChunkDisk } from './chunk-disk.js'
import type { ChunkFooter } from './chunk-file.js'
import { readFooter } from './chunk-file-reader.js'

const FOOTERS_AT_ONCE = 8

export interface ScanFindings {
  readonly onWhole: (disk: ChunkDisk, footer: ChunkFooter, fileBytes: number) => void
  readonly onDamaged: (disk: ChunkDisk, chunkId: ChunkId) => void
}

export async function scanDisk(disk: ChunkDisk, footers: BlockPool, findings: ScanFindings, log: Logger): Promise<void> {
  await removeTemporary(disk, log)
  const chunks = path.join(disk.directory, 'chunks')
  for (const shard of await disk.disk.list(chunks)) {
    if (shard.kind !== 'directory') continue
    const names = await disk.disk.list(path.join(chunks, shard.name))
    const ids = names.map((entry) => chunkIdOf(entry.name)).filter((id) => id !== undefined)
    const damaged = new Set(names.map((entry) => entry.name).filter((name) => name.endsWith('.damaged')))
    await forEachAtOnce(ids, FOOTERS_AT_ONCE, (chunkId) =>
      damaged.has(path.basename(disk.damagePath(chunkId)))
        ? Promise.resolve(findings.onDamaged(disk, chunkId))
        : scanOne(disk, chunkId, footers, findings, log),
    )
  }
}

export const chunkIdOf = (fileName: string): ChunkId | undefined => {
  const id = fileName.endsWith('.chunk') ? fileName.slice(0, -'.chunk'.length) : ''
  return isHexId(id) ? (id as ChunkId) : undefined
}

async function removeTemporary(disk: ChunkDisk, log: Logger): Promise<void> {
  const torn = await disk.disk.list(disk.temporaryDirectory)
  for (const entry of torn) await disk.disk.removeTree(path.join(disk.temporaryDirectory, entry.name))
  if (torn.length > 0) log.info({ directory: disk.directory, files: torn.length }, 'removed torn temporary files')
}

async function scanOne(
  disk: ChunkDisk,
  chunkId: ChunkId,
  footers: BlockPool,
  findings: ScanFindings,
  log: Logger,
): Promise<void> {
  try {
    const file = await disk.io('read', () => disk.disk.openFile(disk.chunkPath(chunkId), { mode: 'read', direct: true }))
    try {
      const footer = await readFooter(disk, file, chunkId, footers)
      findings.onWhole(disk, footer, await file.sizeBytes())
    } finally {
      await file.close()
    }
  } catch (error) {
    if (isCairnError(error, 'DISK_FAILED')) throw error
    log.warn({ chunkId, directory: disk.directory, error }, 'a chunk file is damaged')
    findings.onDamaged(disk, chunkId)
  }
}

async function forEachAtOnce<T>(items: readonly T[], limit: number, work: (item: T) => Promise<void>): Promise<void> {
  let next = 0
  const worker = async (): Promise<void> => {
    while (next < items.length) await work(items[next++] as T)
  }
  await Promise.all(Array.from({ length: Math.min(limit, items.length) }, worker))
}
