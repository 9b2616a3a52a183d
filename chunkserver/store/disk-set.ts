/**
 * The disks of one server: opened and locked together, left out one by one. Whatever is wrong with one of them, the
 * others serve.
 */
import { BlockPool } from '../../common/bytes/block-pool.js'
import type { Clock } from '../../common/clock/clock.js'
import type { DirectoryLock, Disk } from '../../common/disk/disk.js'
import { CairnError, messageOf, systemCode } from '../../common/errors/cairn-error.js'
import { withDeadline } from '../../common/flow/abort.js'
import { slowOnes } from '../../common/flow/outliers.js'
import type { ClusterId, ServerId } from '../../common/ids.js'
import type { Logger } from '../../common/observe/logger.js'
import type { Random } from '../../common/random/random.js'
import { SECOND_MS } from '../../common/units.js'
import { ChunkDisk, diskFull, isDiskTrouble } from './chunk-disk.js'
import {
  commonIdentity,
  holdsIdentity,
  makeLayout,
  openIdentity,
  saveIdentity,
  type DiskIdentity,
  type ServerIdentity,
} from './disk-identity.js'
import { dropFromQuarantine } from './set-aside.js'

export interface DiskSetOptions {
  readonly disk: Disk
  readonly clock: Clock
  readonly random: Random
  readonly log: Logger
  /** One data directory per disk. */
  readonly directories: readonly string[]
  /** Disk operations at once, over all disks: below the process's thread pool. */
  readonly ioConcurrency?: number
  readonly operationTimeoutMs?: number
  /** Bounds per directory; see {@link ChunkDisk}. */
  readonly capacityBytes?: number | undefined
  readonly reserveBytes?: number | undefined
}

const OPERATION_TIMEOUT_MS = 30 * SECOND_MS
const IO_CONCURRENCY = 12
/** A disk that has let an operation wait for so long gets no new chunk while another has room. */
const HANGING_MS = 1 * SECOND_MS
const SPACE_WAIT_MS = 100
/** Groups of small chunks being written at once, over all disks. */
const PACK_BLOCKS = 2

export class DiskSet {
  readonly #options: DiskSetOptions
  readonly #onFailed: (disk: ChunkDisk) => void
  readonly #disks: ChunkDisk[] = []
  readonly #identities = new Map<ChunkDisk, DiskIdentity>()
  readonly #locks: DirectoryLock[] = []
  readonly #packBlocks = new BlockPool(PACK_BLOCKS)
  #leftOut: unknown

  constructor(options: DiskSetOptions, onFailed: (disk: ChunkDisk) => void) {
    this.#options = options
    this.#onFailed = onFailed
  }

  /**
   * Locks the directories and runs `scan` on each.
   * @throws `DIRECTORY_LOCKED`, `WRONG_CLUSTER`, `SERVER_ID_CONFLICT`, `LOCAL_IO_ERROR`; what failed, when no disk that knows us is left
   */
  async open(scan: (disk: ChunkDisk) => Promise<void>): Promise<void> {
    const { clock, directories, operationTimeoutMs = OPERATION_TIMEOUT_MS } = this.#options
    for (const directory of directories) {
      const opening = (signal: AbortSignal): Promise<void> => this.#openDirectory(directory, signal)
      await this.#unlessDiskFails(directory, () => withDeadline(clock, operationTimeoutMs, `opening ${directory}`, opening))
    }
    await Promise.all(this.#disks.map((disk) => this.#unlessDiskFails(disk.directory, () => scan(disk), disk)))
    // Without a disk that knows who we are, a new server would come up beside the old one's remains.
    if (this.#leftOut === undefined || (this.usable.length > 0 && this.identity().serverId !== null)) return
    throw this.#leftOut instanceof Error ? this.#leftOut : new CairnError('DISK_FAILED', messageOf(this.#leftOut))
  }

  /** A disk in trouble is left out, and the others serve. What else is wrong with a directory is for the operator. */
  async #unlessDiskFails(directory: string, work: () => Promise<void>, disk?: ChunkDisk): Promise<void> {
    try {
      await work()
    } catch (error) {
      if (!isDiskTrouble(error)) throw error
      this.#options.log.error({ directory, error }, 'a disk cannot be used and is left out')
      this.#leftOut ??= error
      disk?.fail(error)
    }
  }

  async #openDirectory(directory: string, signal: AbortSignal): Promise<void> {
    const { disk, clock, log, random } = this.#options
    await disk.makeDirectory(directory)
    signal.throwIfAborted()
    this.#locks.push(await disk.lockDirectory(directory))
    const identity = await openIdentity(disk, directory, random)
    // It was left out when it took too long.
    signal.throwIfAborted()
    const chunkDisk = new ChunkDisk({
      disk,
      clock,
      log,
      directory,
      diskId: identity.diskId,
      concurrency: Math.max(2, Math.floor((this.#options.ioConcurrency ?? IO_CONCURRENCY) / this.#options.directories.length)),
      operationTimeoutMs: this.#options.operationTimeoutMs ?? OPERATION_TIMEOUT_MS,
      capacityBytes: this.#options.capacityBytes,
      reserveBytes: this.#options.reserveBytes,
      packBlocks: this.#packBlocks,
      onFailed: this.#onFailed,
    })
    this.#disks.push(chunkDisk)
    this.#identities.set(chunkDisk, identity)
  }

  get all(): readonly ChunkDisk[] {
    return this.#disks
  }

  get usable(): readonly ChunkDisk[] {
    return this.#disks.filter((disk) => !disk.failed)
  }

  identity(): ServerIdentity {
    return commonIdentity(
      this.#disks.map((disk) => ({ directory: disk.directory, identity: this.#identities.get(disk) as DiskIdentity })),
    )
  }

  /** Remembers in each directory which server and cluster it belongs to. */
  async settle(identity: { readonly serverId: ServerId; readonly clusterId: ClusterId }): Promise<void> {
    await Promise.all(this.usable.map((disk) => this.#settleOne(disk, identity)))
  }

  async #settleOne(disk: ChunkDisk, identity: { readonly serverId: ServerId; readonly clusterId: ClusterId }): Promise<void> {
    const before = this.#identities.get(disk) as DiskIdentity
    if (before.serverId === identity.serverId && before.clusterId === identity.clusterId) return
    const after: DiskIdentity = { ...before, ...identity }
    await disk.io('write', () => saveIdentity(this.#options.disk, disk.directory, after))
    this.#identities.set(disk, after)
  }

  /**
   * The disk for a new chunk: with the most room, among those that answer and are not far slower than the others. When all are full, quarantine gives way.
   * @throws `DISK_FULL`, `DISK_FAILED`
   */
  async choose(fileBytes: number): Promise<ChunkDisk> {
    await this.#refreshSpace()
    const answering = this.#answering
    const slow = answering.length > 1 ? slowOnes(answering, ({ latency }) => latency.typicalMs) : undefined
    const quick = slow ? answering.filter((disk) => !slow.has(disk)) : answering
    let best = mostRoom(quick, fileBytes) ?? mostRoom(answering, fileBytes) ?? mostRoom(this.usable, fileBytes)
    if (!best) {
      await Promise.all(this.#answering.map((disk) => dropFromQuarantine(disk, () => true).then(() => disk.refreshSpace(true))))
      best = mostRoom(this.usable, fileBytes)
    }
    if (best) return best
    const [first] = this.usable
    if (first) throw diskFull(first.directory, undefined)
    throw this.#disks[0]?.failed ?? new CairnError('DISK_FAILED', 'No disk of this chunkserver is in order.')
  }

  get #answering(): readonly ChunkDisk[] {
    return this.usable.filter((disk) => disk.latency.hangingMs < HANGING_MS)
  }

  /** A disk that hangs is not waited for: what is known of its space will do. */
  async #refreshSpace(): Promise<void> {
    if (!this.usable.some((disk) => disk.isSpaceStale)) return
    const refreshed = Promise.all(this.usable.map((disk) => disk.refreshSpace()))
    await withDeadline(this.#options.clock, SPACE_WAIT_MS, 'asking for free space', () => refreshed).catch(() => undefined)
  }

  /** Someone may remove directories under our feet: they are made anew. When the whole place is gone, so is the disk. */
  async inLayout<T>(disk: ChunkDisk, work: () => Promise<T>): Promise<T> {
    try {
      return await work()
    } catch (error) {
      if (systemCode(error) !== 'ENOENT') throw error
      await this.checkPresence(disk, error)
      this.#options.log.error({ directory: disk.directory, error }, 'directories have vanished and are made anew')
      await disk.io('write', () => makeLayout(disk.disk, disk.directory))
      return work()
    }
  }

  /** Whether the place is still the disk that was opened, and not an empty directory where one was mounted. @throws `DISK_FAILED` */
  async checkPresence(disk: ChunkDisk, cause: unknown): Promise<void> {
    if (!(await disk.io('look', () => holdsIdentity(disk.disk, disk.directory, disk.diskId)))) throw disk.fail(cause)
  }

  close(): void {
    for (const lock of this.#locks.splice(0)) lock.release()
  }
}

const mostRoom = (disks: readonly ChunkDisk[], fileBytes: number): ChunkDisk | undefined =>
  disks
    .filter((disk) => disk.freeBytes >= fileBytes)
    .reduce<ChunkDisk | undefined>((most, disk) => (!most || disk.freeBytes > most.freeBytes ? disk : most), undefined)
