/**
 * The latest metadata position that this server has seen, kept on each of its disks: a master behind it may delete
 * nothing, and one lost disk must not make us forget that.
 */
import path from 'node:path'
import { z } from 'zod'
import { systemCode } from '../common/errors/cairn-error.js'
import type { Logger } from '../common/observe/logger.js'
import { isLater, metadataPosition, type MetadataPosition } from '../common/protocol/cluster.js'
import { isDiskTrouble, type ChunkDisk } from './store/chunk-disk.js'

const SEEN_FILE = 'seen.json'
const seenFile = z.object(metadataPosition.shape)
const NOTHING: MetadataPosition = { epoch: 0, position: 0 }

/** The latest of what the disks remember. @throws when a file is there and cannot be understood */
export async function readSeen(disks: readonly ChunkDisk[]): Promise<MetadataPosition> {
  const all = await Promise.all(disks.filter((disk) => !disk.failed).map(readOne))
  return all.reduce((latest, seen) => (isLater(seen, latest) ? seen : latest), NOTHING)
}

async function readOne(disk: ChunkDisk): Promise<MetadataPosition> {
  try {
    const content = await disk.io('read', () => disk.disk.readFile(fileOn(disk)))
    return seenFile.parse(JSON.parse(new TextDecoder().decode(content)))
  } catch (error) {
    if (systemCode(error) === 'ENOENT') return NOTHING
    if (!isDiskTrouble(error)) throw error
    disk.fail(error)
    return NOTHING
  }
}

/** Durable on return, where it could be written at all. */
export async function saveSeen(disks: readonly ChunkDisk[], position: MetadataPosition, log: Logger): Promise<void> {
  const content = new TextEncoder().encode(JSON.stringify(position))
  const save = async (disk: ChunkDisk): Promise<void> => {
    await disk
      .io('write', () => disk.disk.replaceFile(fileOn(disk), content))
      .catch((error: unknown) => log.warn({ directory: disk.directory, error }, 'the metadata position could not be remembered'))
  }
  await Promise.all(disks.filter((disk) => !disk.failed).map(save))
}

const fileOn = (disk: ChunkDisk): string => path.join(disk.directory, SEEN_FILE)
