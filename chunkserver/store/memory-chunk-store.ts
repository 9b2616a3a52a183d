/** A {@link ChunkStore} in memory: the model that the real one is compared with, and a store for tests without a disk. */
import { chunkRoot, LEAF_BYTES, leafCount, leafLength } from '../../common/checksum/tree.js'
import { xxh64 } from '../../common/checksum/xxh64.js'
import type { IdSetDigest } from '../../common/checksum/id-set-digest.js'
import { CairnError } from '../../common/errors/cairn-error.js'
import type { ChunkId, DiskId } from '../../common/ids.js'
import type { ChunkLocation } from '../../common/protocol/chunk-data.js'
import type { DiskReport, StoreChange } from '../../common/protocol/cluster.js'
import { ChunkIndex } from './chunk-index.js'
import type { ChunkReader, ChunkStore, ChunkWriter, NewChunk, StoredChunk, VerifyOutcome } from './chunk-store.js'

interface Content {
  readonly data: Uint8Array
  readonly leafSums: BigUint64Array
}

export class MemoryChunkStore implements ChunkStore {
  readonly #contents = new Map<ChunkId, Content>()
  readonly #disk: { readonly diskId: DiskId }
  readonly #index = new ChunkIndex<{ readonly diskId: DiskId }>()
  readonly #capacityBytes: number

  constructor(diskId: DiskId, capacityBytes = Number.MAX_SAFE_INTEGER) {
    this.#disk = { diskId }
    this.#capacityBytes = capacityBytes
  }

  async create(chunk: NewChunk): Promise<ChunkWriter> {
    if (this.#usedBytes() + chunk.lengthBytes > this.#capacityBytes)
      throw new CairnError('DISK_FULL', 'The memory set aside for chunks is used up.')
    const data = new Uint8Array(chunk.lengthBytes)
    let position = 0
    let aborted = false
    return {
      writeLeaf: async (block, lengthBytes) => {
        const at = position
        position += LEAF_BYTES
        data.set(block.subarray(0, lengthBytes), at)
      },
      commit: async (leafSums) => {
        if (aborted) throw new CairnError('ABORTED', 'The write was aborted.')
        return this.#commit(chunk, data, leafSums)
      },
      abort: async () => {
        aborted = true
      },
    }
  }

  #commit(chunk: NewChunk, data: Uint8Array, leafSums: BigUint64Array): StoredChunk {
    const root = chunkRoot(chunk.lengthBytes, leafSums)
    const existing = this.#index.get(chunk.chunkId)
    if (existing?.state === 'good') {
      if (existing.root === root) return this.#index.toStored(existing)
      throw new CairnError('CHUNK_EXISTS', `Chunk ${chunk.chunkId} holds other bytes here.`)
    }
    this.#contents.set(chunk.chunkId, { data, leafSums })
    return this.#index.add({ chunkId: chunk.chunkId, disk: this.#disk, lengthBytes: chunk.lengthBytes, root })
  }

  async open(chunkId: ChunkId): Promise<ChunkReader> {
    const content = this.#contents.get(chunkId)
    const entry = this.#index.get(chunkId)
    if (!content || !entry) throw new CairnError('CHUNK_NOT_FOUND', `This store does not hold chunk ${chunkId}.`)
    return {
      lengthBytes: entry.lengthBytes,
      root: entry.root,
      leafSums: content.leafSums,
      readLeaf: async (index, target) => {
        const leaf = content.data.subarray(index * LEAF_BYTES, index * LEAF_BYTES + leafLength(entry.lengthBytes, index))
        if (xxh64(leaf) !== content.leafSums[index]) {
          this.#index.markCorrupt(chunkId)
          throw new CairnError('CHUNK_CORRUPT', `Leaf ${index} of chunk ${chunkId} does not match its checksum.`)
        }
        target.set(leaf)
        return leaf.length
      },
      close: async () => undefined,
    }
  }

  find(chunkId: ChunkId): StoredChunk | undefined {
    const entry = this.#index.get(chunkId)
    return entry?.state === 'good' ? this.#index.toStored(entry) : undefined
  }

  async verify(chunkId: ChunkId, pace: (bytes: number) => Promise<void>): Promise<VerifyOutcome> {
    if (!this.#contents.has(chunkId)) return 'missing'
    const reader = await this.open(chunkId)
    const target = new Uint8Array(LEAF_BYTES)
    for (let index = 0; index < leafCount(reader.lengthBytes); index += 1) {
      await pace(LEAF_BYTES)
      const failed = await reader.readLeaf(index, target).then(
        () => false,
        () => true,
      )
      if (failed) return 'corrupt'
    }
    return 'good'
  }

  async remove(chunkId: ChunkId): Promise<void> {
    this.#contents.delete(chunkId)
    this.#index.remove(chunkId)
  }

  locate(chunkId: ChunkId): ChunkLocation | undefined {
    const entry = this.#index.get(chunkId)
    return entry && { dir: 'memory', file: chunkId, offset: 0, lengthBytes: entry.lengthBytes }
  }

  /** Changes stored bytes, as rot does. */
  corrupt(chunkId: ChunkId, change: (data: Uint8Array) => void): void {
    const content = this.#contents.get(chunkId)
    if (content) change(content.data)
  }

  *chunkIds(): Iterable<ChunkId> {
    for (const entry of this.#index.entries()) if (entry.state === 'good') yield entry.chunkId
  }

  listShard(shard: number): StoredChunk[] {
    return this.#index.listShard(shard)
  }

  retellCorrupt(shard: number): void {
    this.#index.retellCorrupt(shard)
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

  disks(): DiskReport[] {
    const usedBytes = this.#usedBytes()
    const freeBytes = this.#capacityBytes - usedBytes
    return [
      {
        diskId: this.#disk.diskId,
        path: 'memory',
        state: freeBytes > 0 ? 'ok' : 'full',
        totalBytes: this.#capacityBytes,
        freeBytes,
        usedBytes,
        chunkCount: this.#contents.size,
      },
    ]
  }

  #usedBytes(): number {
    let sum = 0
    for (const { data } of this.#contents.values()) sum += data.length
    return sum
  }

  async close(): Promise<void> {}

  async [Symbol.asyncDispose](): Promise<void> {}
}
