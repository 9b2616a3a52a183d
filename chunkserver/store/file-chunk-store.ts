/**
 * Chunks as files on one or more disks, one file each.
 *
 * Invariants: a chunk is in the index only once its file is synced under its final name; a bad copy stays where it is,
 * readable leaf by leaf, until it is removed or replaced, and then goes to quarantine (a file beside it says over restarts
 * that it is bad); nothing is ever overwritten in place.
 */
import path from 'node:path'
import { BlockPool } from '../../common/bytes/block-pool.js'
import { LEAF_BYTES, leafCount } from '../../common/checksum/tree.js'
import type { IdSetDigest } from '../../common/checksum/id-set-digest.js'
import type { Clock } from '../../common/clock/clock.js'
import type { DirectoryLock, Disk } from '../../common/disk/disk.js'
import { CairnError, isCairnError, messageOf, systemCode } from '../../common/errors/cairn-error.js'
import { KeyedMutex } from '../../common/flow/keyed-mutex.js'
import type { ChunkId } from '../../common/ids.js'
import type { Logger } from '../../common/observe/logger.js'
import type { ChunkLocation } from '../../common/protocol/chunk-data.js'
import type { DiskReport, StoreChange } from '../../common/protocol/cluster.js'
import type { Random } from '../../common/random/random.js'
import { KiB, SECOND_MS } from '../../common/units.js'
import { ChunkDisk, diskFull, isDiskTrouble } from './chunk-disk.js'
import { ChunkFileReader, readFooter } from './chunk-file-reader.js'
import { ChunkFileWriter, ComparingWriter, type WriterHooks } from './chunk-file-writer.js'
import { chunkFileBytes } from './chunk-file.js'
import { ChunkIndex, type IndexEntry } from './chunk-index.js'
import type { ChunkReader, ChunkStore, ChunkWriter, NewChunk, StoredChunk, VerifyOutcome } from './chunk-store.js'
import {
  commonIdentity,
  isStillThere,
  makeLayout,
  openIdentity,
  saveIdentity,
  type DiskIdentity,
  type ServerIdentity,
} from './disk-identity.js'
import { leaveMark, toQuarantine } from './set-aside.js'
import { scanDisk } from './startup-scan.js'

export interface FileChunkStoreOptions {
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

const FOOTER_BUFFERS = 32
/** Chunks verified at once. */
const VERIFY_BUFFERS = 2
/** The largest footer: 1024 leaves. */
const FOOTER_BUFFER_BYTES = 16 * KiB
const OPERATION_TIMEOUT_MS = 30 * SECOND_MS
const IO_CONCURRENCY = 12

type Entry = IndexEntry<ChunkDisk>

export class FileChunkStore implements ChunkStore {
  readonly #options: FileChunkStoreOptions
  readonly #disks: ChunkDisk[] = []
  readonly #identities = new Map<ChunkDisk, DiskIdentity>()
  readonly #locks: DirectoryLock[] = []
  readonly #index = new ChunkIndex<ChunkDisk>()
  readonly #footers = new BlockPool(FOOTER_BUFFERS, FOOTER_BUFFER_BYTES)
  readonly #verifying = new BlockPool(VERIFY_BUFFERS)
  readonly #publishing = new KeyedMutex<ChunkId>()
  #names = 0
  #leftOut: unknown

  private constructor(options: FileChunkStoreOptions) {
    this.#options = options
  }

  /** Locks and scans the directories. @throws `DIRECTORY_LOCKED`, `WRONG_CLUSTER`, `SERVER_ID_CONFLICT`, `LOCAL_IO_ERROR` */
  static async open(options: FileChunkStoreOptions): Promise<FileChunkStore> {
    const store = new FileChunkStore(options)
    try {
      for (const directory of options.directories) await store.#unlessDiskFails(directory, () => store.#openDirectory(directory))
      await Promise.all(store.#disks.map((disk) => store.#unlessDiskFails(disk.directory, () => store.#scan(disk), disk)))
      store.#expectUsable()
    } catch (error) {
      await store.close()
      throw error
    }
    return store
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

  /** Without a disk that knows who we are, a new server would come up beside the old one's remains. @throws what failed */
  #expectUsable(): void {
    if (this.#leftOut === undefined || (this.usableDirectories.length > 0 && this.identity().serverId !== null)) return
    throw this.#leftOut instanceof Error ? this.#leftOut : new CairnError('DISK_FAILED', messageOf(this.#leftOut))
  }

  async #openDirectory(directory: string): Promise<void> {
    const { disk, clock, log, random } = this.#options
    await disk.makeDirectory(directory)
    this.#locks.push(await disk.lockDirectory(directory))
    const identity = await openIdentity(disk, directory, random)
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
    })
    this.#disks.push(chunkDisk)
    this.#identities.set(chunkDisk, identity)
  }

  async #scan(disk: ChunkDisk): Promise<void> {
    await disk.refreshSpace()
    const onWhole = (_disk: ChunkDisk, footer: Pick<StoredChunk, 'chunkId' | 'lengthBytes' | 'root'>): void => {
      // The same chunk on two disks of one server: one good copy is enough, and only one can be counted.
      if (this.#index.get(footer.chunkId)?.state === 'good') return
      this.#index.load({ chunkId: footer.chunkId, disk, lengthBytes: footer.lengthBytes, root: footer.root })
      this.#account(disk, footer.lengthBytes, 1)
    }
    const onDamaged = (_disk: ChunkDisk, chunkId: ChunkId): void => this.#index.loadCorrupt(chunkId, disk)
    const onMarked = (_disk: ChunkDisk, footer: Pick<StoredChunk, 'chunkId' | 'lengthBytes' | 'root'>): void =>
      this.#index.loadCorrupt(footer.chunkId, disk, footer)
    await scanDisk(disk, this.#footers, { onWhole, onDamaged, onMarked }, this.#options.log)
  }

  identity(): ServerIdentity {
    return commonIdentity(
      this.#disks.map((disk) => ({ directory: disk.directory, identity: this.#identities.get(disk) as DiskIdentity })),
    )
  }

  /** Remembers in each directory which server and cluster it belongs to. */
  async settle(identity: {
    readonly serverId: NonNullable<ServerIdentity['serverId']>
    readonly clusterId: NonNullable<ServerIdentity['clusterId']>
  }): Promise<void> {
    for (const disk of this.#disks) {
      const before = this.#identities.get(disk) as DiskIdentity
      if (before.serverId === identity.serverId && before.clusterId === identity.clusterId) continue
      const after: DiskIdentity = { ...before, ...identity }
      await saveIdentity(this.#options.disk, disk.directory, after)
      this.#identities.set(disk, after)
    }
  }

  async create(chunk: NewChunk): Promise<ChunkWriter> {
    const existing = this.#index.get(chunk.chunkId)
    if (existing?.state === 'good') return new ComparingWriter(chunk.lengthBytes, (root) => this.#sameBytes(chunk.chunkId, root))
    const disk = await this.#chooseDisk(chunk.lengthBytes)
    const reservation = disk.reserve(chunkFileBytes(chunk.lengthBytes))
    try {
      const name = `${chunk.chunkId}.${(this.#names += 1)}`
      const hooks: WriterHooks = {
        publish: (temporary, root) => this.#publishing.run(chunk.chunkId, () => this.#publish(disk, chunk, temporary, root)),
        ended: () => reservation.release(),
      }
      return await this.#inLayout(disk, () => ChunkFileWriter.open(disk, chunk, name, this.#footers, hooks))
    } catch (error) {
      reservation.release()
      throw error
    }
  }

  /** Someone may remove directories under our feet: they are made anew. When the whole place is gone, so is the disk. */
  async #inLayout<T>(disk: ChunkDisk, work: () => Promise<T>): Promise<T> {
    try {
      return await work()
    } catch (error) {
      if (systemCode(error) !== 'ENOENT') throw error
      if (!(await disk.io('read', () => isStillThere(disk.disk, disk.directory)))) throw disk.fail(error)
      this.#options.log.error({ directory: disk.directory, error }, 'directories have vanished and are made anew')
      await disk.io('write', () => makeLayout(disk.disk, disk.directory))
      return work()
    }
  }

  /** The disk with the most room. @throws `DISK_FULL`, `DISK_FAILED` */
  async #chooseDisk(lengthBytes: number): Promise<ChunkDisk> {
    await Promise.all(this.#disks.map((disk) => disk.refreshSpace()))
    const usable = this.#disks.filter((disk) => !disk.failed)
    const best = usable.reduce<ChunkDisk | undefined>(
      (most, disk) => (!most || disk.freeBytes > most.freeBytes ? disk : most),
      undefined,
    )
    if (!best) throw this.#disks[0]?.failed ?? new CairnError('DISK_FAILED', 'No disk of this chunkserver is in order.')
    if (best.freeBytes < chunkFileBytes(lengthBytes)) throw diskFull(best.directory, undefined)
    return best
  }

  #sameBytes(chunkId: ChunkId, root: StoredChunk['root']): StoredChunk {
    const entry = this.#index.get(chunkId)
    if (entry?.state === 'good' && entry.root === root) return this.#index.toStored(entry)
    throw new CairnError(
      'CHUNK_EXISTS',
      `Chunk ${chunkId} holds other bytes here. Chunks are immutable: changed bytes take a new chunk.`,
    )
  }

  async #publish(disk: ChunkDisk, chunk: NewChunk, temporary: string, root: StoredChunk['root']): Promise<StoredChunk> {
    const { chunkId, lengthBytes } = chunk
    const existing = this.#index.get(chunkId)
    if (existing?.state === 'good') {
      // Another writer of the same chunk was faster.
      const stored = this.#sameBytes(chunkId, root)
      await disk.io('write', () => disk.disk.remove(temporary))
      return stored
    }
    if (existing) await toQuarantine(existing, this.#options.clock.now())
    const target = disk.chunkPath(chunkId)
    await this.#inLayout(disk, () => disk.io('write', () => disk.disk.rename(temporary, target)))
    await disk.syncDirectory(path.dirname(target))
    this.#account(disk, lengthBytes, 1)
    return this.#index.add({ chunkId, disk, lengthBytes, root })
  }

  async open(chunkId: ChunkId): Promise<ChunkReader> {
    const entry = this.#index.get(chunkId)
    if (!entry) throw new CairnError('CHUNK_NOT_FOUND', `This chunkserver does not hold chunk ${chunkId}.`)
    const { disk } = entry
    let file
    try {
      file = await disk.io('read', () => disk.disk.openFile(disk.chunkPath(chunkId), { mode: 'read', direct: true }))
    } catch (error) {
      throw this.#lostFile(entry, error)
    }
    try {
      const footer = await readFooter(disk, file, chunkId, this.#footers)
      return new ChunkFileReader(disk, file, footer, (damage) => this.#markCorrupt(entry, damage))
    } catch (error) {
      await file.close()
      if (isCairnError(error, 'CHUNK_CORRUPT')) this.#markCorrupt(entry, error)
      throw error
    }
  }

  /** A file that is not there any more is no copy; one that cannot be opened is a bad one. */
  #lostFile(entry: Entry, error: unknown): CairnError {
    if (isCairnError(error)) return error
    const { chunkId } = entry
    if (systemCode(error) === 'ENOENT') {
      this.#forget(entry)
      return new CairnError('CHUNK_NOT_FOUND', `The file of chunk ${chunkId} has vanished from this chunkserver.`, {
        cause: error,
      })
    }
    const damage = new CairnError('CHUNK_CORRUPT', `The file of chunk ${chunkId} cannot be opened here.`, { cause: error })
    this.#markCorrupt(entry, damage)
    return damage
  }

  #markCorrupt(entry: Entry, damage: CairnError): void {
    const current = this.#index.get(entry.chunkId)
    if (current?.state !== 'good' || current.sequence !== entry.sequence) return
    this.#options.log.error(
      { chunkId: entry.chunkId, directory: entry.disk.directory, reason: damage.message },
      'a copy is damaged and set aside',
    )
    this.#index.markCorrupt(entry.chunkId)
    this.#account(entry.disk, entry.lengthBytes, -1)
    // Not while the copy is being replaced or removed: the mark would outlive it.
    void this.#publishing.run(entry.chunkId, async () => {
      if (this.#index.get(entry.chunkId)?.state === 'corrupt') await leaveMark(entry, damage, this.#options.log)
    })
  }

  #forget(entry: Entry): void {
    if (this.#index.get(entry.chunkId)?.sequence !== entry.sequence) return
    this.#options.log.error({ chunkId: entry.chunkId, directory: entry.disk.directory }, 'a chunk file has vanished')
    this.#index.remove(entry.chunkId)
    this.#account(entry.disk, entry.lengthBytes, -1)
  }

  find(chunkId: ChunkId): StoredChunk | undefined {
    const entry = this.#index.get(chunkId)
    return entry?.state === 'good' ? this.#index.toStored(entry) : undefined
  }

  async verify(chunkId: ChunkId, pace: (bytes: number) => Promise<void>): Promise<VerifyOutcome> {
    try {
      const reader = await this.open(chunkId)
      try {
        await this.#verifyLeaves(reader, pace)
      } finally {
        await reader.close()
      }
      return 'good'
    } catch (error) {
      if (isCairnError(error, 'CHUNK_CORRUPT')) return 'corrupt'
      if (isCairnError(error, 'CHUNK_NOT_FOUND')) return 'missing'
      throw error
    }
  }

  async #verifyLeaves(reader: ChunkReader, pace: (bytes: number) => Promise<void>): Promise<void> {
    const block = await this.#verifying.acquire()
    try {
      for (let leaf = 0; leaf < leafCount(reader.lengthBytes); leaf += 1) {
        await pace(LEAF_BYTES)
        await reader.readLeaf(leaf, block.bytes)
      }
    } finally {
      block.release()
    }
  }

  remove(chunkId: ChunkId): Promise<void> {
    // Not while it is being published: a receipt would be given for a copy on its way out.
    return this.#publishing.run(chunkId, async () => {
      const entry = this.#index.get(chunkId)
      if (entry) await toQuarantine(entry, this.#options.clock.now())
      // Meanwhile it may have been found bad, and then is not counted any more.
      if (this.#index.get(chunkId)?.state === 'good') this.#account((entry as Entry).disk, (entry as Entry).lengthBytes, -1)
      this.#index.remove(chunkId)
    })
  }

  #account(disk: ChunkDisk, lengthBytes: number, by: 1 | -1): void {
    disk.usedBytes += by * chunkFileBytes(lengthBytes)
    disk.chunkCount += by
  }

  locate(chunkId: ChunkId): ChunkLocation | undefined {
    const entry = this.#index.get(chunkId)
    if (!entry) return undefined
    return { dir: entry.disk.directory, file: entry.disk.chunkPath(chunkId), offset: 0, lengthBytes: entry.lengthBytes }
  }

  *chunkIds(): Iterable<ChunkId> {
    for (const entry of this.#index.entries()) if (entry.state === 'good') yield entry.chunkId
  }

  listShard(shard: number): StoredChunk[] {
    return this.#index.listShard(shard)
  }

  digestOf(shard: number): IdSetDigest {
    return this.#index.digestOf(shard)
  }

  startSequence(first: number): void {
    this.#index.startSequence(first)
  }

  get sequence(): number {
    return this.#index.sequence
  }

  pendingChanges(limit: number): readonly StoreChange[] {
    return this.#index.pendingChanges(limit)
  }

  acknowledge(sequence: number): void {
    this.#index.acknowledge(sequence)
  }

  /** The disks, for the jobs that walk over their files. */
  get chunkDisks(): readonly ChunkDisk[] {
    return this.#disks
  }

  /** The directories of disks that are in use. */
  get usableDirectories(): string[] {
    return this.#disks.filter((disk) => !disk.failed).map((disk) => disk.directory)
  }

  disks(): DiskReport[] {
    for (const disk of this.#disks) void disk.refreshSpace()
    return this.#disks.map((disk) => disk.report())
  }

  async close(): Promise<void> {
    for (const lock of this.#locks.splice(0)) lock.release()
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close()
  }
}
