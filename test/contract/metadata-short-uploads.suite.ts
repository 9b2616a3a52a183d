/** What every {@link MetadataStore} must do about uploads in two transactions. Run on each implementation by metadata-store.test.ts. */
import { afterEach, beforeEach, describe, expect, test } from '@jest/globals'
import { fileChecksum } from '../../common/checksum/tree.js'
import { MiB } from '../../common/units.js'
import type { MetadataStore } from '../../master/store/metadata-store.js'
import { chunkId, newUpload, root, StoreFixture, type StoreUnderTest } from './metadata-store-fixture.js'

const LENGTH = 5
const CHECKSUM = fileChecksum([{ lengthBytes: LENGTH, root: root(1) }])

export function metadataShortUploadsSuite(name: string, open: () => Promise<StoreUnderTest>): void {
  describe(`MetadataStore, short uploads: ${name}`, () => {
    let fixture: StoreFixture
    let store: MetadataStore

    beforeEach(async () => {
      fixture = await StoreFixture.open(open)
      store = fixture.store
    })

    afterEach(async () => {
      await fixture.under.close()
    })

    const placed = (changes: { replicas?: number; lengthBytes?: number } = {}) => ({
      replicas: changes.replicas ?? 3,
      chunks: [{ index: 0, lengthBytes: changes.lengthBytes ?? LENGTH, chunkId: chunkId(), isNew: true, targets: ['t1', 't2'] }],
    })
    const startUpload = (path: string, changes: object = {}) =>
      store.startUpload({ ...newUpload(path), placed: placed(), ...changes })

    /** The commit of a started upload, its chunk stored on the first `copies` servers. */
    function finishing(session: Awaited<ReturnType<typeof startUpload>>, copies = 3) {
      const id = session.chunks?.[0]?.chunkId as ReturnType<typeof chunkId>
      const receipts = fixture.servers.slice(0, copies).map((server) => fixture.receiptOf(server, id, LENGTH, root(1)))
      const chunks = [{ index: 0, chunkId: id, offset: 0, lengthBytes: LENGTH, root: root(1), receipts }]
      const { uploadId, writerEpoch } = session
      return { uploadId, writerEpoch, sizeBytes: LENGTH, chunkCount: 1, checksum: CHECKSUM, chunks }
    }

    test('a session opens with its chunk allocated and commits with it reported', async () => {
      const session = await startUpload('/b/k')
      expect(session.chunks).toEqual([{ index: 0, lengthBytes: LENGTH, chunkId: expect.any(String), targets: ['t1', 't2'] }])
      const file = await store.finishUpload(finishing(session))
      expect(file).toMatchObject({ path: '/b/k', generation: 1, sizeBytes: LENGTH, checksum: CHECKSUM })
      expect(await store.statFile({ path: '/b/k' })).toMatchObject({ generation: 1, manifestId: file.manifestId })
      expect(await store.listUploads({ after: '', limit: 10 })).toEqual([])
    })

    test('either request, repeated, gets the first answer and changes nothing', async () => {
      const key = (id: string) => ({ request: { id, digest: 'd' } })
      const session = await startUpload('/b/k', key('r1'))
      expect(await startUpload('/b/k', key('r1'))).toEqual(session)
      expect(await store.listUploads({ after: '', limit: 10 })).toHaveLength(1)
      const commit = { ...finishing(session), ...key('r2') }
      const file = await store.finishUpload(commit)
      expect(await store.finishUpload(commit)).toEqual(file)
      await expect(store.finishUpload({ ...commit, ...key('r3') })).rejects.toMatchObject({ code: 'UPLOAD_CLOSED' })
    })

    test('a commit whose chunk has too few live copies enters nothing, and may be repeated with more', async () => {
      const session = await startUpload('/b/k')
      await expect(store.finishUpload(finishing(session, 1))).rejects.toMatchObject({ code: 'NOT_ENOUGH_REPLICAS' })
      expect(await store.listUploadChunks({ uploadId: session.uploadId, from: 0, limit: 10 })).toMatchObject({ chunks: [] })
      expect(await store.statFile({ path: '/b/k' })).toBeUndefined()
      expect(await store.finishUpload(finishing(session))).toMatchObject({ generation: 1 })
    })

    test('a commit that is refused leaves the chunk out of the draft', async () => {
      const session = await startUpload('/b/k')
      await expect(store.finishUpload({ ...finishing(session), sizeBytes: 4 })).rejects.toMatchObject({
        code: 'UPLOAD_INCOMPLETE',
      })
      expect(await store.listUploadChunks({ uploadId: session.uploadId, from: 0, limit: 10 })).toMatchObject({ chunks: [] })
    })

    test('a session that goes on from earlier comes without chunks', async () => {
      const resumable = { fingerprint: 'f', sizeBytes: LENGTH }
      const { uploadId } = await startUpload('/b/k', resumable)
      const adoption = { kind: 'take-over', uploadId } as const
      expect(await startUpload('/b/k', { ...resumable, adoption })).toEqual(
        expect.not.objectContaining({ chunks: expect.anything() }),
      )
    })

    test.each([
      ['takes another number of copies than was assumed', { placed: placed({ replicas: 2 }) }],
      ['has smaller chunks', { placed: placed({ lengthBytes: 65 * MiB }) }],
      ['is told of an empty chunk', { placed: placed({ lengthBytes: 0 }) }],
    ])('a session that %s comes without chunks', async (_, changes) => {
      expect(await startUpload('/b/k', changes)).toEqual(expect.not.objectContaining({ chunks: expect.anything() }))
    })

    test('a start that is refused leaves no session and no chunk behind', async () => {
      await fixture.upload('/b/k', [LENGTH])
      const started = startUpload('/b/k', { precondition: { kind: 'absent' } })
      await expect(started).rejects.toMatchObject({ code: 'ALREADY_EXISTS' })
      expect(await store.listUploads({ after: '', limit: 10 })).toEqual([])
    })
  })
}
