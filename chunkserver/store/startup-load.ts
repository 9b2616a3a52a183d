/** From what the scans of all disks have found to one table of copies: each chunk counts once per server. */
import path from 'node:path'
import type { BlockPool } from '../../common/bytes/block-pool.js'
import type { Clock } from '../../common/clock/clock.js'
import type { Logger } from '../../common/observe/logger.js'
import { isDiskTrouble, type ChunkDisk } from './chunk-disk.js'
import type { CopyEntry, CopyTable } from './copy-table.js'
import type { ChunkFooter } from './chunk-file.js'
import type { DiskSet } from './disk-set.js'
import { leaveMark, parseQuarantineName, retire, settleReplaced } from './set-aside.js'
import type { PackPlace } from './pack-record.js'
import { scanDisk, type FoundCopy } from './startup-scan.js'

export interface LoadOptions {
  readonly clock: Clock
  readonly log: Logger
}

/** Of the buffers, `footers` have room for any footer, `packBlocks` 1 MiB, `records` room for a small chunk in any form. */
export async function loadCopies(
  disks: DiskSet,
  copies: CopyTable,
  { footers, packBlocks, records }: { readonly footers: BlockPool; readonly packBlocks: BlockPool; readonly records: BlockPool },
  options: LoadOptions,
): Promise<void> {
  const spare: FoundCopy[] = []
  const bad: FoundCopy[] = []
  const written = new Map<string, number>()
  await disks.open(async (disk) => {
    await disk.refreshSpace()
    const onFound = (found: FoundCopy): void => {
      if (found.packed) written.set(writtenKey(disk, found.packed.place), found.packed.writtenMs)
      if (!found.good || !found.footer) bad.push(found)
      else if (copies.get(found.chunkId)) spare.push(found)
      else copies.loadGood(disk, factsOf(found, found.footer))
    }
    await scanDisk(disk, footers, packBlocks, onFound, options.log)
  })
  for (const found of bad) {
    if (found.disk.failed) continue
    if (copies.get(found.chunkId)) spare.push(found)
    else copies.loadCorrupt(found.disk, found.chunkId, found.fileBytes, found.footer && factsOf(found, found.footer))
  }
  for (const found of spare) {
    await unlessFailed(found.disk, () => dropSpare(found, copies, written, records, options))
    copies.index.retellGood(found.chunkId)
  }
  for (const disk of disks.usable) await unlessFailed(disk, () => putBackUnreplaced(disk, copies, options))
}

const factsOf = ({ packed }: FoundCopy, footer: ChunkFooter) => ({ ...footer, place: packed?.place })

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
async function dropSpare(
  found: FoundCopy,
  copies: CopyTable,
  written: Written,
  records: BlockPool,
  { clock, log }: LoadOptions,
): Promise<void> {
  const { chunkId } = found
  const counted = copies.get(chunkId)
  // The one that counts may have gone with its disk by now.
  if (!counted) return
  const { footer, packed } = found
  const state = found.good ? 'good' : 'corrupt'
  let spare: Spare = { disk: found.disk, chunkId, state, place: packed?.place, lengthBytes: footer?.lengthBytes ?? 0 }
  if (found.good && footer && (await modifiedMs(spare, written)) > (await modifiedMs(counted, written))) {
    copies.unload(counted)
    copies.loadGood(found.disk, factsOf(found, footer))
    spare = counted
  }
  const { directory } = spare.disk
  log.warn({ chunkId, directory, state: spare.state }, 'another disk has this chunk too: this copy goes to quarantine')
  await retire(spare, clock.now(), spare.state === 'good' ? 'duplicate' : 'corrupt', records, log)
}

type Spare = Pick<CopyEntry, 'disk' | 'chunkId' | 'state' | 'place' | 'lengthBytes'>
/** When records in packs were written, by disk and place. */
type Written = ReadonlyMap<string, number>
const writtenKey = (disk: ChunkDisk, place: PackPlace): string => `${disk.diskId} ${place.pack} ${place.offset}`

async function modifiedMs({ disk, chunkId, place }: Spare, written: Written): Promise<number> {
  if (place) return written.get(writtenKey(disk, place)) ?? 0
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
