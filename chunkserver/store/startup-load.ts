/** From what the scans of all disks have found to one table of copies: each chunk counts once per server. */
import path from 'node:path'
import type { BlockPool } from '../../common/bytes/block-pool.js'
import type { Clock } from '../../common/clock/clock.js'
import type { Logger } from '../../common/observe/logger.js'
import { isDiskTrouble, type ChunkDisk } from './chunk-disk.js'
import type { CopyEntry, CopyTable } from './copy-table.js'
import type { DiskSet } from './disk-set.js'
import { leaveMark, parseQuarantineName, settleReplaced, toQuarantine } from './set-aside.js'
import { scanDisk, type FoundCopy } from './startup-scan.js'

export interface LoadOptions {
  readonly clock: Clock
  readonly log: Logger
}

export async function loadCopies(disks: DiskSet, copies: CopyTable, footers: BlockPool, options: LoadOptions): Promise<void> {
  const spare: FoundCopy[] = []
  const bad: FoundCopy[] = []
  await disks.open(async (disk) => {
    await disk.refreshSpace()
    const onFound = (found: FoundCopy): void => {
      if (!found.good || !found.footer) bad.push(found)
      else if (copies.get(found.chunkId)) spare.push(found)
      else copies.loadGood(disk, found.footer)
    }
    await scanDisk(disk, footers, onFound, options.log)
  })
  for (const found of bad) {
    if (found.disk.failed) continue
    if (copies.get(found.chunkId)) spare.push(found)
    else copies.loadCorrupt(found.disk, found.chunkId, found.fileBytes, found.footer)
  }
  for (const found of spare) {
    await unlessFailed(found.disk, () => dropSpare(found, copies, options))
    copies.index.retellGood(found.chunkId)
  }
  for (const disk of disks.usable) await unlessFailed(disk, () => putBackUnreplaced(disk, copies, options))
}

async function unlessFailed(disk: ChunkDisk, work: () => Promise<void>): Promise<void> {
  try {
    if (!disk.failed) await work()
  } catch (error) {
    if (!isDiskTrouble(error)) throw error
  }
}

/**
 * One copy on a server is enough, and only one can be counted: of two good ones the newer. It was made and verified when the
 * older had been lost with its disk or was in doubt; which of them is good now, only reading both would tell.
 */
async function dropSpare(found: FoundCopy, copies: CopyTable, { clock, log }: LoadOptions): Promise<void> {
  const { chunkId } = found
  const counted = copies.get(chunkId)
  // The one that counts may have gone with its disk by now.
  if (!counted) return
  let spare: Spare = { disk: found.disk, chunkId, state: found.good ? 'good' : 'corrupt' }
  if (found.good && found.footer && (await modifiedMs(spare)) > (await modifiedMs(counted))) {
    copies.unload(counted)
    copies.loadGood(found.disk, found.footer)
    spare = counted
  }
  const { disk, state } = spare
  log.warn({ chunkId, directory: disk.directory, state }, 'another disk has this chunk too: this copy goes to quarantine')
  await toQuarantine(spare, clock.now(), state === 'good' ? 'duplicate' : 'corrupt')
}

type Spare = Pick<CopyEntry, 'disk' | 'chunkId' | 'state'>

async function modifiedMs({ disk, chunkId }: Spare): Promise<number> {
  return (await disk.io('look', () => disk.disk.stat(disk.chunkPath(chunkId))))?.modifiedMs ?? 0
}

/** Bad copies whose replacement was under way when the process ended: settled if it had come about, else put back. */
async function putBackUnreplaced(disk: ChunkDisk, copies: CopyTable, { log }: LoadOptions): Promise<void> {
  for (const name of disk.usage.quarantine.names) {
    const parsed = parseQuarantineName(name)
    if (parsed?.reason !== 'replaced') continue
    const { chunkId } = parsed
    if (copies.get(chunkId)) {
      await settleReplaced(disk, name)
      continue
    }
    log.warn({ chunkId, directory: disk.directory }, 'a bad copy was not replaced: it is back in its place')
    await disk.io('write', () => disk.disk.rename(path.join(disk.quarantineDirectory, name), disk.chunkPath(chunkId)))
    copies.loadCorrupt(disk, chunkId, disk.usage.quarantine.sizeOf(name) ?? 0)
    disk.usage.quarantine.delete(name)
    const entry = copies.get(chunkId)
    if (entry) await leaveMark(entry, new Error('found bad before, and not replaced'), copies, log)
  }
}
