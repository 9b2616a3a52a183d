/** What every {@link MetadataStore} must do about chunks, copies and servers. Run on each implementation by metadata-store.test.ts. */
import { afterEach, beforeEach, describe, expect, test } from '@jest/globals'
import type { ChunkId, DiskId } from '../../common/ids.js'
import type { StoreChange } from '../../common/protocol/cluster.js'
import { NO_PRECONDITION } from '../../common/protocol/precondition.js'
import { storedChunkBytes } from '../../common/protocol/stored-size.js'
import type { MetadataStore } from '../../master/store/metadata-store.js'
import { ChunkState, HealthClass } from '../../master/store/schema.js'
import { chunkId, DEFAULTS, root, StoreFixture, type StoreUnderTest, type TestServer } from './metadata-store-fixture.js'

const NO_SPACE = { files: 0, fileBytes: 0, storedFileBytes: 0, storedTrashBytes: 0, storedDraftBytes: 0 }

export function metadataChunksSuite(name: string, open: () => Promise<StoreUnderTest>): void {
  describe(`MetadataStore, chunks and servers: ${name}`, () => {
    let fixture: StoreFixture
    let store: MetadataStore
    let servers: TestServer[]

    beforeEach(async () => {
      fixture = await StoreFixture.open(open)
      store = fixture.store
      servers = fixture.servers
    })

    afterEach(async () => {
      await fixture.under.close()
    })

    test('a copy shares the manifest, and its chunks live until both names are purged', async () => {
      const { file, chunks } = await fixture.upload('/b/k', [5])
      const copy = await store.copyFile({ from: '/b/k', to: '/c/k', precondition: NO_PRECONDITION, bucketDefaults: DEFAULTS })
      expect(copy.manifestId).toBe(file.manifestId)
      const id = chunks[0]?.chunkId as ChunkId
      await store.deleteFile({ path: '/b/k', purge: true, precondition: NO_PRECONDITION })
      while (await store.collectManifests({ before: store.now(), limit: 10 }));
      expect(await store.getChunk({ chunkId: id })).toMatchObject({ state: ChunkState.live })
      await store.deleteFile({ path: '/c/k', purge: true, precondition: NO_PRECONDITION })
      while (await store.collectManifests({ before: store.now(), limit: 10 }));
      expect(await store.getChunk({ chunkId: id })).toMatchObject({ state: ChunkState.condemned })
      await store.markDeleting({ before: store.now() + 1000, limit: 10 })
      expect(await store.getChunk({ chunkId: id })).toMatchObject({ state: ChunkState.deleting })
      const deletions = await store.listDeletions({ limitPerServer: 10 })
      expect(deletions).toHaveLength(3)
      for (const { serverNo } of deletions)
        await store.applyChanges({ serverNo, changes: [{ kind: 'removed', sequence: fixture.sequence++, chunkId: id }] })
      expect(await store.getChunk({ chunkId: id })).toBeUndefined()
      expect(await store.spaceUse({})).toEqual(NO_SPACE)
    })

    test('a bad copy that comes back while its chunk is being deleted is deleted with it', async () => {
      const { chunks } = await fixture.upload('/b/k', [5])
      const id = chunks[0]?.chunkId as ChunkId
      await store.deleteFile({ path: '/b/k', purge: true, precondition: NO_PRECONDITION })
      while (await store.collectManifests({ before: store.now(), limit: 10 }));
      await store.markDeleting({ before: store.now() + 1000, limit: 10 })
      const [first, ...others] = await store.listDeletions({ limitPerServer: 10 })
      const serverNo = first?.serverNo as number
      const changed = (kind: 'removed' | 'corrupt'): StoreChange => ({ kind, sequence: fixture.sequence++, chunkId: id })
      await store.applyChanges({ serverNo, changes: [changed('removed'), changed('corrupt')] })
      for (const other of others) await store.applyChanges({ serverNo: other.serverNo, changes: [changed('removed')] })
      expect(await store.listDeletions({ limitPerServer: 10 })).toEqual([{ serverNo, chunkIds: [id] }])
      await store.applyChanges({ serverNo, changes: [changed('removed')] })
      expect(await store.getChunk({ chunkId: id })).toBeUndefined()
    })

    test('aborting an open session condemns its chunks; aborting a committed one touches nothing', async () => {
      const { session, chunks } = await fixture.upload('/b/k', [5])
      await expect(store.abortUpload({ uploadId: session.uploadId })).rejects.toMatchObject({ code: 'UPLOAD_CLOSED' })
      while (await store.collectManifests({ before: store.now(), limit: 10 }));
      expect(await store.getChunk({ chunkId: chunks[0]?.chunkId as ChunkId })).toMatchObject({ state: ChunkState.live })
      const { uploadId, writerEpoch } = await fixture.openUpload('/b/other')
      const chunk = { index: 0, lengthBytes: 10, chunkId: chunkId(), root: root(1) }
      await store.allocateChunks({ uploadId, writerEpoch, chunks: [{ ...chunk, isNew: true, targets: [] }] })
      await store.abortUpload({ uploadId })
      expect(await store.getChunk({ chunkId: chunk.chunkId })).toMatchObject({ state: ChunkState.condemned })
      expect(await store.abortUpload({ uploadId })).toEqual({ uploadId })
    })

    test('a report taken before a receipt and delivered after it removes nothing younger than itself', async () => {
      const { chunks } = await fixture.upload('/b/k', [5])
      const id = chunks[0]?.chunkId as ChunkId
      const shard = Number.parseInt(id.slice(0, 2), 16)
      const serverNo = servers[0]?.serverNo as number
      expect(await store.applyShardReport({ serverNo, shard, asOfSequence: 50, copies: [] })).toEqual({ added: 0, removed: 0 })
      expect(await store.applyShardReport({ serverNo, shard, asOfSequence: fixture.sequence++, copies: [] })).toEqual({
        added: 0,
        removed: 1,
      })
      expect(await store.chunkHealth({})).toMatchObject({ underReplicated: 1 })
    })

    test('a row on a disk that is gone is compared, and moved to the disk on which its server holds the chunk now', async () => {
      const { chunks } = await fixture.upload('/b/k', [5])
      const id = chunks[0]?.chunkId as ChunkId
      const shard = Number.parseInt(id.slice(0, 2), 16)
      const { serverNo, diskId } = servers[0] as TestServer
      expect(await store.shardChunkIds({ serverNo, shard })).toHaveLength(1)
      const other = 'd'.repeat(32) as DiskId
      const disk = { path: '/d1', state: 'ok' as const, totalBytes: 1, freeBytes: 1, usedBytes: 0, chunkCount: 1 }
      await store.recordBeats({
        beats: [{ serverNo, atMs: store.now(), disks: [{ ...disk, diskId: other }], seen: { epoch: 0, position: 0 } }],
      })
      expect(diskId).not.toBe(other)
      while (await store.sweepServers({ limit: 10 }));
      expect(await store.chunkHealth({})).toMatchObject({ underReplicated: 1 })
      // Whatever it says to hold, the shard is to be told one by one.
      expect(await store.shardChunkIds({ serverNo, shard })).toBeUndefined()
      const copies = [{ chunkId: id, diskId: other, lengthBytes: 5, root: root(1) }]
      const report = { serverNo, shard, asOfSequence: fixture.sequence++, copies }
      expect(await store.applyShardReport(report)).toEqual({ added: 1, removed: 0 })
      expect(await store.shardChunkIds({ serverNo, shard })).toHaveLength(1)
      expect(await store.chunkHealth({})).toMatchObject({ healthy: 1, underReplicated: 0 })
    })

    test('the death of a server is swept over its chunks, fewest copies first', async () => {
      const { chunks } = await fixture.upload('/b/three', [5])
      const weak = await fixture.upload('/b/two', [5], 2)
      await store.setServerStates({ changes: [{ serverNo: servers[0]?.serverNo as number, state: 'dead' }] })
      while (await store.sweepServers({ limit: 1 }));
      const last = await store.listUnhealthy({ healthClass: HealthClass.lastCopy, limit: 10 })
      const below = await store.listUnhealthy({ healthClass: HealthClass.belowGoal, limit: 10 })
      expect(last.map((one) => one.chunkId)).toEqual([weak.chunks[0]?.chunkId])
      expect(below.map((one) => one.chunkId)).toEqual([chunks[0]?.chunkId])
      await store.deferRepairs({
        deferrals: [{ chunkId: below[0]?.chunkId as ChunkId, nextMs: store.now() + 60_000, error: 'none', failed: true }],
      })
      expect(await store.listUnhealthy({ healthClass: HealthClass.belowGoal, limit: 10 })).toEqual([])
      const fourth = servers[3] as (typeof servers)[0]
      const copy = fixture.receiptOf(fourth, chunks[0]?.chunkId as ChunkId, 5, root(1))
      expect(await store.addReplica(copy)).toBe(true)
      expect(await store.chunkHealth({})).toMatchObject({ total: 2, healthy: 1, underReplicated: 1 })
    })

    test('a surplus copy is trimmed, but never below the wanted live copies', async () => {
      const { chunks } = await fixture.upload('/b/k', [5])
      const id = chunks[0]?.chunkId as ChunkId
      expect(await store.trimReplica({ chunkId: id, serverNo: servers[0]?.serverNo as number })).toBe(false)
      await store.addReplica(fixture.receiptOf(servers[3] as (typeof servers)[0], id, 5, root(1)))
      expect(await store.listUnhealthy({ healthClass: HealthClass.surplus, limit: 9 })).toHaveLength(1)
      expect(await store.trimReplica({ chunkId: id, serverNo: servers[0]?.serverNo as number })).toBe(true)
      expect(await store.trimReplica({ chunkId: id, serverNo: servers[1]?.serverNo as number })).toBe(false)
      expect(await store.chunkHealth({})).toMatchObject({ healthy: 1 })
    })

    test('a corrupt copy stops counting and may go only once it has been replaced', async () => {
      const { chunks } = await fixture.upload('/b/k', [5])
      const id = chunks[0]?.chunkId as ChunkId
      const serverNo = servers[0]?.serverNo as number
      await store.applyChanges({ serverNo, changes: [{ kind: 'corrupt', sequence: fixture.sequence++, chunkId: id }] })
      expect(await store.chunkHealth({})).toMatchObject({ healthy: 0, underReplicated: 1 })
      expect(await store.listReplacedCorruptReplicas({ limit: 9 })).toEqual([])
      expect(await store.trimReplica({ chunkId: id, serverNo })).toBe(false)
      await store.addReplica(fixture.receiptOf(servers[3] as (typeof servers)[0], id, 5, root(1)))
      expect(await store.listReplacedCorruptReplicas({ limit: 9 })).toEqual([{ serverNo, chunkId: id }])
      expect(await store.trimReplica({ chunkId: id, serverNo })).toBe(true)
    })

    test('a copy of a chunk that the metadata does not know is an orphan, and goes only after its grace', async () => {
      const serverNo = servers[0]?.serverNo as number
      const id = chunkId()
      await store.applyChanges({
        serverNo,
        changes: [
          {
            kind: 'added',
            sequence: fixture.sequence++,
            chunkId: id,
            diskId: servers[0]?.diskId as DiskId,
            lengthBytes: 5,
            root: root(1),
          },
        ],
      })
      expect(await store.condemnOrphans({ before: store.now() - 60_000, limit: 9 })).toBe(0)
      expect(await store.condemnOrphans({ before: store.now() + 1000, limit: 9 })).toBe(1)
      expect(await store.listDeletions({ limitPerServer: 9 })).toEqual([{ serverNo, chunkIds: [id] }])
    })

    test('a server that comes back has a higher incarnation; the same process has not', async () => {
      const before = servers[0] as (typeof servers)[0]
      const again = (instanceId: string) =>
        store.registerServer({
          serverId: before.serverId,
          freshId: chunkId(),
          freshReceiptKey: { keyId: 'x', secret: 'cd'.repeat(32) },
          instanceId,
          url: before.url,
          zone: 'z',
          rack: 'r',
          host: 'h',
          disks: [{ diskId: before.diskId, path: '/d0', state: 'ok', totalBytes: 1, freeBytes: 1, usedBytes: 0, chunkCount: 0 }],
          seen: { epoch: 0, position: 0 },
        })
      expect(await again(before.instanceId)).toMatchObject({ serverNo: before.serverNo, incarnation: 1 })
      expect(await again('another')).toMatchObject({ serverNo: before.serverNo, incarnation: 2, receiptKey: before.receiptKey })
    })

    test('who reads a file that is replaced meanwhile still finds its chunks, until the grace is over', async () => {
      const { file, chunks } = await fixture.upload('/b/k', [5, 6])
      await fixture.upload('/b/k', [7])
      const read = () => store.listManifestChunks({ manifestId: file.manifestId, from: 1, limit: 10 })
      while (await store.collectManifests({ before: store.now() - 60_000, limit: 10 }));
      expect((await read())[0]).toMatchObject({ id: chunks[1]?.chunkId, serving: [1, 2, 3] })
      expect(await store.spaceUse({})).toMatchObject({ fileBytes: 7, storedFileBytes: 3 * storedChunkBytes(7) })
      while (await store.collectManifests({ before: store.now(), limit: 10 }));
      await expect(read()).rejects.toMatchObject({ code: 'FILE_NOT_FOUND' })
      expect(await store.spaceUse({})).toMatchObject({ fileBytes: 7, storedFileBytes: 3 * storedChunkBytes(7) })
    })
  })
}
