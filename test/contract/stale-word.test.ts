/** What is late or out of date must not count: words of servers declared dead, of other bytes, of another time. */
import { beforeEach, expect, test } from '@jest/globals'
import { signReceipt } from '../../common/auth/receipt.js'
import { fileChecksum } from '../../common/checksum/tree.js'
import { checksumToHex, type Checksum64 } from '../../common/checksum/xxh64.js'
import { VirtualClock } from '../../common/clock/virtual-clock.js'
import { newId, type ChunkId, type DiskId, type ServerId } from '../../common/ids.js'
import { SeededRandom } from '../../common/random/seeded-random.js'
import { MiB } from '../../common/units.js'
import { openMemoryStore } from '../../master/index.js'
import type { MetadataStore } from '../../master/store/metadata-store.js'
import type { ServerRecord } from '../../master/store/operations/servers.js'
import { newUpload } from './metadata-store-fixture.js'

const POLICY = { replicas: 3, minReplicas: 2, chunkSizeBytes: 64 * MiB, trashDays: 0 }
const random = new SeededRandom(3)
const root = (n: number): Checksum64 => checksumToHex(BigInt(n))

type Server = ServerRecord & { readonly diskId: DiskId }

let store: MetadataStore
let servers: Server[]
let sequence = 1

beforeEach(async () => {
  store = await openMemoryStore(new VirtualClock(), random)
  await store.ensureCluster({})
  servers = []
  for (let index = 0; index < 3; index += 1) {
    const diskId = newId<DiskId>(random)
    servers.push({ ...(await register(index, null, diskId)), diskId })
  }
})

const diskReport = (index: number, diskId: DiskId) =>
  ({ diskId, path: `/d${index}`, state: 'ok', totalBytes: 1, freeBytes: 1, usedBytes: 0, chunkCount: 0 }) as const

const register = (index: number, serverId: ServerId | null, diskId: DiskId) =>
  store.registerServer({
    serverId,
    freshId: newId<ServerId>(random),
    freshReceiptKey: { keyId: `k${index}`, secret: 'ab'.repeat(32) },
    instanceId: `i${index}`,
    url: `http://cs:${index}`,
    zone: 'z',
    rack: 'r',
    host: `h${index}`,
    disks: [diskReport(index, diskId)],
    seen: { epoch: 0, position: 0 },
  })

const openUpload = (path: string) => store.openUpload(newUpload(path, POLICY))

const receiptOf = (server: Server, chunkId: ChunkId, chunkRoot: Checksum64) => ({
  serverNo: server.serverNo,
  receipt: signReceipt(server.receiptKey, {
    chunkId,
    serverId: server.serverId,
    diskId: server.diskId,
    lengthBytes: 10,
    root: chunkRoot,
    storeSeq: sequence++,
  }),
})

/** Opens an upload of one chunk that is allocated, not reported. */
async function allocated(path: string) {
  const { uploadId, writerEpoch } = await openUpload(path)
  const chunk = { index: 0, lengthBytes: 10, chunkId: newId<ChunkId>(random), root: root(1) }
  await store.allocateChunks({ uploadId, writerEpoch, chunks: [{ ...chunk, isNew: true, targets: [] }] })
  const report = (holders: readonly Server[]) =>
    store.reportChunks({
      uploadId,
      writerEpoch,
      chunks: [{ ...chunk, offset: 0, receipts: holders.map((server) => receiptOf(server, chunk.chunkId, chunk.root)) }],
    })
  const commit = () =>
    store.commitUpload({ uploadId, writerEpoch, sizeBytes: 10, chunkCount: 1, checksum: fileChecksum([chunk]) })
  return { chunk, report, commit }
}

test('a server declared dead comes back as another incarnation, though it is the same process; once, not at each try', async () => {
  const [server] = servers as [Server]
  await store.setServerStates({ changes: [{ serverNo: server.serverNo, state: 'suspect' }] })
  expect(await register(0, server.serverId, server.diskId)).toMatchObject({ incarnation: 1, state: 'serving' })
  await store.setServerStates({ changes: [{ serverNo: server.serverNo, state: 'dead' }] })
  const back = await register(0, server.serverId, server.diskId)
  expect(back).toMatchObject({ serverNo: server.serverNo, incarnation: 2, state: 'starting', receiptKey: server.receiptKey })
  expect(await register(0, server.serverId, server.diskId)).toMatchObject({ incarnation: 2 })
})

test('the copies of a server that comes back from the dead count again once it has told what it holds', async () => {
  const [one, two] = servers as [Server, Server]
  const { report, commit } = await allocated('/b/k')
  await report([one, two])
  await store.setServerStates({ changes: [{ serverNo: two.serverNo, state: 'dead' }] })
  await expect(commit()).rejects.toMatchObject({ code: 'NOT_ENOUGH_REPLICAS' })
  await register(1, two.serverId, two.diskId)
  await expect(commit()).rejects.toMatchObject({ code: 'NOT_ENOUGH_REPLICAS' })
  await store.setServerStates({ changes: [{ serverNo: two.serverNo, state: 'serving' }] })
  expect(await commit()).toMatchObject({ generation: 1 })
})

test('a heartbeat that is written down after its server was declared dead does not make its copies count', async () => {
  const [one, two] = servers as [Server, Server]
  const { report, commit } = await allocated('/b/k')
  await report([one, two])
  await store.setServerStates({ changes: [{ serverNo: two.serverNo, state: 'dead' }] })
  await store.recordBeats({
    beats: [{ serverNo: two.serverNo, atMs: 1, disks: [diskReport(1, two.diskId)], seen: { epoch: 0, position: 0 } }],
  })
  await expect(commit()).rejects.toMatchObject({ code: 'NOT_ENOUGH_REPLICAS' })
})

test('a copy of other bytes, heard of before the chunk was reported, is none of its copies', async () => {
  const [one, two, three] = servers as [Server, Server, Server]
  const { chunk, report, commit } = await allocated('/b/k')
  const { receipt } = receiptOf(one, chunk.chunkId, root(2))
  const { chunkId, diskId, lengthBytes } = receipt
  const other = { kind: 'added', sequence: receipt.storeSeq, chunkId, diskId, lengthBytes, root: root(2) } as const
  await store.applyChanges({ serverNo: one.serverNo, changes: [other] })
  await expect(report([two])).rejects.toMatchObject({ code: 'NOT_ENOUGH_REPLICAS' })
  await report([two, three])
  await store.setServerStates({ changes: [{ serverNo: three.serverNo, state: 'dead' }] })
  await expect(commit()).rejects.toMatchObject({ code: 'NOT_ENOUGH_REPLICAS' })
})

test('moving a prefix one level up moves each file once, or leaves it', async () => {
  for (const path of ['/b/x/a/a/f', '/b/x/a/g']) {
    const { report, commit } = await allocated(path)
    await report(servers)
    await commit()
  }
  const job = await store.createJob({ kind: 'rename-prefix', from: '/b/x/a/', to: '/b/x/', flag: false })
  while (await store.stepJobs({ limit: 1, bucketDefaults: POLICY }));
  const { entries } = await store.listPage({ prefix: '/b/', delimiter: undefined, after: undefined, limit: 10 })
  expect(entries.map((entry) => entry.path)).toEqual(['/b/x/a/a/f', '/b/x/g'])
  expect(await store.getJob({ jobId: job.id })).toMatchObject({ state: 'done', processed: 1, skipped: 1 })
})
