/** What every {@link MetadataStore} must do about files, names and uploads. Run on each implementation by metadata-store.test.ts. */
import { afterEach, beforeEach, describe, expect, test } from '@jest/globals'
import { fileChecksum } from '../../common/checksum/tree.js'
import type { DiskId } from '../../common/ids.js'
import { newId } from '../../common/ids.js'
import { NO_PRECONDITION } from '../../common/protocol/precondition.js'
import { KiB } from '../../common/units.js'
import type { MetadataStore } from '../../master/store/metadata-store.js'
import { chunkId, DEFAULTS, random, root, StoreFixture, type StoreUnderTest, type TestServer } from './metadata-store-fixture.js'

export function metadataFilesSuite(name: string, open: () => Promise<StoreUnderTest>): void {
  describe(`MetadataStore, files and uploads: ${name}`, () => {
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

    test('a committed upload is visible whole, with its chunks in order', async () => {
      const { file, chunks } = await fixture.upload('/b/k', [64 * KiB, 64 * KiB, 5])
      expect(await store.statFile({ path: '/b/k' })).toEqual(file)
      expect(file).toMatchObject({ generation: 1, sizeBytes: 128 * KiB + 5, chunkCount: 3, replicas: 3 })
      const listed = await store.listManifestChunks({ manifestId: file.manifestId, from: 1, limit: 10 })
      expect(listed.map((chunk) => [chunk.index, chunk.id, chunk.offset])).toEqual([
        [1, chunks[1]?.chunkId, 64 * KiB],
        [2, chunks[2]?.chunkId, 128 * KiB],
      ])
      expect(listed[0]?.serving).toHaveLength(3)
      expect(await store.findManifestChunk({ manifestId: file.manifestId, offset: 128 * KiB + 1 })).toEqual({
        index: 2,
        offset: 128 * KiB,
      })
      expect(await store.chunkHealth({})).toMatchObject({ total: 3, healthy: 3, underReplicated: 0, unavailable: 0 })
    })

    test('a file of no bytes has no chunks', async () => {
      const { file } = await fixture.upload('/b/empty', [])
      expect(file).toMatchObject({ sizeBytes: 0, chunkCount: 0 })
    })

    test('a commit that does not match the reported chunks changes nothing, and the session stays open', async () => {
      const { uploadId, writerEpoch } = await fixture.openUpload('/b/k')
      const chunk = { index: 0, lengthBytes: 10, chunkId: chunkId(), root: root(1) }
      await store.allocateChunks({ uploadId, writerEpoch, chunks: [{ ...chunk, isNew: true, targets: [] }] })
      const commit = { uploadId, writerEpoch, sizeBytes: 10, chunkCount: 1, checksum: fileChecksum([chunk]) }
      await expect(store.commitUpload(commit)).rejects.toMatchObject({ code: 'UPLOAD_INCOMPLETE' })
      const receipts = servers.slice(0, 3).map((server) => fixture.receiptOf(server, chunk.chunkId, 10, chunk.root))
      await store.reportChunks({ uploadId, writerEpoch, chunks: [{ ...chunk, offset: 0, receipts }] })
      for (const wrong of [{ sizeBytes: 11 }, { chunkCount: 2 }, { checksum: fileChecksum([]) }]) {
        await expect(store.commitUpload({ ...commit, ...wrong })).rejects.toMatchObject({ code: 'UPLOAD_INCOMPLETE' })
      }
      expect(await store.statFile({ path: '/b/k' })).toBeUndefined()
      expect(await store.commitUpload(commit)).toMatchObject({ generation: 1 })
    })

    test('a receipt is history: copies on a wiped disk or a dead server do not count at the commit', async () => {
      const { uploadId, writerEpoch } = await fixture.openUpload('/b/k')
      const chunk = { index: 0, lengthBytes: 10, chunkId: chunkId(), root: root(1) }
      await store.allocateChunks({ uploadId, writerEpoch, chunks: [{ ...chunk, isNew: true, targets: [] }] })
      const [one, two, three] = servers as [(typeof servers)[0], (typeof servers)[0], (typeof servers)[0]]
      const wiped = { ...one, diskId: newId<DiskId>(random) }
      const report = (receipts: ReturnType<StoreFixture['receiptOf']>[]) =>
        store.reportChunks({ uploadId, writerEpoch, chunks: [{ ...chunk, offset: 0, receipts }] })
      await expect(
        report([fixture.receiptOf(wiped, chunk.chunkId, 10, chunk.root), fixture.receiptOf(two, chunk.chunkId, 10, chunk.root)]),
      ).rejects.toMatchObject({ code: 'NOT_ENOUGH_REPLICAS' })
      await report([
        fixture.receiptOf(two, chunk.chunkId, 10, chunk.root),
        fixture.receiptOf(three, chunk.chunkId, 10, chunk.root),
      ])
      await store.setServerStates({ changes: [{ serverNo: three.serverNo, state: 'suspect' }] })
      const commit = { uploadId, writerEpoch, sizeBytes: 10, chunkCount: 1, checksum: fileChecksum([chunk]) }
      await expect(store.commitUpload(commit)).rejects.toMatchObject({ code: 'NOT_ENOUGH_REPLICAS' })
      expect(await store.listUploadChunks({ uploadId, from: 0, limit: 10 })).toEqual({ chunks: [], next: null })
      await store.setServerStates({ changes: [{ serverNo: three.serverNo, state: 'serving' }] })
      expect(await store.commitUpload(commit)).toMatchObject({ generation: 1 })
      expect(await store.chunkHealth({})).toMatchObject({ total: 1, healthy: 0, underReplicated: 1 })
    })

    test('a request that was refused stays refused: a late double of it does nothing', async () => {
      const request = { id: 'late', digest: 'd' }
      const remove = () => store.deleteFile({ path: '/b/late', purge: true, precondition: NO_PRECONDITION, request })
      await expect(remove()).rejects.toMatchObject({ code: 'FILE_NOT_FOUND' })
      await fixture.upload('/b/late', [10])
      await expect(remove()).rejects.toMatchObject({ code: 'FILE_NOT_FOUND' })
      expect(await store.statFile({ path: '/b/late' })).toBeDefined()
    })

    test('a request that is repeated is answered with its first result and not done again', async () => {
      await fixture.upload('/b/k', [5])
      const request = { id: 'r1', digest: 'd' }
      const first = await store.deleteFile({ path: '/b/k', purge: false, precondition: NO_PRECONDITION, request })
      expect(await store.deleteFile({ path: '/b/k', purge: false, precondition: NO_PRECONDITION, request })).toEqual(first)
      await expect(store.deleteFile({ path: '/b/k', purge: false, precondition: NO_PRECONDITION })).rejects.toMatchObject({
        code: 'FILE_NOT_FOUND',
      })
      await expect(
        store.deleteFile({ path: '/b/x', purge: false, precondition: NO_PRECONDITION, request: { id: 'r1', digest: 'e' } }),
      ).rejects.toMatchObject({ code: 'REQUEST_ID_REUSED' })
    })

    test('overwriting raises the generation; conditions on it hold', async () => {
      await fixture.upload('/b/k', [5])
      const { file } = await fixture.upload('/b/k', [6])
      expect(file.generation).toBe(2)
      await expect(fixture.openUpload('/b/k', { precondition: { kind: 'absent' } })).rejects.toMatchObject({
        code: 'ALREADY_EXISTS',
      })
      await expect(fixture.openUpload('/b/k', { precondition: { kind: 'generation', generation: 1 } })).rejects.toMatchObject({
        code: 'PRECONDITION_FAILED',
      })
      const late = await fixture.openUpload('/b/k', { precondition: { kind: 'generation', generation: 2 } })
      await fixture.upload('/b/k', [7])
      const commit = { uploadId: late.uploadId, writerEpoch: 1, sizeBytes: 0, chunkCount: 0, checksum: fileChecksum([]) }
      await expect(store.commitUpload(commit)).rejects.toMatchObject({ code: 'PRECONDITION_FAILED' })
    })

    test('a session is taken up by who has the same source, and the older writer is refused', async () => {
      const source = { fingerprint: 'f', sizeBytes: 9 }
      const first = await fixture.openUpload('/b/k', source)
      await expect(fixture.openUpload('/b/k', { ...source, adoption: { kind: 'if-idle' } })).rejects.toMatchObject({
        code: 'UPLOAD_ACTIVE',
        data: { uploadId: first.uploadId },
      })
      expect(
        await fixture.openUpload('/b/k', { fingerprint: 'other', sizeBytes: 9, adoption: { kind: 'if-idle' } }),
      ).toMatchObject({
        resumed: false,
      })
      const second = await fixture.openUpload('/b/k', { ...source, adoption: { kind: 'take-over', uploadId: first.uploadId } })
      expect(second).toMatchObject({ uploadId: first.uploadId, resumed: true, writerEpoch: 2 })
      await expect(store.keepUpload({ uploadId: first.uploadId, writerEpoch: 1 })).rejects.toMatchObject({
        code: 'UPLOAD_SUPERSEDED',
      })
      await store.keepUpload({ uploadId: first.uploadId, writerEpoch: 2 })
    })

    test('listings fold at the delimiter, page, and order by bytes', async () => {
      for (const key of ['a', 'd/1', 'd/2', 'e/x/y', 'z', 'é', '😀', '\uffee']) await fixture.upload(`/b/${key}`, [])
      await fixture.upload('/bb/other', [])
      const list = (after: string | undefined, limit: number, delimiter: string | undefined) =>
        store.listPage({ prefix: '/b/', delimiter, after, limit })
      const all = await list(undefined, 100, '/')
      expect(all.entries.map((entry) => entry.path)).toEqual(['/b/a', '/b/d/', '/b/e/', '/b/z', '/b/é', '/b/\uffee', '/b/😀'])
      const paged: string[] = []
      for (let after: string | undefined; ;) {
        const page: Awaited<ReturnType<typeof list>> = await list(after, 2, '/')
        paged.push(...page.entries.map((entry) => entry.path))
        if (page.next === null) break
        after = page.next
      }
      expect(paged).toEqual(all.entries.map((entry) => entry.path))
      expect((await list(undefined, 100, undefined)).entries).toHaveLength(8)
      expect((await store.listPage({ prefix: '/b/d', delimiter: '/', after: undefined, limit: 9 })).entries).toEqual([
        { kind: 'prefix', path: '/b/d/' },
      ])
    })

    test('renaming keeps file and content; a deleted file comes back from the trash', async () => {
      const { file } = await fixture.upload('/b/k', [5])
      await fixture.upload('/b/taken', [6])
      await expect(
        store.renameFile({ from: '/b/k', to: '/b/taken', precondition: { kind: 'absent' }, bucketDefaults: DEFAULTS }),
      ).rejects.toMatchObject({ code: 'ALREADY_EXISTS' })
      const renamed = await store.renameFile({
        from: '/b/k',
        to: '/b/new',
        precondition: { kind: 'absent' },
        bucketDefaults: DEFAULTS,
      })
      expect(renamed).toMatchObject({ fileId: file.fileId, manifestId: file.manifestId, generation: 1 })
      expect(await store.statFile({ path: '/b/k' })).toBeUndefined()
      await store.deleteFile({ path: '/b/new', purge: false, precondition: NO_PRECONDITION })
      expect(await store.undeleteFile({ path: '/b/new' })).toMatchObject({ manifestId: file.manifestId, generation: 2 })
      await expect(store.undeleteFile({ path: '/b/new' })).rejects.toMatchObject({ code: 'ALREADY_EXISTS' })
      await expect(store.undeleteFile({ path: '/b/k' })).rejects.toMatchObject({ code: 'TRASH_ENTRY_NOT_FOUND' })
    })

    test('a prefix job goes on where it stopped and skips what is in its way', async () => {
      for (const key of ['p/1', 'p/2', 'p/3', 'q/2']) await fixture.upload(`/b/${key}`, [5])
      const job = await store.createJob({ kind: 'rename-prefix', from: '/b/p/', to: '/b/q/', flag: false })
      while (await store.stepJobs({ limit: 2, bucketDefaults: DEFAULTS }));
      expect(await store.getJob({ jobId: job.id })).toMatchObject({ state: 'done', processed: 2, skipped: 1 })
      const listed = await store.listPage({ prefix: '/b/', delimiter: undefined, after: undefined, limit: 10 })
      expect(listed.entries.map((entry) => entry.path)).toEqual(['/b/p/2', '/b/q/1', '/b/q/2', '/b/q/3'])
      await expect(store.createJob({ kind: 'copy-prefix', from: '/b/q/', to: '/b/q/r/', flag: false })).rejects.toMatchObject({
        code: 'INVALID_ARGUMENT',
      })
    })

    test('an empty bucket can be removed, one with files or open uploads cannot', async () => {
      await fixture.upload('/b/k', [])
      await expect(store.deleteBucket({ name: 'b' })).rejects.toMatchObject({ code: 'BUCKET_NOT_EMPTY' })
      await store.deleteFile({ path: '/b/k', purge: true, precondition: NO_PRECONDITION })
      const open = await fixture.openUpload('/b/k')
      await expect(store.deleteBucket({ name: 'b' })).rejects.toMatchObject({ code: 'BUCKET_NOT_EMPTY' })
      await store.abortUpload({ uploadId: open.uploadId })
      expect(await store.deleteBucket({ name: 'b' })).toEqual({ name: 'b' })
      await expect(store.deleteBucket({ name: 'b' })).rejects.toMatchObject({ code: 'BUCKET_NOT_FOUND' })
    })

    test('a path that was purged or renamed away begins above the generations it had', async () => {
      await fixture.upload('/b/k', [5])
      await fixture.upload('/b/k', [6])
      await store.deleteFile({ path: '/b/k', purge: true, precondition: NO_PRECONDITION })
      expect((await fixture.upload('/b/k', [7])).file.generation).toBe(3)
      await store.renameFile({ from: '/b/k', to: '/b/other', precondition: NO_PRECONDITION, bucketDefaults: DEFAULTS })
      expect((await fixture.upload('/b/k', [8])).file.generation).toBe(4)
      expect(await store.pruneRetiredNames({ before: store.now() + 1, limit: 10 })).toBeGreaterThan(0)
    })

    test('a condition that asks for a file to be there refuses when there is none', async () => {
      const exists = { kind: 'exists' } as const
      await expect(store.deleteFile({ path: '/b/k', purge: true, precondition: exists })).rejects.toMatchObject({
        code: expect.stringMatching(/PRECONDITION_FAILED|FILE_NOT_FOUND/),
      })
      await expect(fixture.openUpload('/b/k', { precondition: exists })).rejects.toMatchObject({ code: 'PRECONDITION_FAILED' })
      await fixture.upload('/b/k', [5])
      expect(await fixture.openUpload('/b/k', { precondition: exists })).toMatchObject({ path: '/b/k' })
    })

    describe('with servers in two zones', () => {
      const FREE = { state: 'ok', totalBytes: 2 ** 40, freeBytes: 2 ** 39, usedBytes: 0, chunkCount: 0 } as const

      /** A chunk with copies on two servers of zone z, reported; a third server stands in another zone. */
      async function closeCopies() {
        const far = await fixture.addServer(9, { zone: 'far', disk: FREE })
        const [one, two] = servers as [TestServer, TestServer]
        const { uploadId, writerEpoch } = await fixture.openUpload('/b/k')
        const chunk = { index: 0, lengthBytes: 10, chunkId: chunkId(), root: root(1) }
        await store.allocateChunks({ uploadId, writerEpoch, chunks: [{ ...chunk, isNew: true, targets: [] }] })
        const receipts = [one, two].map((server) => fixture.receiptOf(server, chunk.chunkId, 10, chunk.root))
        await store.reportChunks({ uploadId, writerEpoch, chunks: [{ ...chunk, offset: 0, receipts }] })
        const commit = { uploadId, writerEpoch, sizeBytes: 10, chunkCount: 1, checksum: fileChecksum([chunk]) }
        return { far, uploadId, writerEpoch, chunk, commit }
      }

      beforeEach(async () => {
        // The fixture's servers say that they are full; here they have room, and so their zone counts.
        for (const server of servers) {
          const disks = [{ ...FREE, diskId: server.diskId, path: '/d' }]
          await store.recordBeats({ beats: [{ serverNo: server.serverNo, atMs: store.now(), disks, seen: server.seen }] })
        }
      })

      test('copies in one of them are not enough: the chunk is to be sent again, and a copy in the other makes it whole', async () => {
        const { far, uploadId, writerEpoch, chunk, commit } = await closeCopies()
        await expect(store.commitUpload(commit)).rejects.toMatchObject({ code: 'NOT_ENOUGH_REPLICAS', data: { zones: 1 } })
        expect((await store.listUploadChunks({ uploadId, from: 0, limit: 10 })).chunks).toEqual([])
        const receipts = [fixture.receiptOf(far, chunk.chunkId, 10, chunk.root)]
        await store.reportChunks({ uploadId, writerEpoch, chunks: [{ ...chunk, offset: 0, receipts }] })
        expect((await store.listUploadChunks({ uploadId, from: 0, limit: 10 })).chunks).toHaveLength(1)
        expect(await store.commitUpload(commit)).toMatchObject({ generation: 1 })
      })

      test('a zone that has fallen silent is not waited for', async () => {
        const { far, commit } = await closeCopies()
        await store.setServerStates({ changes: [{ serverNo: far.serverNo, state: 'suspect' }] })
        expect(await store.commitUpload(commit)).toMatchObject({ generation: 1 })
      })

      test('a zone without room is not waited for', async () => {
        const { far, commit } = await closeCopies()
        const disks = [{ ...FREE, freeBytes: 1000, diskId: far.diskId, path: '/d' }]
        await store.recordBeats({ beats: [{ serverNo: far.serverNo, atMs: store.now(), disks, seen: far.seen }] })
        expect(await store.commitUpload(commit)).toMatchObject({ generation: 1 })
      })
    })
  })
}
