/**
 * The seam to stored chunks: whole, immutable, verified. Implementations: file-chunk-store.ts on a {@link Disk}, and
 * memory-chunk-store.ts; `test/contract/chunk-store.suite.ts` holds for both.
 */
import type { Checksum64 } from '../../common/checksum/xxh64.js'
import type { IdSetDigest } from '../../common/checksum/id-set-digest.js'
import type { ChunkId, DiskId, UploadId } from '../../common/ids.js'
import type { ChunkLocation } from '../../common/protocol/chunk-data.js'
import type { DiskReport, StoreChange } from '../../common/protocol/cluster.js'

export interface NewChunk {
  readonly chunkId: ChunkId
  readonly uploadId: UploadId
  readonly chunkIndex: number
  readonly metadataEpoch: number
  readonly lengthBytes: number
}

export interface StoredChunk {
  readonly chunkId: ChunkId
  readonly diskId: DiskId
  readonly lengthBytes: number
  readonly root: Checksum64
  /** Its place in the sequence of changes of this store. */
  readonly sequence: number
}

/** One chunk being written. End it with {@link ChunkWriter.commit} or {@link ChunkWriter.abort}. */
export interface ChunkWriter {
  /**
   * Stores the next leaf. Several may be under way at once; they are in order of the calls.
   * @param block the leaf's bytes, in memory that stays untouched until this resolves; past `lengthBytes` it may be overwritten
   *   by the padding that direct I/O needs, so it has room for `lengthBytes` rounded up to 4 KiB
   */
  writeLeaf(block: Uint8Array, lengthBytes: number): Promise<void>
  /**
   * Resolves once data and directory entry are synced. Repeating a chunk with the same bytes is a no-op.
   * @throws `CHUNK_EXISTS` when the id holds other bytes, `DISK_FULL`, `DISK_FAILED`; on each nothing is visible
   */
  commit(leafSums: BigUint64Array): Promise<StoredChunk>
  /** Leaves nothing behind. Safe after a failure and after an end. */
  abort(): Promise<void>
}

/** One chunk being read. */
export interface ChunkReader {
  readonly lengthBytes: number
  readonly root: Checksum64
  readonly leafSums: BigUint64Array
  /**
   * Reads a leaf and verifies it.
   * @param target room for the leaf rounded up to 4 KiB
   * @returns its length
   * @throws `CHUNK_CORRUPT`; the copy is set aside then, and reported. `DISK_FAILED`
   */
  readLeaf(index: number, target: Uint8Array): Promise<number>
  close(): Promise<void>
}

export type VerifyOutcome = 'good' | 'corrupt' | 'missing'

export interface ChunkStore extends AsyncDisposable {
  /** @throws `DISK_FULL` before a byte is sent, `DISK_FAILED` when no disk is in order */
  create(chunk: NewChunk): Promise<ChunkWriter>
  /** @throws `CHUNK_NOT_FOUND`, `CHUNK_CORRUPT` when not even its footer can be read, `DISK_FAILED` */
  open(chunkId: ChunkId): Promise<ChunkReader>
  /** What is held, good copies only. */
  find(chunkId: ChunkId): StoredChunk | undefined
  /** Reads every leaf from the disk. @param pace called before each leaf, to go slowly; `signal` ends it with its reason */
  verify(chunkId: ChunkId, pace: (bytes: number) => Promise<void>): Promise<VerifyOutcome>
  /** Takes a copy out of service into quarantine. Nothing held: no error, and the change log says `removed` all the same. */
  remove(chunkId: ChunkId): Promise<void>
  /** Where the bytes lie, for people and tools. */
  locate(chunkId: ChunkId): ChunkLocation | undefined
  /** Ids held, good copies only, in no order. */
  chunkIds(): Iterable<ChunkId>
  /** Good copies of one of the 256 shards. */
  listShard(shard: number): StoredChunk[]
  digestOf(shard: number): IdSetDigest
  /** Notes the bad copies of a shard as changes again: neither lists nor digests have them. */
  retellCorrupt(shard: number): void
  /** Changes are numbered from here on; those found before (by the start-up scan) too. Called once, after registration. */
  startSequence(first: number): void
  /** The oldest unacknowledged changes. */
  pendingChanges(limit: number): readonly StoreChange[]
  /** The last number given out. */
  readonly sequence: number
  /** The master has taken in the changes up to this number. */
  acknowledge(sequence: number): void
  disks(): DiskReport[]
  close(): Promise<void>
}
