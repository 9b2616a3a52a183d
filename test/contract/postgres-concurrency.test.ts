/** Several masters write to one PostgreSQL at once: what they make of it is what one after the other would have made. */
import { afterAll, beforeAll, expect, test } from '@jest/globals'
import { fileChecksum } from '../../common/checksum/tree.js'
import { isCairnError } from '../../common/errors/cairn-error.js'
import type { ChunkId, DiskId } from '../../common/ids.js'
import { newId } from '../../common/ids.js'
import { NO_PRECONDITION } from '../../common/protocol/precondition.js'
import type { MetadataStore } from '../../master/store/metadata-store.js'
import { parsePostgresUrl } from '../../master/store/postgres/address.js'
import { openPostgresStore } from '../../master/store/postgres-store.js'
import { describeOnPostgres } from '../support/on-postgres.js'
import { Postgres } from '../support/postgres.js'
import { chunkId, DEFAULTS, random, StoreFixture } from './metadata-store-fixture.js'

const WITHIN_MS = 180_000
const MASTERS = 3

describeOnPostgres('several stores on one PostgreSQL', () => {
  let postgres: Postgres
  let database: string
  let stores: MetadataStore[]
  let first: StoreFixture
  let retries = 0

  beforeAll(async () => {
    postgres = await Postgres.start()
    database = await postgres.createDatabase()
    // All at once: the tables are made by one of them.
    stores = await Promise.all(
      Array.from({ length: MASTERS }, () =>
        openPostgresStore(parsePostgresUrl(postgres.url(database)), { onRetry: () => (retries += 1) }),
      ),
    )
    first = await StoreFixture.open(async () => ({ store: stores[0] as MetadataStore, close: async () => undefined }))
  }, WITHIN_MS)
  afterAll(async () => {
    await Promise.all(stores.map((store) => store.close()))
    await postgres[Symbol.asyncDispose]()
  })

  /** `count` calls spread over the stores, all under way at once. @returns how each ended: true, or the code of its error */
  const atOnce = (count: number, call: (store: MetadataStore, index: number) => Promise<unknown>): Promise<(true | string)[]> =>
    Promise.all(
      Array.from({ length: count }, (_, index) =>
        call(stores[index % MASTERS] as MetadataStore, index).then(
          () => true as const,
          (error: unknown) => {
            if (isCairnError(error)) return error.code
            throw error
          },
        ),
      ),
    )

  test(
    'of many that make a file where there is to be none, one does',
    async () => {
      await first.upload('/b/source', [5])
      const copy = (to: string) => (store: MetadataStore) =>
        store.copyFile({ from: '/b/source', to, precondition: { kind: 'absent' }, bucketDefaults: DEFAULTS })
      const ends = await atOnce(12, copy('/b/one'))
      expect(ends.filter((end) => end === true)).toHaveLength(1)
      expect(ends.filter((end) => end === 'ALREADY_EXISTS')).toHaveLength(11)
    },
    WITHIN_MS,
  )

  test(
    'of many that replace a file each gets a generation of its own, and none is left out',
    async () => {
      const generations = await Promise.all(
        Array.from({ length: 12 }, async (_, index) => {
          const store = stores[index % MASTERS] as MetadataStore
          const copied = await store.copyFile({
            from: '/b/source',
            to: '/b/many',
            precondition: NO_PRECONDITION,
            bucketDefaults: DEFAULTS,
          })
          return copied.generation
        }),
      )
      expect(generations.sort((a, b) => a - b)).toEqual(Array.from({ length: 12 }, (_, index) => index + 1))
    },
    WITHIN_MS,
  )

  test(
    'one request that arrives at all of them is done once, with one answer',
    async () => {
      const request = { id: 'everywhere', digest: 'd' }
      const jobs = await Promise.all(
        stores.map((store) => store.createJob({ kind: 'delete-prefix', from: '/none/', to: null, flag: true, request })),
      )
      expect(new Set(jobs.map((job) => job.id)).size).toBe(1)
      expect((await first.store.listJobs({ limit: 10 })).length).toBe(1)
    },
    WITHIN_MS,
  )

  test(
    'servers that join at the same time get numbers of their own',
    async () => {
      const join = async (store: MetadataStore, index: number) =>
        store.registerServer({
          serverId: null,
          freshId: newId<ChunkId>(random),
          freshReceiptKey: { keyId: `n${index}`, secret: 'ab'.repeat(32) },
          instanceId: `n${index}`,
          url: `http://new:${index}`,
          zone: 'z',
          rack: 'r',
          host: 'h',
          disks: [
            { diskId: newId<DiskId>(random), path: '/d', state: 'ok', totalBytes: 1, freeBytes: 1, usedBytes: 0, chunkCount: 0 },
          ],
          seen: { epoch: 0, position: 0 },
        })
      const before = (await first.store.listServers({})).length
      expect(await atOnce(9, join)).toEqual(Array.from({ length: 9 }, () => true))
      const numbers = (await first.store.listServers({})).map((server) => server.serverNo)
      expect(new Set(numbers).size).toBe(before + 9)
    },
    WITHIN_MS,
  )

  test(
    'what is counted is what is there, and the position has risen with each write',
    async () => {
      const before = await first.store.readPosition({})
      const paths = Array.from({ length: 30 }, (_, index) => `/b/n/${index % 10}`)
      const mixed = async (store: MetadataStore, index: number) => {
        const path = paths[index] as string
        if (index % 3 === 2) return store.deleteFile({ path, purge: index % 2 === 0, precondition: NO_PRECONDITION })
        return store.copyFile({ from: '/b/source', to: path, precondition: NO_PRECONDITION, bucketDefaults: DEFAULTS })
      }
      const ends = await atOnce(30, mixed)
      expect(ends.filter((end) => end !== true && end !== 'FILE_NOT_FOUND')).toEqual([])
      const done = ends.filter((end) => end === true).length
      expect((await first.store.readPosition({})).position).toBe(before.position + done)
      const [row] = await postgres.sql<{ names: number; references: number; trash: number }>(
        `select (select count(*)::int from names) as names, (select count(*)::int from trash) as trash,
        (select reference_count::int from manifests where manifest_id = (select manifest_id from names where path = '/b/source')) as references`,
        database,
      )
      expect(row?.references).toBe((row?.names ?? 0) + (row?.trash ?? 0))
      expect((await first.store.spaceUse({})).files).toBe(row?.names)
      const [log] = await postgres.sql<{ rows: number }>(
        "select count(*)::int as rows from change_log where kind like 'file.%'",
        database,
      )
      // The upload, one copy of 12, 12 copies, and what was done here.
      expect(log?.rows).toBe(1 + 1 + 12 + done)
      expect(retries).toBeGreaterThan(0)
    },
    WITHIN_MS,
  )

  test(
    'two uploads of one path that are committed at the same time are two generations',
    async () => {
      const sessions = await Promise.all(stores.map(async (store) => ({ store, session: await first.openUpload('/b/raced') })))
      const commits = await Promise.all(
        sessions.map(({ store, session }) =>
          store.commitUpload({
            uploadId: session.uploadId,
            writerEpoch: 1,
            sizeBytes: 0,
            chunkCount: 0,
            checksum: fileChecksum([]),
          }),
        ),
      )
      expect(commits.map((file) => file.generation).sort()).toEqual([1, 2, 3])
    },
    WITHIN_MS,
  )

  test(
    'a chunk that is being deleted by one is never referred to by another',
    async () => {
      // Each round races the last step of a deletion against a report of the chunk: one of them has to lose.
      for (let round = 0; round < 5; round += 1) {
        const { uploadId, writerEpoch } = await first.openUpload(`/b/late/${round}`)
        const chunk = { index: 0, lengthBytes: 10, chunkId: chunkId(), root: '00000000000000aa' as never }
        await first.store.allocateChunks({ uploadId, writerEpoch, chunks: [{ ...chunk, isNew: true, targets: [] }] })
        const receipts = first.servers.slice(0, 3).map((server) => first.receiptOf(server, chunk.chunkId, 10, chunk.root))
        await Promise.allSettled([
          stores[1]?.reportChunks({ uploadId, writerEpoch, chunks: [{ ...chunk, offset: 0, receipts }] }),
          stores[2]?.abortUpload({ uploadId }),
          stores[0]?.markDeleting({ before: Number.MAX_SAFE_INTEGER, limit: 100 }),
        ])
        const dangling = await postgres.sql(
          `select 1 from manifest_chunks mc join manifests m on m.manifest_id = mc.manifest_id
          left join chunks c on c.chunk_id = mc.chunk_id where m.state <> 2 and (c.chunk_id is null or c.state <> 1)`,
          database,
        )
        expect(dangling).toEqual([])
      }
    },
    WITHIN_MS,
  )
})
