/**
 * One data directory: its layout, its identity, its space, and the limits that keep a bad disk from harming others.
 *
 * Every operation goes through {@link ChunkDisk.io}: a bounded number at once (stuck ones otherwise use up the threads
 * that all file calls of the process share), deadlines (disk-io.ts), and errors that mean what they say: ENOSPC is a full
 * disk, EIO on a write or a sync (and any failure of a sync) is a failed one.
 */
import path from 'node:path'
import type { BlockPool } from '../../common/bytes/block-pool.js'
import type { Clock } from '../../common/clock/clock.js'
import { CairnError, isCairnError, messageOf, systemCode } from '../../common/errors/cairn-error.js'
import type { Disk, DiskFile, DiskSpace } from '../../common/disk/disk.js'
import type { ChunkId, DiskId } from '../../common/ids.js'
import type { Logger } from '../../common/observe/logger.js'
import type { DiskReport, DiskScrub } from '../../common/protocol/cluster.js'
import { GiB } from '../../common/units.js'
import { DiskIo, isHanging, type IoPurpose } from './disk-io.js'
import { DiskBandwidth } from './disk-bandwidth.js'
import type { DiskLatency } from './disk-latency.js'
import { DiskUsage } from './disk-usage.js'
import { PackLog } from './pack-log.js'

export const CHUNK_SUFFIX = '.chunk'
export const BAD_MARK_SUFFIX = '.bad'

export interface ChunkDiskOptions {
  readonly disk: Disk
  readonly clock: Clock
  readonly log: Logger
  readonly directory: string
  readonly diskId: DiskId
  /** Operations at once. */
  readonly concurrency: number
  readonly operationTimeoutMs: number
  /** Upper bound for chunk files, below what the file system has. */
  readonly capacityBytes: number | undefined
  /** Kept free, so that a full disk can still rename and delete. */
  readonly reserveBytes: number | undefined
  /** For what goes into packs. */
  readonly packBlocks: BlockPool
  /** Told once, when the disk goes out of use. */
  readonly onFailed: (disk: ChunkDisk) => void
}

const SPACE_MAX_AGE_MS = 2_000
const RESERVE_BYTES_MAX = 1 * GiB
const RESERVE_SHARE = 0.02
/** Read errors within the window that fail the whole disk rather than single chunks. */
const READ_ERRORS_MAX = 8
const READ_ERROR_WINDOW_MS = 10 * 60_000

/** Codes by which the system says that a disk itself is in trouble (broken, unplugged, turned read-only), rather than a path or a right. */
const DISK_FATAL: ReadonlySet<string> = new Set(['EIO', 'EROFS', 'ENXIO', 'ENODEV', 'EUCLEAN', 'ESTALE', 'EREMOTEIO'])

/** Whether it is the disk that is in trouble, not what was asked of it. */
export const isDiskTrouble = (error: unknown): boolean =>
  isCairnError(error, 'DISK_FAILED', 'DISK_HANGS', 'TIMEOUT') || DISK_FATAL.has(systemCode(error) ?? '')

export class ChunkDisk {
  readonly diskId: DiskId
  readonly directory: string
  readonly disk: Disk
  /** Kept by the store. */
  readonly usage = new DiskUsage()
  /** The small chunks. */
  readonly packs: PackLog
  /** Temporary files that could not be removed when their writers ended. */
  readonly leftovers = new Set<string>()
  /** Kept by the scrub. */
  scrub: DiskScrub | undefined
  readonly #options: ChunkDiskOptions
  readonly #io: DiskIo
  readonly #bandwidth: DiskBandwidth
  #failure: CairnError | undefined
  #space: DiskSpace = { totalBytes: 0, freeBytes: 0 }
  #spaceMs = -Infinity
  #reservedBytes = 0
  #fullUntilMs = -Infinity
  #readErrors: number[] = []
  readonly #directorySyncs = new Map<string, Promise<void>>()

  constructor(options: ChunkDiskOptions) {
    this.#options = options
    this.disk = options.disk
    this.diskId = options.diskId
    this.directory = options.directory
    const { clock, directory, concurrency, operationTimeoutMs } = options
    this.#io = new DiskIo({
      clock,
      directory,
      concurrency,
      timeoutMs: operationTimeoutMs,
      onTimeout: (error) => this.fail(error),
    })
    this.#bandwidth = new DiskBandwidth(this.#io.latency)
    this.packs = new PackLog(this, clock, options.packBlocks)
  }

  chunkPath(chunkId: ChunkId): string {
    return path.join(this.shardDirectory(chunkId), `${chunkId}${CHUNK_SUFFIX}`)
  }

  /** Its presence says that the chunk file beside it was found to be bad: a restart must not make it count again. */
  badMarkPath(chunkId: ChunkId): string {
    return path.join(this.shardDirectory(chunkId), `${chunkId}${BAD_MARK_SUFFIX}`)
  }

  shardDirectory(chunkId: ChunkId): string {
    return path.join(this.directory, 'chunks', chunkId.slice(0, 2))
  }

  get temporaryDirectory(): string {
    return path.join(this.directory, 'tmp')
  }

  get quarantineDirectory(): string {
    return path.join(this.directory, 'quarantine')
  }

  /** What it can move per second, as far as is known. */
  get bytesPerSecond(): number {
    return this.#bandwidth.bytesPerSecond
  }

  /** Chunk bytes have been read from it or written to it. */
  moved(bytes: number): void {
    this.#bandwidth.moved(bytes)
  }

  get latency(): DiskLatency {
    return this.#io.latency
  }

  get failed(): CairnError | undefined {
    return this.#failure
  }

  /** Takes the disk out of use for as long as the process runs. */
  fail(error: unknown): CairnError {
    if (this.#failure) return this.#failure
    this.#failure = new CairnError(
      'DISK_FAILED',
      `The disk at ${this.directory} has failed (${messageOf(error)}) and is out of use. Its chunks are rebuilt elsewhere.`,
      { cause: error },
    )
    const copies = this.usage.chunkCount
    this.#options.log.error(
      { directory: this.directory, diskId: this.diskId, copies, error },
      'a disk has failed and is out of use',
    )
    this.#options.onFailed(this)
    return this.#failure
  }

  /**
   * Runs one operation on this disk within its limits.
   * @throws `DISK_HANGS`, `DISK_FAILED`, `DISK_FULL`, or the system's error for reads
   */
  async io<T>(purpose: IoPurpose, work: () => Promise<T>): Promise<T> {
    if (this.#failure) throw this.#failure
    try {
      return await this.#io.run(purpose, () => (this.#failure ? Promise.reject(this.#failure) : work()))
    } catch (error) {
      throw this.#explain(purpose, error)
    }
  }

  /** Never rejects. On a disk that hangs, closing would take one more thread that does not come back. */
  async closeFile(file: DiskFile): Promise<void> {
    if (!this.#failure) return this.io('look', () => file.close()).catch(() => undefined)
    if (!isCairnError(this.#failure.cause, 'TIMEOUT')) await file.close().catch(() => undefined)
  }

  #explain(purpose: IoPurpose, error: unknown): unknown {
    if (isCairnError(error)) return error
    const code = systemCode(error)
    if (code === 'ENOSPC' || code === 'EDQUOT') {
      this.#fullUntilMs = this.#options.clock.monotonic() + SPACE_MAX_AGE_MS
      return diskFull(this.directory, error)
    }
    if (purpose === 'sync' || (purpose === 'write' && (code === undefined || DISK_FATAL.has(code)))) return this.fail(error)
    if (code === 'EIO') this.#countReadError(error)
    return error
  }

  #countReadError(error: unknown): void {
    const nowMs = this.#options.clock.monotonic()
    this.#readErrors = [...this.#readErrors.filter((atMs) => nowMs - atMs < READ_ERROR_WINDOW_MS), nowMs]
    if (this.#readErrors.length >= READ_ERRORS_MAX) this.fail(error)
  }

  /** Makes a directory's entries durable. Calls that wait for the same directory share one sync. */
  async syncDirectory(directory: string): Promise<void> {
    const waiting = this.#directorySyncs.get(directory)
    if (waiting) return waiting
    const sync = Promise.resolve().then(() => {
      // From here on the sync may have begun: whoever comes later needs another.
      this.#directorySyncs.delete(directory)
      return this.io('sync', () => this.disk.syncDirectory(directory))
    })
    this.#directorySyncs.set(directory, sync)
    return sync
  }

  /** Whether what is known of its free space is too old. */
  get isSpaceStale(): boolean {
    return this.#options.clock.monotonic() - this.#spaceMs >= SPACE_MAX_AGE_MS
  }

  async refreshSpace(now = false): Promise<void> {
    if ((!now && !this.isSpaceStale) || this.#failure) return
    this.#spaceMs = this.#options.clock.monotonic()
    this.#space = await this.io('look', () => this.disk.space(this.directory)).catch((error: unknown) => {
      // One that hangs is given up by its deadline, if at all.
      if (isHanging(error)) return this.#space
      this.fail(error)
      return { totalBytes: this.#space.totalBytes, freeBytes: 0 }
    })
  }

  /** What may still be promised to new chunks. */
  get freeBytes(): number {
    if (this.#failure || this.#options.clock.monotonic() < this.#fullUntilMs) return 0
    const reserve = this.#options.reserveBytes ?? Math.min(RESERVE_BYTES_MAX, this.#space.totalBytes * RESERVE_SHARE)
    const byFileSystem = this.#space.freeBytes - reserve
    const byCapacity = this.#options.capacityBytes === undefined ? Infinity : this.#options.capacityBytes - this.#keptBytes
    return Math.max(0, Math.floor(Math.min(byFileSystem, byCapacity) - this.#reservedBytes))
  }

  /** All but what is being written, for which room is set aside. */
  get #keptBytes(): number {
    const { chunkBytes, corrupt, quarantine, packGarbageBytes } = this.usage
    return chunkBytes + corrupt.totalBytes + quarantine.totalBytes + packGarbageBytes
  }

  /** Sets room aside for a chunk being written. @throws `DISK_FULL` */
  reserve(bytes: number): { release(): void } {
    if (this.freeBytes < bytes) throw diskFull(this.directory, undefined)
    this.#reservedBytes += bytes
    let held = true
    return {
      release: () => {
        if (held) this.#reservedBytes -= bytes
        held = false
      },
    }
  }

  report(): DiskReport {
    const { totalBytes } = this.#space
    const latencyMs = this.latency.typicalMs
    return {
      diskId: this.diskId,
      path: this.directory,
      state: this.#failure ? 'failed' : this.freeBytes > 0 ? 'ok' : 'full',
      totalBytes: this.#options.capacityBytes === undefined ? totalBytes : Math.min(totalBytes, this.#options.capacityBytes),
      freeBytes: this.freeBytes,
      usedBytes: this.usage.chunkBytes,
      chunkCount: this.usage.chunkCount,
      corruptBytes: this.usage.corrupt.totalBytes,
      // What is gone from packs waits there as other copies do in quarantine.
      quarantineBytes: this.usage.quarantine.totalBytes + this.usage.packGarbageBytes,
      temporaryBytes: this.usage.temporary.totalBytes,
      ...(this.#failure ? { reason: this.#failure.message } : {}),
      ...(latencyMs === undefined ? {} : { latencyMs }),
      ...(this.scrub ? { scrub: this.scrub } : {}),
    }
  }
}

export const diskFull = (directory: string, cause: unknown): CairnError =>
  new CairnError(
    'DISK_FULL',
    `The disk at ${directory} has no room for this chunk. Add disks or servers, or remove files with --purge.`,
    cause === undefined ? {} : { cause },
  )
