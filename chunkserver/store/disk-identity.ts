/** Who a data directory belongs to: `disk.json` in it, written once. A directory without one is new and gets formatted. */
import path from 'node:path'
import { z } from 'zod'
import type { Disk } from '../../common/disk/disk.js'
import { CairnError, systemCode } from '../../common/errors/cairn-error.js'
import { newId, type ClusterId, type DiskId, type ServerId } from '../../common/ids.js'
import { SHARD_COUNT } from '../../common/protocol/cluster.js'
import { clusterId, diskId, serverId } from '../../common/protocol/schemas.js'
import type { Random } from '../../common/random/random.js'

const IDENTITY_FILE = 'disk.json'
const FORMAT_VERSION = 1

const identity = z.object({
  formatVersion: z.literal(FORMAT_VERSION),
  diskId,
  serverId: serverId.nullable(),
  clusterId: clusterId.nullable(),
})
export type DiskIdentity = z.infer<typeof identity>

/** Reads the identity of a directory, making directory and identity when there is none. @throws `LOCAL_IO_ERROR` when it is unreadable */
export async function openIdentity(disk: Disk, directory: string, random: Random): Promise<DiskIdentity> {
  await makeLayout(disk, directory)
  const file = path.join(directory, IDENTITY_FILE)
  let text: string
  try {
    text = new TextDecoder().decode(await disk.readFile(file))
  } catch (error) {
    if (systemCode(error) !== 'ENOENT') throw error
    const fresh: DiskIdentity = { formatVersion: FORMAT_VERSION, diskId: newId<DiskId>(random), serverId: null, clusterId: null }
    await saveIdentity(disk, directory, fresh)
    return fresh
  }
  const parsed = identity.safeParse(parseJson(text))
  if (!parsed.success)
    throw new CairnError(
      'LOCAL_IO_ERROR',
      `${file} is damaged or of a newer version. Restore it, or empty the directory: its chunks are then rebuilt from other servers.`,
    )
  return parsed.data
}

/** All directories that chunks can go to, made and durable beforehand: publishing a chunk then syncs just one of them. */
export async function makeLayout(disk: Disk, directory: string): Promise<void> {
  const chunks = path.join(directory, 'chunks')
  for (const part of [chunks, path.join(directory, 'tmp'), path.join(directory, 'quarantine')]) await disk.makeDirectory(part)
  const present = new Set((await disk.list(chunks)).map((entry) => entry.name))
  for (let shard = 0; shard < SHARD_COUNT; shard += 1) {
    const name = shard.toString(16).padStart(2, '0')
    if (!present.has(name)) await disk.makeDirectory(path.join(chunks, name))
  }
  // Also when all were there: an earlier start may have made them and come no further.
  await disk.syncDirectory(chunks)
  await disk.syncDirectory(directory)
  await disk.syncDirectory(path.dirname(directory))
}

/** Whether the directory still is the one that was opened: not removed, not an empty place where a disk was mounted, not another disk. */
export async function holdsIdentity(disk: Disk, directory: string, id: DiskId): Promise<boolean> {
  try {
    const content = identity.safeParse(
      parseJson(new TextDecoder().decode(await disk.readFile(path.join(directory, IDENTITY_FILE)))),
    )
    return content.success && content.data.diskId === id
  } catch (error) {
    if (systemCode(error) === 'ENOENT' || systemCode(error) === 'ENOTDIR') return false
    throw error
  }
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text) as unknown
  } catch {
    return undefined
  }
}

export async function saveIdentity(disk: Disk, directory: string, content: DiskIdentity): Promise<void> {
  await disk.replaceFile(path.join(directory, IDENTITY_FILE), new TextEncoder().encode(`${JSON.stringify(content, null, 2)}\n`))
}

export interface ServerIdentity {
  readonly serverId: ServerId | null
  readonly clusterId: ClusterId | null
}

/** What the directories of one server agree on. New ones among them have no say. @throws `WRONG_CLUSTER`, `SERVER_ID_CONFLICT` */
export function commonIdentity(
  disks: readonly { readonly directory: string; readonly identity: DiskIdentity }[],
): ServerIdentity {
  const settled = disks.filter(({ identity: { serverId: id } }) => id !== null)
  const first = settled[0]?.identity
  for (const { directory, identity: other } of settled) {
    if (other.clusterId !== first?.clusterId)
      throw new CairnError('WRONG_CLUSTER', `${directory} belongs to another cluster than ${settled[0]?.directory}.`)
    if (other.serverId !== first?.serverId)
      throw new CairnError('SERVER_ID_CONFLICT', `${directory} belongs to another chunkserver than ${settled[0]?.directory}.`)
  }
  return { serverId: first?.serverId ?? null, clusterId: first?.clusterId ?? null }
}
