/** What the bytes on the disks are. The parts are made to sum: what nothing accounts for is on its way out. */
import type { DiskReport } from '../../common/protocol/cluster.js'
import type { ClusterService } from './cluster-service.js'
import type { MetadataStore } from '../store/metadata-store.js'

export interface StoredSpace {
  /** All bytes of Cairn's files on the disks, as the servers report them. */
  readonly heldBytes: number
  /** What all wanted copies of files, of what only the trash holds, and of open uploads take. */
  readonly fileBytes: number
  readonly trashBytes: number
  readonly draftBytes: number
  /** What copies take that are wanted and not there. */
  readonly absentBytes: number
}

export interface SpaceSplit {
  readonly liveBytes: number
  readonly trashBytes: number
  readonly openUploadBytes: number
  readonly garbageBytes: number
}

/**
 * Splits what the disks hold. Reports are a heartbeat old, so the parts may for a moment want more than is held: they are
 * cut then, those first that matter least. Absent copies are counted against the files.
 */
export function splitSpace(space: StoredSpace): SpaceSplit {
  let left = space.heldBytes
  const take = (bytes: number): number => {
    const taken = Math.max(0, Math.min(left, bytes))
    left -= taken
    return taken
  }
  const liveBytes = take(space.fileBytes - space.absentBytes)
  const trashBytes = take(space.trashBytes)
  const openUploadBytes = take(space.draftBytes)
  return { liveBytes, trashBytes, openUploadBytes, garbageBytes: left }
}

/** Good copies, bad ones that lie in place, quarantine, and what is being written. */
const heldBytesOf = (disk: DiskReport): number =>
  disk.usedBytes + (disk.corruptBytes ?? 0) + (disk.quarantineBytes ?? 0) + (disk.temporaryBytes ?? 0)

export interface Space extends SpaceSplit {
  readonly totalBytes: number
  readonly usedBytes: number
  readonly freeBytes: number
  readonly files: number
  readonly fileBytes: number
}

export async function readSpace(store: MetadataStore, cluster: ClusterService): Promise<Space> {
  const use = await store.spaceUse({})
  const { absentBytes } = await store.chunkHealth({})
  const servers = cluster.views.all().filter((view) => view.state !== 'dead' && view.state !== 'decommissioned')
  const disks = servers.flatMap((view) => view.disks)
  const sum = (pick: (disk: DiskReport) => number): number => disks.reduce((total, disk) => total + pick(disk), 0)
  const usedBytes = sum(heldBytesOf)
  return {
    totalBytes: sum((disk) => disk.totalBytes),
    usedBytes,
    freeBytes: sum((disk) => disk.freeBytes),
    files: use.files,
    fileBytes: use.fileBytes,
    ...splitSpace({
      heldBytes: usedBytes,
      fileBytes: use.storedFileBytes,
      trashBytes: use.storedTrashBytes,
      draftBytes: use.storedDraftBytes,
      absentBytes,
    }),
  }
}
