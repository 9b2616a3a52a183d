/**
 * What the packs of a disk need from time to time: a look whether they are all there, and compaction, which gives back the
 * room of what is gone. A pack is removed only when what counts in it is durable in another one, and what its lists say of
 * other packs too.
 */
import type { BlockPool } from '../../common/bytes/block-pool.js'
import type { KeyedMutex } from '../../common/flow/keyed-mutex.js'
import { isCairnError } from '../../common/errors/cairn-error.js'
import type { ChunkId } from '../../common/ids.js'
import type { Logger } from '../../common/observe/logger.js'
import type { ChunkDisk } from './chunk-disk.js'
import { copyBytes, type CopyEntry, type CopyTable } from './copy-table.js'
import type { Pack } from './pack-log.js'
import { isPacked, readPacked, type PackedEntry } from './packed-read.js'

export interface PackUpkeepOptions {
  readonly copies: CopyTable
  /** Whoever publishes or removes a copy of a chunk holds its lock. */
  readonly publishing: KeyedMutex<ChunkId>
  readonly records: BlockPool
  readonly log: Logger
  /** Looks at a copy that may be bad or missing, and draws the consequences. */
  readonly verify: (chunkId: ChunkId) => Promise<unknown>
}

/** A pack of which no more than this part counts is worth copying the rest. */
const LIVE_SHARE_MAX = 0.5
/** Copied at once, so that they share writes and syncs. */
const MOVES_AT_ONCE = 16

type PackedCopyEntry = CopyEntry & PackedEntry

export class PackUpkeep {
  readonly #options: PackUpkeepOptions

  constructor(options: PackUpkeepOptions) {
    this.#options = options
  }

  /** Names and sizes only: finds packs that someone has taken away or cut. */
  async check(disk: ChunkDisk): Promise<void> {
    for (const pack of [...disk.packs.packs.values()]) {
      const stat = await disk.io('look', () => disk.disk.stat(disk.packs.pathOf(pack.number)))
      if (stat && stat.sizeBytes >= pack.sizeBytes) continue
      const entries = this.#entriesIn(disk, pack)
      if (!stat) {
        this.#options.log.error({ directory: disk.directory, pack: pack.number }, 'a pack has vanished')
        await disk.packs.forget(pack)
      }
      const lost = entries.filter(
        ({ place, ...entry }) => !stat || place.offset + copyBytes({ ...entry, place }) > stat.sizeBytes,
      )
      for (const { chunkId } of lost) await this.#options.verify(chunkId)
    }
  }

  /** Copies what counts in one pack that is mostly garbage, and removes it. @param pace called before each copy, to go slowly */
  async compact(disk: ChunkDisk, pace: (bytes: number) => Promise<void>): Promise<void> {
    for (const pack of [...disk.packs.packs.values()]) {
      if (pack.isDamaged || pack.number === disk.packs.activeNumber) continue
      const entries = this.#entriesIn(disk, pack)
      const liveBytes = entries.reduce((sum, entry) => sum + copyBytes(entry), 0)
      // A bad copy is kept where it is as long as there is none that could take its place.
      const isWorthIt = liveBytes <= pack.sizeBytes * LIVE_SHARE_MAX && entries.every(({ state }) => state === 'good')
      if (!isWorthIt) continue
      await this.#moveAll(disk, entries, pace)
      if (this.#entriesIn(disk, pack).length > 0) return
      await this.#carryLists(disk, pack)
      await disk.packs.remove(pack)
      this.#options.log.info({ directory: disk.directory, pack: pack.number, liveBytes }, 'a pack was compacted')
      return
    }
  }

  #entriesIn(disk: ChunkDisk, pack: Pack): PackedCopyEntry[] {
    const out: PackedCopyEntry[] = []
    for (const entry of this.#options.copies.index.entries())
      if (entry.disk === disk && isPacked(entry) && entry.place.pack === pack.number) out.push(entry)
    return out
  }

  async #moveAll(disk: ChunkDisk, entries: readonly PackedCopyEntry[], pace: (bytes: number) => Promise<void>): Promise<void> {
    for (let at = 0; at < entries.length; at += MOVES_AT_ONCE) {
      const some = entries.slice(at, at + MOVES_AT_ONCE)
      await pace(some.reduce((sum, entry) => sum + copyBytes(entry), 0))
      await Promise.all(some.map((entry) => this.#options.publishing.run(entry.chunkId, () => this.#move(disk, entry))))
    }
  }

  async #move(disk: ChunkDisk, entry: PackedCopyEntry): Promise<void> {
    const { copies, records, verify } = this.#options
    if (!copies.isPresent(entry)) return
    const copy = await readPacked(entry, records).catch((error: unknown) => {
      if (!isCairnError(error, 'CHUNK_CORRUPT')) throw error
      return undefined
    })
    // It is looked at in the usual way, and the pack stays until that has been settled.
    if (!copy?.isSound) return void (await verify(entry.chunkId))
    const reservation = disk.reserve(copyBytes(entry))
    try {
      const place = await disk.packs.append(copy.chunk, copy.data)
      if (!copies.move(entry, place)) await disk.packs.drop([{ ...place, chunkId: entry.chunkId }])
    } finally {
      reservation.release()
    }
  }

  async #carryLists(disk: ChunkDisk, pack: Pack): Promise<void> {
    const needed = pack.gone.filter((gone) => gone.pack !== pack.number && disk.packs.packs.has(gone.pack))
    await disk.packs.drop(needed)
  }
}
