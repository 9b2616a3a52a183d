/**
 * A good copy takes the place of a bad one. The bad one is moved out of the way first, durably, and as `replaced` until
 * the good one is durable: should the machine stop in between, the next start puts it back.
 */
import path from 'node:path'
import type { BlockPool } from '../../common/bytes/block-pool.js'
import type { Clock } from '../../common/clock/clock.js'
import type { Logger } from '../../common/observe/logger.js'
import { isDiskTrouble } from './chunk-disk.js'
import type { CopyEntry, CopyTable } from './copy-table.js'
import { isPacked } from './packed-read.js'
import { leaveMark, retire, settleReplaced, toQuarantine, unlessMissing } from './set-aside.js'

export interface ReplacementOptions {
  readonly clock: Clock
  readonly log: Logger
}

export class Replacement {
  readonly #entry: CopyEntry
  readonly #copies: CopyTable
  readonly #options: ReplacementOptions
  /** Name in quarantine; undefined when the bad file had vanished, or its disk cannot be worked with. */
  readonly #name: string | undefined
  readonly #buffers: BlockPool

  private constructor(
    entry: CopyEntry,
    copies: CopyTable,
    options: ReplacementOptions,
    name: string | undefined,
    buffers: BlockPool,
  ) {
    this.#entry = entry
    this.#copies = copies
    this.#options = options
    this.#name = name
    this.#buffers = buffers
  }

  /** @param buffers blocks with room for a record */
  static async begin(entry: CopyEntry, copies: CopyTable, buffers: BlockPool, options: ReplacementOptions): Promise<Replacement> {
    // A record in a pack stands in nobody's way: it goes when the good copy is there.
    if (isPacked(entry)) return new Replacement(entry, copies, options, undefined, buffers)
    const name = await toQuarantine(entry, options.clock.now(), 'replaced').catch(ignoringTrouble)
    copies.displace(entry)
    return new Replacement(entry, copies, options, name, buffers)
  }

  async finish(): Promise<void> {
    const { disk, chunkId } = this.#entry
    if (isPacked(this.#entry)) return this.#retirePacked(this.#entry)
    if (this.#name === undefined) return
    await settleReplaced(disk, this.#name).catch((error: unknown) => {
      this.#options.log.warn({ chunkId, error }, 'a replaced copy could not be renamed in quarantine')
    })
  }

  /** Should it not come about: the next start finds two copies, and counts the good one. */
  async #retirePacked(entry: CopyEntry): Promise<void> {
    const { clock, log } = this.#options
    this.#copies.displace(entry)
    await retire(entry, clock.now(), 'corrupt', this.#buffers, log).catch((error: unknown) => {
      log.warn({ chunkId: entry.chunkId, error }, 'a replaced copy could not be dropped from its pack')
    })
  }

  /** The new copy did not come about: the bad one is the best there is. */
  async undo(): Promise<void> {
    const { disk, chunkId } = this.#entry
    const name = this.#name
    if (name === undefined || disk.failed) return
    const kept = path.join(disk.quarantineDirectory, name)
    try {
      if (!(await unlessMissing(disk.io('write', () => disk.disk.rename(kept, disk.chunkPath(chunkId)))))) return
      disk.usage.quarantine.delete(name)
      await leaveMark(this.#entry, new Error('found bad before, and not replaced'), this.#copies, this.#options.log)
    } catch (error) {
      this.#options.log.warn({ chunkId, error }, 'a bad copy could not be put back')
    }
  }
}

/** The bad copy's disk may be the one that fails: that must not stand in the way of the good one. */
function ignoringTrouble(error: unknown): undefined {
  if (!isDiskTrouble(error)) throw error
  return undefined
}
