/**
 * The scrub of one disk: reads every leaf, pass after pass, past the page cache where the file system allows it. In an
 * order drawn anew for each pass, at a pace that ends it in time, standing aside for clients while it is ahead of time.
 */
import { xxh64 } from '../../common/checksum/xxh64.js'
import type { Clock } from '../../common/clock/clock.js'
import { bytesToHex, hexToBytes, type ChunkId } from '../../common/ids.js'
import type { Logger } from '../../common/observe/logger.js'
import type { Random } from '../../common/random/random.js'
import { DAY_MS, MiB, MINUTE_MS } from '../../common/units.js'
import { isDiskTrouble, type ChunkDisk } from '../store/chunk-disk.js'
import type { FileChunkStore } from '../store/file-chunk-store.js'
import { Pacer } from './pacer.js'
import { readScrubRecord, saveScrubRecord, type ScrubRecord } from './scrub-record.js'

export interface ScrubberOptions {
  readonly clock: Clock
  readonly random: Random
  readonly log: Logger
  readonly store: FileChunkStore
  readonly disk: ChunkDisk
  /** True while clients are being served. */
  readonly busy: () => boolean
  readonly onFinding: () => void
}

/** Every leaf is read within 30 days, whatever the size of the disk; the difference is for standing still, and for restarts. */
const PASS_MS = 25 * DAY_MS
const BYTES_PER_SECOND_MIN = 8 * MiB
const SAVE_INTERVAL_MS = 1 * MINUTE_MS

export class Scrubber {
  readonly #options: ScrubberOptions
  readonly #pacer: Pacer
  #record: ScrubRecord | undefined
  #savedMs = -Infinity

  constructor(options: ScrubberOptions) {
    this.#options = options
    const { clock } = options
    const busy = (): boolean => options.busy() && this.#aheadOfTime()
    this.#pacer = new Pacer({ clock, bytesPerSecond: () => this.#rate(), busy })
  }

  /** Goes on with the pass that was begun, or begins one; until its end, or until `signal` aborts. Never throws for a disk in trouble. */
  async run(signal: AbortSignal): Promise<void> {
    const { disk, log } = this.#options
    if (disk.failed) return
    try {
      const record = this.#record ?? (await readScrubRecord(disk, log)) ?? this.#fresh(undefined)
      await this.#pass(record, signal)
    } catch (error) {
      if (!isDiskTrouble(error) && !signal.aborted) throw error
    }
  }

  /** Remembers the place. */
  async stop(): Promise<void> {
    const { disk, log } = this.#options
    if (!this.#record || disk.failed) return
    await saveScrubRecord(disk, this.#record).catch((error: unknown) => {
      log.warn({ directory: disk.directory, error }, 'the place of the scrub could not be remembered')
    })
  }

  #fresh(last: ScrubRecord['progress']['last']): ScrubRecord {
    const { clock, random, disk } = this.#options
    const progress = { startedMs: clock.now(), checkedBytes: 0, totalBytes: disk.usage.chunkBytes, errors: 0 }
    return {
      formatVersion: 1,
      seed: bytesToHex(random.bytes(8)),
      position: '',
      progress: last ? { ...progress, last } : progress,
    }
  }

  async #pass(begun: ScrubRecord, signal: AbortSignal): Promise<void> {
    const { store, disk, clock } = this.#options
    this.#note(begun)
    for (const { chunkId, place } of this.#order(begun)) {
      if (signal.aborted || disk.failed) return
      const outcome = await store.verify(chunkId, (bytes) => this.#pacer.pace(bytes, signal))
      const { lengthBytes } = store.find(chunkId) ?? { lengthBytes: 0 }
      if (outcome !== 'good') this.#options.onFinding()
      this.#advance(place, lengthBytes, outcome === 'good' ? 0 : 1)
      if (clock.monotonic() - this.#savedMs >= SAVE_INTERVAL_MS) await this.#save()
    }
    const { checkedBytes, errors } = (this.#record ?? begun).progress
    this.#note(this.#fresh({ finishedMs: clock.now(), checkedBytes, errors }))
    await this.#save()
  }

  /** What is left of the pass. Chunks that came since it began are in it or in the next one. */
  #order({ seed, position }: ScrubRecord): { chunkId: ChunkId; place: string }[] {
    const { store, disk } = this.#options
    const prefix = hexToBytes(seed)
    const keyed = store.chunkIdsOn(disk).map((chunkId) => {
      const key = new Uint8Array(prefix.length + chunkId.length / 2)
      key.set(prefix)
      key.set(hexToBytes(chunkId), prefix.length)
      return { chunkId, place: xxh64(key).toString(16).padStart(16, '0') }
    })
    return keyed.filter(({ place }) => place > position).sort((one, other) => (one.place < other.place ? -1 : 1))
  }

  #advance(position: string, bytes: number, errors: number): void {
    const record = this.#record as ScrubRecord
    const { progress } = record
    const checkedBytes = progress.checkedBytes + bytes
    this.#note({
      ...record,
      position,
      progress: {
        ...progress,
        checkedBytes,
        totalBytes: Math.max(checkedBytes, this.#options.disk.usage.chunkBytes),
        errors: progress.errors + errors,
      },
    })
  }

  #note(record: ScrubRecord): void {
    this.#record = record
    this.#options.disk.scrub = record.progress
  }

  async #save(): Promise<void> {
    this.#savedMs = this.#options.clock.monotonic()
    if (this.#record) await saveScrubRecord(this.#options.disk, this.#record)
  }

  #leftMs(): number {
    const startedMs = this.#record?.progress.startedMs ?? this.#options.clock.now()
    return Math.max(0, startedMs + PASS_MS - this.#options.clock.now())
  }

  /** Enough to be done in time, at what is left of both. */
  #rate(): number {
    const { checkedBytes, totalBytes } = this.#record?.progress ?? { checkedBytes: 0, totalBytes: 0 }
    const needed = ((totalBytes - checkedBytes) * 1000) / Math.max(1 * DAY_MS, this.#leftMs())
    return Math.max(BYTES_PER_SECOND_MIN, needed)
  }

  #aheadOfTime(): boolean {
    const { checkedBytes, totalBytes } = this.#record?.progress ?? { checkedBytes: 0, totalBytes: 0 }
    return totalBytes === 0 || checkedBytes / totalBytes >= 1 - this.#leftMs() / PASS_MS
  }
}
