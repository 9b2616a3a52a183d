/**
 * Many bad copies at once are not many accidents: it is the disk, its mount or this machine. So copies are condemned
 * freely up to a number per minute and disk. Beyond it they wait for an inquest over a random sample: an absent or
 * foreign file system and a disk that returns rubbish go out of service as a whole, with their copies as they are; a
 * disk that is mostly sound may condemn many more before the next inquest.
 */
import type { Clock } from '../../common/clock/clock.js'
import { CairnError } from '../../common/errors/cairn-error.js'
import type { ChunkId } from '../../common/ids.js'
import type { Logger } from '../../common/observe/logger.js'
import { shuffled, type Random } from '../../common/random/random.js'
import { MINUTE_MS } from '../../common/units.js'
import { isDiskTrouble, type ChunkDisk } from './chunk-disk.js'
import type { CopyEntry } from './copy-table.js'
import type { VerifyOutcome } from './chunk-store.js'

export interface CondemnationOptions {
  readonly clock: Clock
  readonly random: Random
  readonly log: Logger
  /** Good copies of a disk, as the index has them. */
  readonly copiesOn: (disk: ChunkDisk) => readonly CopyEntry[]
  /** Looks at a copy without consequences. */
  readonly probe: (entry: CopyEntry) => Promise<VerifyOutcome>
  /** @throws `DISK_FAILED`, and takes the disk out of use, when its directory is not the one that was opened */
  readonly checkPresence: (disk: ChunkDisk) => Promise<void>
  /** Forgets all copies whose files are not there. @returns how many */
  readonly forgetMissing: (disk: ChunkDisk) => Promise<number>
  /** Looks again at copies whose condemnation had to wait. */
  readonly reconsider: (chunkIds: readonly ChunkId[]) => Promise<void>
}

/** So many in a minute are taken for accidents. */
export const CONDEMNATIONS_PER_MINUTE = 32
/** And so many more after an inquest that found the disk sound on the whole. */
const GRANTED_BY_INQUEST = 256
const SAMPLE_COPIES = 32
const WAITING_MAX = 10_000

interface DiskRecord {
  windowMs: number
  left: number
  inquest: Promise<void> | undefined
  readonly waiting: Set<ChunkId>
}

export class Condemnations {
  readonly #options: CondemnationOptions
  readonly #records = new Map<ChunkDisk, DiskRecord>()

  constructor(options: CondemnationOptions) {
    this.#options = options
  }

  /** Whether a finding may take effect now. If not, an inquest is under way, and it comes up again after that. */
  allows(entry: CopyEntry): boolean {
    const record = this.#recordOf(entry.disk)
    if (!record.inquest && record.left > 0) {
      record.left -= 1
      return true
    }
    if (record.waiting.size < WAITING_MAX) record.waiting.add(entry.chunkId)
    record.inquest ??= this.#hold(entry.disk, record)
    return false
  }

  /** Resolves when no inquest is under way. */
  async settled(): Promise<void> {
    for (const { inquest } of this.#records.values()) await inquest
  }

  #recordOf(disk: ChunkDisk): DiskRecord {
    const nowMs = this.#options.clock.monotonic()
    const known = this.#records.get(disk)
    if (known && nowMs - known.windowMs < MINUTE_MS) return known
    const record = known ?? { windowMs: nowMs, left: 0, inquest: undefined, waiting: new Set<ChunkId>() }
    record.windowMs = nowMs
    record.left = Math.max(record.left, CONDEMNATIONS_PER_MINUTE)
    this.#records.set(disk, record)
    return record
  }

  async #hold(disk: ChunkDisk, record: DiskRecord): Promise<void> {
    const { log, reconsider } = this.#options
    log.error({ directory: disk.directory, copies: disk.usage.chunkCount }, 'many copies of one disk are bad: a sample decides')
    try {
      await this.#judge(disk)
      record.left = GRANTED_BY_INQUEST
    } catch (error) {
      if (!isDiskTrouble(error)) log.error({ directory: disk.directory, error }, 'looking at a sample of copies failed')
    }
    const waiting = [...record.waiting]
    record.waiting.clear()
    record.inquest = undefined
    if (!disk.failed) await reconsider(waiting)
  }

  /** @throws `DISK_FAILED` when the disk is out of use now */
  async #judge(disk: ChunkDisk): Promise<void> {
    const { random, log, copiesOn, probe, checkPresence, forgetMissing } = this.#options
    await checkPresence(disk)
    const sample = shuffled(random, copiesOn(disk)).slice(0, SAMPLE_COPIES)
    const found = { good: 0, corrupt: 0, missing: 0 }
    for (const entry of sample) found[await probe(entry)] += 1
    if (found.missing * 2 > sample.length) {
      const count = await forgetMissing(disk)
      log.error(
        { directory: disk.directory, count },
        'most chunk files of a disk have vanished: all that are not there are given up',
      )
    } else if (found.corrupt * 2 > sample.length) {
      throw disk.fail(
        new CairnError('CHUNK_CORRUPT', `${found.corrupt} of ${sample.length} chunk files looked at read back wrong, twice over`),
      )
    } else
      log.warn({ directory: disk.directory, ...found }, 'the disk is sound on the whole: its bad copies are condemned one by one')
  }
}
