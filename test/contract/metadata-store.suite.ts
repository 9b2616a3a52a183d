/** What every {@link MetadataStore} must do. Run on each implementation by metadata-store.test.ts. */
import { afterEach, beforeEach, describe, expect, test } from '@jest/globals'
import { signReceipt } from '../../common/auth/receipt.js'
import { fileChecksum } from '../../common/checksum/tree.js'
import { checksumToHex, type Checksum64 } from '../../common/checksum/xxh64.js'
import { newId, type ChunkId, type DiskId } from '../../common/ids.js'
import { NO_PRECONDITION } from '../../common/protocol/precondition.js'
import { SeededRandom } from '../../common/random/seeded-random.js'
import { KiB, MiB } from '../../common/units.js'
import type { MetadataStore } from '../../master/store/metadata-store.js'
import type { ServerRecord } from '../../master/store/operations/servers.js'
import { ChunkState, HealthClass } from '../../master/store/schema.js'

export interface StoreUnderTest {
  readonly store: MetadataStore
  /** Moves the store's clock on, if the implementation can. */
  readonly advance?: (ms: number) => void
  readonly close: () => Promise<void>
}

const DEFAULTS = { replicas: 3, minReplicas: 2, chunkSizeBytes: 64 * MiB, trashDays: 3 }
const random = new SeededRandom(7)
const chunkId = (): ChunkId => newId<ChunkId>(random)
const root = (n: number): Checksum64 => checksumToHex(BigInt(n))

export function metadataStoreSuite(name: string, open: () => Promise<StoreUnderTest>): void {
  describe(`MetadataStore: ${name}`, () => {
    let under: StoreUnderTest
    let store: MetadataStore
    let servers: (ServerRecord & { diskId: DiskId })[]
    let sequence = 100

    beforeEach(async () => {
      under = await open()
      store = under.store
      await store.ensureCluster({})
      servers = []
      for (let index = 0; index < 4; index += 1) servers.push(await addServer(index))
    })

    afterEach(async () => {
      await under.close()
    })

    async function addServer(index: number): Promise<ServerRecord & { diskId: DiskId }> {
      const diskId = newId<DiskId>(random)
      const record = await store.registerServer({
        serverId: null,
        freshId: newId<ChunkId>(random),
        freshReceiptKey: { keyId: `k${index}`, secret: 'ab'.repeat(32) },
        instanceId: `i${index}`,
        url: `http://cs:${index}`,
        zone: 'z',
        rack: 'r',
        host: 'h',
        disks: [{ diskId, path: `/d${index}`, state: 'ok', totalBytes: 1, freeBytes: 1, usedBytes: 0, chunkCount: 0 }],
        seen: { epoch: 0, position: 0 },
      })
      return { ...record, diskId }
    }

    const openUpload = (path: string, changes: Record<string, unknown> = {}) =>
      store.openUpload({
        path,
        sizeBytes: null,
        fingerprint: null,
        chunkSizeBytes: undefined,
        replicas: undefined,
        precondition: NO_PRECONDITION,
        owner: 'test',
        adoption: { kind: 'none' },
        bucketDefaults: DEFAULTS,
        ...changes,
      })

    const receiptOf = (
      server: ServerRecord & { diskId: DiskId },
      id: ChunkId,
      lengthBytes: number,
      chunkRoot: Checksum64,
      storeSeq = sequence++,
    ) => ({
      serverNo: server.serverNo,
      receipt: signReceipt(server.receiptKey, {
        chunkId: id,
        serverId: server.serverId,
        diskId: server.diskId,
        lengthBytes,
        root: chunkRoot,
        storeSeq,
      }),
    })

    /** Uploads a file of chunks of the given lengths; copies on the first `copies` servers. */
    async function upload(path: string, lengths: readonly number[], copies = 3) {
      const session = await openUpload(path)
      const { uploadId, writerEpoch } = session
      const chunks = lengths.map((lengthBytes, index) => ({ index, lengthBytes, chunkId: chunkId(), root: root(index + 1) }))
      if (chunks.length > 0) {
        await store.allocateChunks({
          uploadId,
          writerEpoch,
          chunks: chunks.map((chunk) => ({ ...chunk, isNew: true, targets: [] })),
        })
        let offset = 0
        await store.reportChunks({
          uploadId,
          writerEpoch,
          chunks: chunks.map((chunk) => {
            const at = offset
            offset += chunk.lengthBytes
            return {
              ...chunk,
              offset: at,
              receipts: servers.slice(0, copies).map((server) => receiptOf(server, chunk.chunkId, chunk.lengthBytes, chunk.root)),
            }
          }),
        })
      }
      const sizeBytes = lengths.reduce((sum, length) => sum + length, 0)
      const file = await store.commitUpload({
        uploadId,
        writerEpoch,
        sizeBytes,
        chunkCount: chunks.length,
        checksum: fileChecksum(chunks),
      })
      return { file, chunks, session }
    }

    test('a committed upload is visible whole, with its chunks in order', async () => {
      const { file, chunks } = await upload('/b/k', [64 * KiB, 64 * KiB, 5])
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
      const { file } = await upload('/b/empty', [])
      expect(file).toMatchObject({ sizeBytes: 0, chunkCount: 0 })
    })

    test('a commit that does not match the reported chunks changes nothing, and the session stays open', async () => {
      const { uploadId, writerEpoch } = await openUpload('/b/k')
      const chunk = { index: 0, lengthBytes: 10, chunkId: chunkId(), root: root(1) }
      await store.allocateChunks({ uploadId, writerEpoch, chunks: [{ ...chunk, isNew: true, targets: [] }] })
      const commit = { uploadId, writerEpoch, sizeBytes: 10, chunkCount: 1, checksum: fileChecksum([chunk]) }
      await expect(store.commitUpload(commit)).rejects.toMatchObject({ code: 'UPLOAD_INCOMPLETE' })
      const receipts = servers.slice(0, 3).map((server) => receiptOf(server, chunk.chunkId, 10, chunk.root))
      await store.reportChunks({ uploadId, writerEpoch, chunks: [{ ...chunk, offset: 0, receipts }] })
      for (const wrong of [{ sizeBytes: 11 }, { chunkCount: 2 }, { checksum: fileChecksum([]) }]) {
        await expect(store.commitUpload({ ...commit, ...wrong })).rejects.toMatchObject({ code: 'UPLOAD_INCOMPLETE' })
      }
      expect(await store.statFile({ path: '/b/k' })).toBeUndefined()
      expect(await store.commitUpload(commit)).toMatchObject({ generation: 1 })
    })

    test('a receipt is history: copies on a wiped disk or a dead server do not count at the commit', async () => {
      const { uploadId, writerEpoch } = await openUpload('/b/k')
      const chunk = { index: 0, lengthBytes: 10, chunkId: chunkId(), root: root(1) }
      await store.allocateChunks({ uploadId, writerEpoch, chunks: [{ ...chunk, isNew: true, targets: [] }] })
      const [one, two, three] = servers as [(typeof servers)[0], (typeof servers)[0], (typeof servers)[0]]
      const wiped = { ...one, diskId: newId<DiskId>(random) }
      const report = (receipts: ReturnType<typeof receiptOf>[]) =>
        store.reportChunks({ uploadId, writerEpoch, chunks: [{ ...chunk, offset: 0, receipts }] })
      await expect(
        report([receiptOf(wiped, chunk.chunkId, 10, chunk.root), receiptOf(two, chunk.chunkId, 10, chunk.root)]),
      ).rejects.toMatchObject({ code: 'NOT_ENOUGH_REPLICAS' })
      await report([receiptOf(two, chunk.chunkId, 10, chunk.root), receiptOf(three, chunk.chunkId, 10, chunk.root)])
      await store.setServerStates({ changes: [{ serverNo: three.serverNo, state: 'suspect' }] })
      const commit = { uploadId, writerEpoch, sizeBytes: 10, chunkCount: 1, checksum: fileChecksum([chunk]) }
      await expect(store.commitUpload(commit)).rejects.toMatchObject({ code: 'NOT_ENOUGH_REPLICAS' })
      expect(await store.listUploadChunks({ uploadId, from: 0, limit: 10 })).toEqual({ chunks: [], next: null })
      await store.setServerStates({ changes: [{ serverNo: three.serverNo, state: 'serving' }] })
      expect(await store.commitUpload(commit)).toMatchObject({ generation: 1 })
      expect(await store.chunkHealth({})).toMatchObject({ total: 1, healthy: 0, underReplicated: 1 })
    })

    test('a request that is repeated is answered with its first result and not done again', async () => {
      await upload('/b/k', [5])
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
      await upload('/b/k', [5])
      const { file } = await upload('/b/k', [6])
      expect(file.generation).toBe(2)
      await expect(openUpload('/b/k', { precondition: { kind: 'absent' } })).rejects.toMatchObject({ code: 'ALREADY_EXISTS' })
      await expect(openUpload('/b/k', { precondition: { kind: 'generation', generation: 1 } })).rejects.toMatchObject({
        code: 'PRECONDITION_FAILED',
      })
      const late = await openUpload('/b/k', { precondition: { kind: 'generation', generation: 2 } })
      await upload('/b/k', [7])
      const commit = { uploadId: late.uploadId, writerEpoch: 1, sizeBytes: 0, chunkCount: 0, checksum: fileChecksum([]) }
      await expect(store.commitUpload(commit)).rejects.toMatchObject({ code: 'PRECONDITION_FAILED' })
    })

    test('a session is taken up by who has the same source, and the older writer is refused', async () => {
      const source = { fingerprint: 'f', sizeBytes: 9 }
      const first = await openUpload('/b/k', source)
      await expect(openUpload('/b/k', { ...source, adoption: { kind: 'if-idle' } })).rejects.toMatchObject({
        code: 'UPLOAD_ACTIVE',
        data: { uploadId: first.uploadId },
      })
      expect(await openUpload('/b/k', { fingerprint: 'other', sizeBytes: 9, adoption: { kind: 'if-idle' } })).toMatchObject({
        resumed: false,
      })
      const second = await openUpload('/b/k', { ...source, adoption: { kind: 'take-over', uploadId: first.uploadId } })
      expect(second).toMatchObject({ uploadId: first.uploadId, resumed: true, writerEpoch: 2 })
      await expect(store.keepUpload({ uploadId: first.uploadId, writerEpoch: 1 })).rejects.toMatchObject({
        code: 'UPLOAD_SUPERSEDED',
      })
      await store.keepUpload({ uploadId: first.uploadId, writerEpoch: 2 })
    })

    test('listings fold at the delimiter, page, and order by bytes', async () => {
      for (const key of ['a', 'd/1', 'd/2', 'e/x/y', 'z', 'é', '😀', '\uffee']) await upload(`/b/${key}`, [])
      await upload('/bb/other', [])
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

    test('a copy shares the manifest, and its chunks live until both names are purged', async () => {
      const { file, chunks } = await upload('/b/k', [5])
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
        await store.applyChanges({ serverNo, changes: [{ kind: 'removed', sequence: sequence++, chunkId: id }] })
      expect(await store.getChunk({ chunkId: id })).toBeUndefined()
      expect(await store.spaceUse({})).toMatchObject({ files: 0, fileBytes: 0, liveBytes: 0, garbageBytes: 0 })
    })

    test('renaming keeps file and content; a deleted file comes back from the trash', async () => {
      const { file } = await upload('/b/k', [5])
      await upload('/b/taken', [6])
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

    test('aborting an open session condemns its chunks; aborting a committed one touches nothing', async () => {
      const { session, chunks } = await upload('/b/k', [5])
      await expect(store.abortUpload({ uploadId: session.uploadId })).rejects.toMatchObject({ code: 'UPLOAD_CLOSED' })
      while (await store.collectManifests({ before: store.now(), limit: 10 }));
      expect(await store.getChunk({ chunkId: chunks[0]?.chunkId as ChunkId })).toMatchObject({ state: ChunkState.live })
      const { uploadId, writerEpoch } = await openUpload('/b/other')
      const chunk = { index: 0, lengthBytes: 10, chunkId: chunkId(), root: root(1) }
      await store.allocateChunks({ uploadId, writerEpoch, chunks: [{ ...chunk, isNew: true, targets: [] }] })
      await store.abortUpload({ uploadId })
      expect(await store.getChunk({ chunkId: chunk.chunkId })).toMatchObject({ state: ChunkState.condemned })
      expect(await store.abortUpload({ uploadId })).toEqual({ uploadId })
    })

    test('a report taken before a receipt and delivered after it removes nothing younger than itself', async () => {
      const { chunks } = await upload('/b/k', [5])
      const id = chunks[0]?.chunkId as ChunkId
      const shard = Number.parseInt(id.slice(0, 2), 16)
      const serverNo = servers[0]?.serverNo as number
      expect(await store.applyShardReport({ serverNo, shard, asOfSequence: 50, copies: [] })).toEqual({ added: 0, removed: 0 })
      expect(await store.applyShardReport({ serverNo, shard, asOfSequence: sequence++, copies: [] })).toEqual({
        added: 0,
        removed: 1,
      })
      expect(await store.chunkHealth({})).toMatchObject({ underReplicated: 1 })
    })

    test('the death of a server is swept over its chunks, fewest copies first', async () => {
      const { chunks } = await upload('/b/three', [5])
      const weak = await upload('/b/two', [5], 2)
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
      const copy = receiptOf(fourth, chunks[0]?.chunkId as ChunkId, 5, root(1))
      expect(await store.addReplica(copy)).toBe(true)
      expect(await store.chunkHealth({})).toMatchObject({ total: 2, healthy: 1, underReplicated: 1 })
    })

    test('a surplus copy is trimmed, but never below the wanted live copies', async () => {
      const { chunks } = await upload('/b/k', [5])
      const id = chunks[0]?.chunkId as ChunkId
      expect(await store.trimReplica({ chunkId: id, serverNo: servers[0]?.serverNo as number })).toBe(false)
      await store.addReplica(receiptOf(servers[3] as (typeof servers)[0], id, 5, root(1)))
      expect(await store.listUnhealthy({ healthClass: HealthClass.surplus, limit: 9 })).toHaveLength(1)
      expect(await store.trimReplica({ chunkId: id, serverNo: servers[0]?.serverNo as number })).toBe(true)
      expect(await store.trimReplica({ chunkId: id, serverNo: servers[1]?.serverNo as number })).toBe(false)
      expect(await store.chunkHealth({})).toMatchObject({ healthy: 1 })
    })

    test('a corrupt copy stops counting and may go only once it has been replaced', async () => {
      const { chunks } = await upload('/b/k', [5])
      const id = chunks[0]?.chunkId as ChunkId
      const serverNo = servers[0]?.serverNo as number
      await store.applyChanges({ serverNo, changes: [{ kind: 'corrupt', sequence: sequence++, chunkId: id }] })
      expect(await store.chunkHealth({})).toMatchObject({ healthy: 0, underReplicated: 1 })
      expect(await store.listReplacedCorruptReplicas({ limit: 9 })).toEqual([])
      expect(await store.trimReplica({ chunkId: id, serverNo })).toBe(false)
      await store.addReplica(receiptOf(servers[3] as (typeof servers)[0], id, 5, root(1)))
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
            sequence: sequence++,
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

    test('a prefix job goes on where it stopped and skips what is in its way', async () => {
      for (const key of ['p/1', 'p/2', 'p/3', 'q/2']) await upload(`/b/${key}`, [5])
      const job = await store.createJob({ kind: 'rename-prefix', from: '/b/p/', to: '/b/q/', flag: false })
      while (await store.stepJobs({ limit: 2, bucketDefaults: DEFAULTS }));
      expect(await store.getJob({ jobId: job.id })).toMatchObject({ state: 'done', processed: 2, skipped: 1 })
      const listed = await store.listPage({ prefix: '/b/', delimiter: undefined, after: undefined, limit: 10 })
      expect(listed.entries.map((entry) => entry.path)).toEqual(['/b/p/2', '/b/q/1', '/b/q/2', '/b/q/3'])
      await expect(store.createJob({ kind: 'copy-prefix', from: '/b/q/', to: '/b/q/r/', flag: false })).rejects.toMatchObject({
        code: 'INVALID_ARGUMENT',
      })
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

    test('an empty bucket can be removed, one with files or open uploads cannot', async () => {
      await upload('/b/k', [])
      await expect(store.deleteBucket({ name: 'b' })).rejects.toMatchObject({ code: 'BUCKET_NOT_EMPTY' })
      await store.deleteFile({ path: '/b/k', purge: true, precondition: NO_PRECONDITION })
      const open = await openUpload('/b/k')
      await expect(store.deleteBucket({ name: 'b' })).rejects.toMatchObject({ code: 'BUCKET_NOT_EMPTY' })
      await store.abortUpload({ uploadId: open.uploadId })
      expect(await store.deleteBucket({ name: 'b' })).toEqual({ name: 'b' })
      await expect(store.deleteBucket({ name: 'b' })).rejects.toMatchObject({ code: 'BUCKET_NOT_FOUND' })
    })
  })
}
