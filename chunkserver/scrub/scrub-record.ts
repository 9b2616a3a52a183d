/**
 * Where the scrub of a disk is, kept on the disk itself (`scrub.json`), so that a pass of weeks goes on after a restart.
 * Losing it costs a pass that begins again, never more.
 */
import path from 'node:path'
import { z } from 'zod'
import { systemCode } from '../../common/errors/cairn-error.js'
import type { Logger } from '../../common/observe/logger.js'
import { diskScrub } from '../../common/protocol/cluster.js'
import { isDiskTrouble, type ChunkDisk } from '../store/chunk-disk.js'

const SCRUB_FILE = 'scrub.json'

const scrubRecord = z.object({
  formatVersion: z.literal(1),
  /** Sets the order of this pass. */
  seed: z.string().regex(/^[0-9a-f]{16}$/),
  /** The place in that order up to which all has been read; empty at the start. */
  position: z.string().regex(/^([0-9a-f]{16})?$/),
  progress: diskScrub,
})
export type ScrubRecord = z.infer<typeof scrubRecord>

/** Undefined when there is none, or none that can be understood. @throws what says that the disk is in trouble */
export async function readScrubRecord(disk: ChunkDisk, log: Logger): Promise<ScrubRecord | undefined> {
  try {
    const content = await disk.io('read', () => disk.disk.readFile(path.join(disk.directory, SCRUB_FILE)))
    return scrubRecord.parse(JSON.parse(new TextDecoder().decode(content)))
  } catch (error) {
    if (isDiskTrouble(error)) throw error
    if (systemCode(error) !== 'ENOENT')
      log.warn({ directory: disk.directory, error }, 'the scrub begins anew: its record is unreadable')
    return undefined
  }
}

/** Durable on return. */
export async function saveScrubRecord(disk: ChunkDisk, record: ScrubRecord): Promise<void> {
  const content = new TextEncoder().encode(`${JSON.stringify(record)}\n`)
  await disk.io('write', () => disk.disk.replaceFile(path.join(disk.directory, SCRUB_FILE), content))
}
