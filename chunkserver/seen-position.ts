/**
 * The latest metadata position that this server has seen, kept on each of its disks: a master behind it may delete
 * nothing, and one lost disk must not make us forget that.
 */
import path from 'node:path'
import { z } from 'zod'
import type { Disk } from '../common/disk/disk.js'
import { systemCode } from '../common/errors/cairn-error.js'
import type { Logger } from '../common/observe/logger.js'
import { isLater, metadataPosition, type MetadataPosition } from '../common/protocol/cluster.js'

const SEEN_FILE = 'seen.json'
const seenFile = z.object(metadataPosition.shape)
const NOTHING: MetadataPosition = { epoch: 0, position: 0 }

/** The latest of what the directories remember. @throws when a file is there and cannot be understood */
export async function readSeen(disk: Disk, directories: readonly string[]): Promise<MetadataPosition> {
  let latest = NOTHING
  for (const directory of directories) {
    const seen = await readOne(disk, directory)
    if (isLater(seen, latest)) latest = seen
  }
  return latest
}

async function readOne(disk: Disk, directory: string): Promise<MetadataPosition> {
  try {
    return seenFile.parse(JSON.parse(new TextDecoder().decode(await disk.readFile(path.join(directory, SEEN_FILE)))))
  } catch (error) {
    if (systemCode(error) === 'ENOENT') return NOTHING
    throw error
  }
}

/** Durable on return, where it could be written at all. */
export async function saveSeen(
  disk: Disk,
  directories: readonly string[],
  position: MetadataPosition,
  log: Logger,
): Promise<void> {
  const content = new TextEncoder().encode(JSON.stringify(position))
  for (const directory of directories) {
    await disk
      .replaceFile(path.join(directory, SEEN_FILE), content)
      .catch((error: unknown) => log.warn({ directory, error }, 'the metadata position could not be remembered'))
  }
}
