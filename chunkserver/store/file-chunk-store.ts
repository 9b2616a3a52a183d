/**
 * Chunks on one or more disks: large ones as files, one each; small ones in packs (pack-log.ts), many to a file.
 *
 * Invariants: a chunk is in the index only once its file is synced under its final name; a bad copy stays where it is,
 * readable leaf by leaf, until it is removed or replaced, and then goes to quarantine (a file beside it says over restarts
 * that it is bad); nothing is ever overwritten in place.
 */
import path from 'node:path'
import { BlockPool } from '../../common/bytes/block-pool.js'
import { LEAF_BYTES, leafCount } from '../../common/checksum/tree.js'
import type { IdSetDigest } from '../../common/checksum/id-set-digest.js'
import { CairnError, isCairnError, systemCode } from '../../common/errors/cairn-error.js'
import { KeyedMutex } from '../../common/flow/keyed-mutex.js'
import type { ChunkId, ClusterId, ServerId } from '../../common/ids.js'
import type { ChunkLocation } from '../../common/protocol/chunk-data.js'
import type { DiskReport, StoreChange } from '../../common/protocol/cluster.js'
import type { ChunkDisk } from './chunk-disk.js'
import { ChunkFileWriter, ComparingWriter, type WriterHooks } from './chunk-file-writer.js'
import { chunkFileBytes, type ChunkFooter } from './chunk-file.js'
import type { ChunkReader, ChunkStore, ChunkWriter, NewChunk, StoredChunk, VerifyOutcome } from './chunk-store.js'
import { Condemnations } from './condemnations.js'
import { CopyTable, type CopyEntry } from './copy-table.js'
import type { ServerIdentity } from './disk-identity.js'
import { withBlock } from './disk-io.js'
import { copyBuffers, openCopy } from './open-copy.js'
import { DiskSet, type DiskSetOptions } from './disk-set.js'
import { PACK_HEADER_BYTES, PACKED_CHUNK_BYTES_MAX, packRecordBytes, type PackPlace } from './pack-record.js'
import { PackUpkeep } from './pack-upkeep.js'
import { PackedChunkWriter } from './packed-chunk.js'
import { isPacked } from './packed-read.js'
import { dropMark, leaveMark, retire } from './set-aside.js'
import { Replacement } from './replacement.js'
import { loadCopies } from './startup-load.js'
import { isOwnTrouble } from './pack-scan.js'

export interface FileChunkStoreOptions extends DiskSetOptions {
  /** Chunks up to this length go into packs, at most {@link PACKED_CHUNK_BYTES_MAX}; 0: each has a file. */
  readonly packedBytesMax?: number | undefined
}

/** Chunks verified at once. */
const VERIFY_BUFFERS = 2

export class FileChunkStore implements ChunkStore {
  /** Called when a disk goes out of use: the master should hear of what is no longer held. */
  onDiskFailed: () => void = () => undefined
  readonly #options: FileChunkStoreOptions
  readonly #disks: DiskSet
  readonly #copies = new CopyTable()
  readonly #condemnations: Condemnations
  readonly #buffers = copyBuffers()
  readonly #verifying = new BlockPool(VERIFY_BUFFERS)
  /** What the packs of a disk need from time to time. */
  readonly packUpkeep: PackUpkeep
  readonly #publishing = new KeyedMutex<ChunkId>()
  #names = 0

  private constructor(options: FileChunkStoreOptions) {
    this.#options = options
    this.#disks = new DiskSet(options, (disk) => {
      this.#copies.dropDisk(disk)
      this.onDiskFailed()
    })
    this.packUpkeep = new PackUpkeep({
      copies: this.#copies,
      publishing: this.#publishing,
      records: this.#buffers.records,
      log: options.log,
      verify: (chunkId) => this.verify(chunkId, async () => undefined),
    })
    this.#condemnations = new Condemnations({
      ...options,
      copiesOn: (disk) => this.#copies.goodOn(disk),
      probe: (entry) => this.#probe(entry),
      checkPresence: (disk) => this.#disks.checkPresence(disk, new Error('its directory is empty or that of another disk')),
      forgetMissing: (disk) => this.#forgetMissing(disk),
      reconsider: async (chunkIds) => {
        for (const chunkId of chunkIds) if (this.find(chunkId)) await this.verify(chunkId, async () => undefined)
      },
    })
  }

  /** Whether a copy has no file of its own. */
  isPacked(chunkId: ChunkId): boolean {
    return this.#copies.get(chunkId)?.place !== undefined
  }

  /** Locks and scans the directories. @throws `DIRECTORY_LOCKED`, `WRONG_CLUSTER`, `SERVER_ID_CONFLICT`, `LOCAL_IO_ERROR` */
  static async open(options: FileChunkStoreOptions): Promise<FileChunkStore> {
    const store = new FileChunkStore(options)
    try {
      const buffers = { ...store.#buffers, packBlocks: store.#verifying }
      await loadCopies(store.#disks, store.#copies, buffers, options)
    } catch (error) {
      await store.close()
      throw error
    }
    return store
  }

  identity(): ServerIdentity {
    return this.#disks.identity()
  }

  /** Remembers in each directory which server and cluster it belongs to. */
  settle(identity: { readonly serverId: ServerId; readonly clusterId: ClusterId }): Promise<void> {
    return this.#disks.settle(identity)
  }

  async create(chunk: NewChunk): Promise<ChunkWriter> {
    if (this.find(chunk.chunkId)) return new ComparingWriter(chunk.lengthBytes, (root) => this.#sameBytes(chunk.chunkId, root))
    const isSmall = chunk.lengthBytes <= Math.min(this.#options.packedBytesMax ?? 0, PACKED_CHUNK_BYTES_MAX)
    const bytes = isSmall ? packRecordBytes(chunk.lengthBytes) : chunkFileBytes(chunk.lengthBytes)
    const disk = await this.#disks.choose(bytes)
    const reservation = disk.reserve(bytes)
    const ended = (): void => reservation.release()
    if (isSmall)
      return new PackedChunkWriter(chunk, { publish: (footer, data) => this.#publishPacked(disk, footer, data), ended })
    try {
      const name = `${chunk.chunkId}.${(this.#names += 1)}`
      const hooks: WriterHooks = {
        publish: (temporary, root) => this.#publishing.run(chunk.chunkId, () => this.#publish(disk, chunk, temporary, root)),
        ended,
      }
      return await this.#disks.inLayout(disk, () => ChunkFileWriter.open(disk, chunk, name, this.#buffers.footers, hooks))
    } catch (error) {
      reservation.release()
      throw error
    }
  }

  #sameBytes(chunkId: ChunkId, root: StoredChunk['root']): StoredChunk {
    const entry = this.#copies.get(chunkId)
    if (entry?.state === 'good' && entry.root === root) return this.#copies.index.toStored(entry)
    if (entry?.state !== 'good')
      throw new CairnError('CHUNK_NOT_FOUND', `The copy of chunk ${chunkId} went while it was written again. Send it once more.`)
    throw new CairnError(
      'CHUNK_EXISTS',
      `Chunk ${chunkId} holds other bytes here. Chunks are immutable: changed bytes take a new chunk.`,
    )
  }

  async #publish(disk: ChunkDisk, chunk: NewChunk, temporary: string, root: StoredChunk['root']): Promise<StoredChunk> {
    const { chunkId, lengthBytes } = chunk
    const existing = this.#copies.get(chunkId)
    if (existing?.state === 'good') {
      // Another writer of the same chunk was faster.
      const stored = this.#sameBytes(chunkId, root)
      await disk.io('write', () => disk.disk.remove(temporary))
      return stored
    }
    const replacement = existing && (await Replacement.begin(existing, this.#copies, this.#buffers.records, this.#options))
    try {
      const target = disk.chunkPath(chunkId)
      await this.#disks.inLayout(disk, () => disk.io('write', () => disk.disk.rename(temporary, target)))
      await disk.syncDirectory(path.dirname(target))
      // It may have failed in another operation while the sync went through.
      if (disk.failed) throw disk.failed
    } catch (error) {
      await replacement?.undo()
      throw error
    }
    const stored = this.#copies.publish(disk, { chunkId, lengthBytes, root })
    await replacement?.finish()
    return stored
  }

  #publishPacked(disk: ChunkDisk, chunk: ChunkFooter, data: Uint8Array): Promise<StoredChunk> {
    const { chunkId, root } = chunk
    return this.#publishing.run(chunkId, async () => {
      const existing = this.#copies.get(chunkId)
      if (existing?.state === 'good') return this.#sameBytes(chunkId, root)
      const replacement = existing && (await Replacement.begin(existing, this.#copies, this.#buffers.records, this.#options))
      let place: PackPlace
      try {
        place = await disk.packs.append(chunk, data)
        // It may have failed in another operation while the sync went through.
        if (disk.failed) throw disk.failed
      } catch (error) {
        await replacement?.undo()
        throw error
      }
      const stored = this.#copies.publish(disk, { ...chunk, place })
      await replacement?.finish()
      return stored
    })
  }

  async open(chunkId: ChunkId): Promise<ChunkReader> {
    const entry = this.#copies.get(chunkId)
    if (!entry) throw new CairnError('CHUNK_NOT_FOUND', `This chunkserver does not hold chunk ${chunkId}.`)
    try {
      return await openCopy(entry, this.#buffers, {
        onCorrupt: (damage) => this.#markCorrupt(entry, damage),
        onFlicker: (leaf) =>
          this.#options.log.error({ chunkId, leaf, directory: entry.disk.directory }, 'a leaf read wrong and then right'),
      })
    } catch (error) {
      const current = this.#copies.get(chunkId)
      // It was moved to another pack while we looked for it where it had been.
      if (current?.place && entry.place && !this.#copies.isPresent(entry)) return this.open(chunkId)
      throw this.#lostFile(entry, error)
    }
  }

  /** A file that is not there any more is no copy; one that cannot be opened is a bad one. */
  #lostFile(entry: CopyEntry, error: unknown): CairnError {
    const { chunkId } = entry
    if (isCairnError(error)) {
      if (error.code === 'CHUNK_CORRUPT') this.#markCorrupt(entry, error)
      return error
    }
    if (systemCode(error) === 'ENOENT') {
      this.#forget(entry)
      return new CairnError('CHUNK_NOT_FOUND', `The file of chunk ${chunkId} has vanished from this chunkserver.`, {
        cause: error,
      })
    }
    if (isOwnTrouble(error)) return new CairnError('BUSY', 'This chunkserver cannot open another file now.', { cause: error })
    const damage = new CairnError('CHUNK_CORRUPT', `The file of chunk ${chunkId} cannot be opened here.`, { cause: error })
    this.#markCorrupt(entry, damage)
    return damage
  }

  #markCorrupt(entry: CopyEntry, damage: CairnError): void {
    if (!this.#copies.isPresent(entry) || entry.state !== 'good' || !this.#condemnations.allows(entry)) return
    this.#options.log.error(
      { chunkId: entry.chunkId, directory: entry.disk.directory, reason: damage.message },
      'a copy is damaged and set aside',
    )
    this.#copies.condemn(entry)
    // Not while the copy is being replaced or removed: the mark would outlive it.
    void this.#publishing.run(entry.chunkId, async () => {
      const current = this.#copies.get(entry.chunkId)
      // What a pack holds is read at each start, so that nothing needs to be said beside it.
      if (current?.state === 'corrupt' && !isPacked(current)) await leaveMark(current, damage, this.#copies, this.#options.log)
    })
  }

  #forget(entry: CopyEntry): void {
    if (!this.#copies.isPresent(entry) || !this.#condemnations.allows(entry)) return
    this.#options.log.error({ chunkId: entry.chunkId, directory: entry.disk.directory }, 'a chunk file has vanished')
    this.#copies.forget(entry)
    if (entry.state === 'good' || isPacked(entry)) return
    // What stood beside the file would condemn the next copy of this chunk.
    void this.#publishing.run(entry.chunkId, async () => {
      if (!this.#copies.get(entry.chunkId)) await dropMark(entry, this.#options.log)
    })
  }

  /** A copy looked at without consequences: its footer and one leaf. */
  async #probe(entry: CopyEntry): Promise<VerifyOutcome> {
    const nothing = { onCorrupt: () => undefined, onFlicker: () => undefined }
    try {
      const reader = await openCopy(entry, this.#buffers, nothing)
      try {
        const leaf = this.#options.random.integer(leafCount(reader.lengthBytes))
        await withBlock(this.#verifying.acquire(), (block) => reader.readLeaf(leaf, block.bytes))
      } finally {
        await reader.close()
      }
      return 'good'
    } catch (error) {
      if (isCairnError(error, 'DISK_FAILED', 'DISK_HANGS')) throw error
      return systemCode(error) === 'ENOENT' ? 'missing' : 'corrupt'
    }
  }

  async #forgetMissing(disk: ChunkDisk): Promise<number> {
    let count = 0
    for (const entry of this.#copies.goodOn(disk)) {
      if (isPacked(entry) ? disk.packs.packs.has(entry.place.pack) : await this.#hasFile(entry)) continue
      if (this.#copies.forget(entry)) count += 1
    }
    return count
  }

  async #hasFile({ disk, chunkId }: CopyEntry): Promise<boolean> {
    return (await disk.io('look', () => disk.disk.stat(disk.chunkPath(chunkId)))) !== undefined
  }

  find(chunkId: ChunkId): StoredChunk | undefined {
    const entry = this.#copies.get(chunkId)
    return entry?.state === 'good' ? this.#copies.index.toStored(entry) : undefined
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
    for (let leaf = 0; leaf < leafCount(reader.lengthBytes); leaf += 1) {
      await pace(LEAF_BYTES)
      // Held for one leaf only: a disk that hangs must not keep the others from being verified.
      await withBlock(this.#verifying.acquire(), (block) => reader.readLeaf(leaf, block.bytes))
    }
  }

  remove(chunkId: ChunkId): Promise<void> {
    // Not while it is being published: a receipt would be given for a copy on its way out.
    return this.#publishing.run(chunkId, async () => {
      const entry = this.#copies.get(chunkId)
      const reason = entry?.state === 'good' ? 'deleted' : 'corrupt'
      if (entry) await retire(entry, this.#options.clock.now(), reason, this.#buffers.records, this.#options.log)
      this.#copies.remove(chunkId)
    })
  }

  locate(chunkId: ChunkId): ChunkLocation | undefined {
    const entry = this.#copies.get(chunkId)
    if (!entry) return undefined
    const { disk, place, lengthBytes } = entry
    const file = place ? disk.packs.pathOf(place.pack) : disk.chunkPath(chunkId)
    return { dir: disk.directory, file, offset: place ? place.offset + PACK_HEADER_BYTES : 0, lengthBytes }
  }

  *chunkIds(): Iterable<ChunkId> {
    for (const entry of this.#copies.index.entries()) if (entry.state === 'good') yield entry.chunkId
  }

  /** The ids of good copies on one disk. */
  chunkIdsOn(disk: ChunkDisk): ChunkId[] {
    return this.#copies.goodOn(disk).map((entry) => entry.chunkId)
  }

  listShard(shard: number): StoredChunk[] {
    return this.#copies.index.listShard(shard)
  }

  retellCorrupt(shard: number): void {
    this.#copies.index.retellCorrupt(shard)
  }

  digestOf(shard: number): IdSetDigest {
    return this.#copies.index.digestOf(shard)
  }

  startSequence(first: number): void {
    this.#copies.index.startSequence(first)
  }

  get sequence(): number {
    return this.#copies.index.sequence
  }

  pendingChanges(limit: number): readonly StoreChange[] {
    return this.#copies.index.pendingChanges(limit)
  }

  acknowledge(sequence: number): void {
    this.#copies.index.acknowledge(sequence)
  }

  /** The disks, for the jobs that walk over their files. */
  get chunkDisks(): readonly ChunkDisk[] {
    return this.#disks.all
  }

  /** The directories of disks that are in use. */
  get usableDirectories(): string[] {
    return this.#disks.usable.map((disk) => disk.directory)
  }

  disks(): DiskReport[] {
    for (const disk of this.#disks.all) void disk.refreshSpace()
    return this.#disks.all.map((disk) => disk.report())
  }

  async close(): Promise<void> {
    for (const disk of this.#disks.usable) await disk.packs.close()
    this.#disks.close()
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close()
  }
}
