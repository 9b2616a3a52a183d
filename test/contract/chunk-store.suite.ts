/** What every {@link ChunkStore} must do. Run on each implementation by chunk-store.test.ts. */
import { afterEach, beforeEach, describe, expect, test } from '@jest/globals'
import type { ChunkStore, ChunkWriter, NewChunk } from '../../chunkserver/store/chunk-store.js'
import { BlockPool } from '../../common/bytes/block-pool.js'
import { LEAF_BYTES, leafCount, leafLength } from '../../common/checksum/tree.js'
import { xxh64 } from '../../common/checksum/xxh64.js'
import { bytesToHex, newId, type ChunkId, type UploadId } from '../../common/ids.js'
import { SeededRandom } from '../../common/random/seeded-random.js'
import { KiB, MiB } from '../../common/units.js'

export interface ChunkStoreUnderTest {
  readonly store: ChunkStore
  /** Changes the stored bytes of a chunk behind the store's back. */
  readonly corrupt: (chunkId: ChunkId, change: (data: Uint8Array) => void) => Promise<void>
  readonly close: () => Promise<void>
}

const random = new SeededRandom(3)
const pool = new BlockPool(8)

export const newChunk = (lengthBytes: number): NewChunk => ({
  chunkId: newId<ChunkId>(random),
  uploadId: newId<UploadId>(random),
  chunkIndex: 4,
  metadataEpoch: 1,
  lengthBytes,
})

export const dataOf = (lengthBytes: number, seed = 1): Uint8Array => {
  const data = new Uint8Array(lengthBytes)
  data.set(new SeededRandom(seed).bytes(Math.min(lengthBytes, 4096)))
  for (let filled = 4096; filled < lengthBytes; filled *= 2) data.copyWithin(filled, 0, Math.min(filled, lengthBytes - filled))
  return data
}

/** Sends the leaves through `writer`. @returns their sums */
export async function writeLeaves(writer: ChunkWriter, data: Uint8Array): Promise<BigUint64Array> {
  const sums = new BigUint64Array(leafCount(data.length))
  for (let index = 0; index < sums.length; index += 1) {
    const length = leafLength(data.length, index)
    const block = await pool.acquire()
    block.bytes.set(data.subarray(index * LEAF_BYTES, index * LEAF_BYTES + length))
    sums[index] = xxh64(block.bytes.subarray(0, length))
    await writer.writeLeaf(block.bytes, length)
    block.release()
  }
  return sums
}

export async function put(store: ChunkStore, chunk: NewChunk, data: Uint8Array) {
  const writer = await store.create(chunk)
  return writer.commit(await writeLeaves(writer, data))
}

export async function read(store: ChunkStore, chunkId: ChunkId): Promise<Uint8Array> {
  const reader = await store.open(chunkId)
  const out = new Uint8Array(reader.lengthBytes)
  const block = await pool.acquire()
  try {
    for (let index = 0; index < leafCount(reader.lengthBytes); index += 1) {
      const length = await reader.readLeaf(index, block.bytes)
      out.set(block.bytes.subarray(0, length), index * LEAF_BYTES)
    }
    return out
  } finally {
    block.release()
    await reader.close()
  }
}

export function chunkStoreSuite(name: string, open: () => Promise<ChunkStoreUnderTest>): void {
  describe(`ChunkStore: ${name}`, () => {
    let under: ChunkStoreUnderTest
    let store: ChunkStore

    beforeEach(async () => {
      under = await open()
      store = under.store
      store.startSequence(1000)
    })

    afterEach(async () => {
      await under.close()
    })

    test.each([1, 4095, 4096, 4097, 64 * KiB, MiB - 1, MiB, MiB + 1, 3 * MiB + 17])(
      'a chunk of %i bytes reads back, leaf by leaf',
      async (lengthBytes) => {
        const chunk = newChunk(lengthBytes)
        const data = dataOf(lengthBytes)
        const stored = await put(store, chunk, data)
        expect(stored).toMatchObject({ chunkId: chunk.chunkId, lengthBytes, sequence: 1001 })
        expect(store.find(chunk.chunkId)).toEqual(stored)
        const back = await read(store, chunk.chunkId)
        expect(xxh64(back)).toBe(xxh64(data))
      },
    )

    test('nothing is visible before the commit, and nothing is left after an abort', async () => {
      const chunk = newChunk(100)
      const writer = await store.create(chunk)
      await writeLeaves(writer, dataOf(100))
      expect(store.find(chunk.chunkId)).toBeUndefined()
      await expect(store.open(chunk.chunkId)).rejects.toMatchObject({ code: 'CHUNK_NOT_FOUND' })
      await writer.abort()
      await writer.abort()
      expect([...store.chunkIds()]).toEqual([])
      expect(store.disks()[0]?.chunkCount).toBe(0)
    })

    test('the same bytes again are a no-op, other bytes are refused', async () => {
      const chunk = newChunk(5000)
      const stored = await put(store, chunk, dataOf(5000))
      expect(await put(store, chunk, dataOf(5000))).toEqual(stored)
      await expect(put(store, chunk, dataOf(5000, 2))).rejects.toMatchObject({ code: 'CHUNK_EXISTS' })
      expect(store.pendingChanges(10)).toHaveLength(1)
    })

    test('two writers of one chunk at once make one copy', async () => {
      const chunk = newChunk(5000)
      const [one, two] = await Promise.all([store.create(chunk), store.create(chunk)])
      const sums = await Promise.all([writeLeaves(one, dataOf(5000)), writeLeaves(two, dataOf(5000))])
      const [first, second] = await Promise.all([one.commit(sums[0]), two.commit(sums[1])])
      expect(second).toEqual(first)
      expect(store.disks()[0]?.chunkCount).toBe(1)
    })

    test('a flipped bit is never handed out; the copy stops counting and its good leaves stay readable', async () => {
      const chunk = newChunk(2 * MiB + 10)
      await put(store, chunk, dataOf(2 * MiB + 10))
      await under.corrupt(chunk.chunkId, (data) => (data[MiB + 5] = (data[MiB + 5] ?? 0) ^ 4))
      await expect(read(store, chunk.chunkId)).rejects.toMatchObject({ code: 'CHUNK_CORRUPT' })
      expect(store.find(chunk.chunkId)).toBeUndefined()
      expect(store.pendingChanges(10).map((change) => change.kind)).toEqual(['added', 'corrupt'])
      const reader = await store.open(chunk.chunkId)
      const block = await pool.acquire()
      expect(await reader.readLeaf(0, block.bytes)).toBe(MiB)
      expect(await reader.readLeaf(2, block.bytes)).toBe(10)
      block.release()
      await reader.close()
    })

    test('a corrupt copy is replaced by writing the chunk again', async () => {
      const chunk = newChunk(5000)
      await put(store, chunk, dataOf(5000))
      await under.corrupt(chunk.chunkId, (data) => (data[7] = (data[7] ?? 0) ^ 1))
      expect(await store.verify(chunk.chunkId, async () => undefined)).toBe('corrupt')
      await put(store, chunk, dataOf(5000))
      expect(await store.verify(chunk.chunkId, async () => undefined)).toBe('good')
      expect(store.pendingChanges(10).map((change) => change.kind)).toEqual(['added', 'corrupt', 'added'])
    })

    test('removing takes the copy out of service; what was never there is said to be removed', async () => {
      const chunk = newChunk(100)
      await put(store, chunk, dataOf(100))
      await store.remove(chunk.chunkId)
      expect(store.find(chunk.chunkId)).toBeUndefined()
      expect(await store.verify(chunk.chunkId, async () => undefined)).toBe('missing')
      await store.remove(chunk.chunkId)
      expect(store.pendingChanges(10).map((change) => change.kind)).toEqual(['added', 'removed', 'removed'])
    })

    test('changes are numbered, kept until acknowledged, and the digest of a shard follows them', async () => {
      const chunks = [newChunk(10), newChunk(20), newChunk(30)]
      for (const chunk of chunks) await put(store, chunk, dataOf(chunk.lengthBytes))
      expect(store.pendingChanges(2).map((change) => change.sequence)).toEqual([1001, 1002])
      store.acknowledge(1002)
      expect(store.pendingChanges(9).map((change) => change.sequence)).toEqual([1003])
      const id = chunks[0]?.chunkId as ChunkId
      const shard = Number.parseInt(id.slice(0, 2), 16)
      expect(store.listShard(shard).map((stored) => stored.chunkId)).toContain(id)
      const before = store.digestOf(shard)
      await store.remove(id)
      expect(store.digestOf(shard)).toEqual({ count: before.count - 1, hash: before.hash ^ BigInt(`0x${id.slice(16)}`) })
    })

    test('where a chunk lies can be told', async () => {
      const chunk = newChunk(100)
      await put(store, chunk, dataOf(100))
      expect(store.locate(chunk.chunkId)).toMatchObject({ offset: expect.any(Number), lengthBytes: 100 })
      expect(store.locate(bytesToHex(new Uint8Array(16)) as ChunkId)).toBeUndefined()
    })
  })
}
