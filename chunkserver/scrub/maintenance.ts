/**
 * What a chunkserver does on its own to find trouble before a reader does: the inventory compares the files that are
 * there with those that should be, the scrub (scrubber.ts) reads every leaf, and the quarantine is emptied when its time is over.
 */
import { sleep } from '../../common/clock/clock.js'
import type { Clock } from '../../common/clock/clock.js'
import { isCairnError } from '../../common/errors/cairn-error.js'
import { Periodic } from '../../common/flow/periodic.js'
import type { ChunkId } from '../../common/ids.js'
import type { Logger } from '../../common/observe/logger.js'
import type { Random } from '../../common/random/random.js'
import { DAY_MS, HOUR_MS, MiB, MINUTE_MS } from '../../common/units.js'
import { isDiskTrouble, type ChunkDisk } from '../store/chunk-disk.js'
import { chunkFileBytes } from '../store/chunk-file.js'
import type { VerifyOutcome } from '../store/chunk-store.js'
import type { FileChunkStore } from '../store/file-chunk-store.js'
import { dropFromQuarantine, dropLeftovers, type QuarantineReason } from '../store/set-aside.js'
import { Pacer } from './pacer.js'
import { Scrubber } from './scrubber.js'

export interface MaintenanceOptions {
  readonly clock: Clock
  readonly random: Random
  readonly log: Logger
  readonly store: FileChunkStore
  readonly busy: () => boolean
  /** A copy was found bad or missing: the master should hear of it. */
  readonly onFinding: () => void
}

/** Between two passes over a store that one pass was quick with. */
const SCRUB_PAUSE_MS = 1 * MINUTE_MS
const INVENTORY_INTERVAL_MS = 5_000
/** Files looked at before the inventory takes a breath. */
const INVENTORY_STEP = 500
const INVENTORY_BREATH_MS = 100
const DELETED_KEPT_MS = 1 * HOUR_MS
const CORRUPT_KEPT_MS = 7 * DAY_MS
/** Below this share of free space the quarantine is emptied at once. */
const PRESSURE_SHARE = 0.1
const QUARANTINE_INTERVAL_MS = 30_000
/** At most one pack per disk each time. */
const COMPACTION_INTERVAL_MS = 10_000
const COMPACTION_BYTES_PER_SECOND = 16 * MiB

/** Ids by what became of them; `unchecked` are those whose disk is in trouble. */
export interface VerifyFindings {
  readonly good: readonly ChunkId[]
  readonly corrupt: readonly ChunkId[]
  readonly missing: readonly ChunkId[]
  readonly unchecked: readonly ChunkId[]
}

export class Maintenance {
  readonly #options: MaintenanceOptions
  readonly #jobs: readonly Periodic[]
  readonly #scrubbers: readonly Scrubber[]

  constructor(options: MaintenanceOptions) {
    this.#options = options
    const { clock } = options
    this.#scrubbers = options.store.chunkDisks.map((disk) => new Scrubber({ ...options, disk }))
    const job = (name: string, intervalMs: number, run: (signal: AbortSignal) => Promise<void>): Periodic =>
      new Periodic({
        clock,
        intervalMs: () => intervalMs,
        run,
        onError: (error) => options.log.error({ error }, `${name} failed`),
      })
    this.#jobs = [
      job('inventory', INVENTORY_INTERVAL_MS, (signal) => this.#takeInventory(signal)),
      job('scrub', SCRUB_PAUSE_MS, (signal) => this.#scrub(signal)),
      job('quarantine', QUARANTINE_INTERVAL_MS, () => this.#emptyQuarantine()),
      job('compaction', COMPACTION_INTERVAL_MS, (signal) => this.#compact(signal)),
    ]
  }

  start(): void {
    for (const job of this.#jobs) job.start({ immediately: false })
  }

  async stop(): Promise<void> {
    await Promise.all(this.#jobs.map((job) => job.stop()))
    await Promise.all(this.#scrubbers.map((scrubber) => scrubber.stop()))
  }

  /** Checks chunks on demand, unpaced. */
  async verify(chunkIds: readonly ChunkId[]): Promise<VerifyFindings> {
    const found: Record<VerifyOutcome | 'unchecked', ChunkId[]> = { good: [], corrupt: [], missing: [], unchecked: [] }
    for (const chunkId of chunkIds) found[(await this.#verifyOne(chunkId)) ?? 'unchecked'].push(chunkId)
    return found
  }

  /** One disk does not wait for another. */
  async #scrub(signal: AbortSignal): Promise<void> {
    await Promise.all(this.#scrubbers.map((scrubber) => scrubber.run(signal)))
  }

  /** Undefined when the disk says nothing now. */
  async #verifyOne(chunkId: ChunkId): Promise<VerifyOutcome | undefined> {
    try {
      const outcome = await this.#options.store.verify(chunkId, async () => undefined)
      if (outcome !== 'good') this.#options.onFinding()
      return outcome
    } catch (error) {
      // A failed disk is dealt with as such; its chunks say nothing any more.
      exceptDiskTrouble(error)
      return undefined
    }
  }

  /** Names and sizes only: finds vanished and cut files soon, at the price of a stat each. */
  async #takeInventory(signal: AbortSignal): Promise<void> {
    const { store, clock } = this.#options
    for (const disk of store.chunkDisks) if (!disk.failed) await store.packUpkeep.check(disk).catch(exceptDiskTrouble)
    let looked = 0
    for (const chunkId of [...store.chunkIds()]) {
      if (signal.aborted) return
      if (store.isPacked(chunkId)) continue
      const place = store.locate(chunkId)
      const known = store.find(chunkId)
      if (!place || !known) continue
      const disk = store.chunkDisks.find((candidate) => candidate.directory === place.dir)
      if (!disk || disk.failed) continue
      const stat = await disk.io('look', () => disk.disk.stat(place.file)).catch(() => undefined)
      if (stat?.sizeBytes !== chunkFileBytes(known.lengthBytes)) await this.#verifyOne(chunkId)
      looked += 1
      if (looked % INVENTORY_STEP === 0) await sleep(clock, INVENTORY_BREATH_MS, signal).catch(() => undefined)
    }
  }

  async #emptyQuarantine(): Promise<void> {
    for (const disk of this.#options.store.chunkDisks) if (!disk.failed) await this.#emptyOne(disk).catch(exceptDiskTrouble)
  }

  async #compact(signal: AbortSignal): Promise<void> {
    const { store, clock, busy } = this.#options
    const pacer = new Pacer({ clock, bytesPerSecond: () => COMPACTION_BYTES_PER_SECOND, busy })
    for (const disk of store.chunkDisks) {
      if (disk.failed || signal.aborted) continue
      await store.packUpkeep
        .compact(disk, (bytes) => pacer.pace(bytes, signal))
        .catch((error: unknown) => {
          // A full disk has no room for a second copy, not even for a moment.
          if (!signal.aborted && !isCairnError(error, 'DISK_FULL')) exceptDiskTrouble(error)
        })
    }
  }

  async #emptyOne(disk: ChunkDisk): Promise<void> {
    const nowMs = this.#options.clock.now()
    const { freeBytes, totalBytes } = disk.report()
    const pressed = freeBytes < totalBytes * PRESSURE_SHARE
    const keptMs = (reason: QuarantineReason): number => (reason === 'deleted' ? DELETED_KEPT_MS : CORRUPT_KEPT_MS)
    await dropLeftovers(disk)
    await dropFromQuarantine(disk, ({ sinceMs, reason }) => pressed || nowMs - sinceMs >= keptMs(reason))
  }
}

/** A disk in trouble is dealt with as such, and stops no job for the others. */
function exceptDiskTrouble(error: unknown): void {
  if (!isDiskTrouble(error)) throw error
}
