/** Many small files at once: their requests travel together, and what becomes of one is no other's business. */
import { expect, test } from '@jest/globals'
import { sealCapability } from '../../common/auth/capability.js'
import { chunkRoot, encodeLeafSums } from '../../common/checksum/tree.js'
import { xxh64 } from '../../common/checksum/xxh64.js'
import { isCairnError } from '../../common/errors/cairn-error.js'
import { newId, type ChunkId, type UploadId } from '../../common/ids.js'
import { CHUNKS_PATH, encodePuts, storedList, type SmallPut } from '../../common/protocol/small-chunks.js'
import { SeededRandom } from '../../common/random/seeded-random.js'
import { KiB } from '../../common/units.js'
import { SimCluster } from '../support/sim-cluster.js'

const FILES = 40
const contents = Array.from({ length: FILES }, (_, index) => new SeededRandom(index).bytes(1 + index * 700))
const pathOf = (index: number): string => `/b/${index}`

async function* once(data: Uint8Array): AsyncGenerator<Uint8Array> {
  yield data
}

const upload = (cluster: SimCluster, index: number, options: object = {}) => {
  const data = contents[index] as Uint8Array
  return cluster.client.uploadStream(once(data), pathOf(index), { sizeBytes: data.length, ...options })
}

const uploadAll = (cluster: SimCluster) => Promise.all(contents.map((_, index) => upload(cluster, index)))

async function expectAllWhole(cluster: SimCluster): Promise<void> {
  const read = async (index: number): Promise<Uint8Array> => {
    const parts: Uint8Array[] = []
    for await (const piece of cluster.client.download(await cluster.client.stat(pathOf(index)))) parts.push(piece.slice())
    return Buffer.concat(parts)
  }
  const all = await cluster.run(Promise.all(contents.map((_, index) => read(index))))
  for (const [index, data] of all.entries()) expect(xxh64(data)).toBe(xxh64(contents[index] as Uint8Array))
}

const transports = (cluster: SimCluster): string[] => {
  const asked: string[] = []
  cluster.network.onMessage = (from, _to, what) => {
    if (from.startsWith('client') && !what.startsWith('answer')) asked.push(what.replace(/http:\/\/[^/]*/, ''))
  }
  return asked
}

test.each([0, 32 * KiB])(
  'files that are put, looked up and read at once share requests (packs below %d)',
  async (packedBytesMax) => {
    await using cluster = await SimCluster.start({ seed: 3, chunkservers: 3, packedBytesMax })
    const asked = transports(cluster)
    await cluster.run(uploadAll(cluster))
    await expectAllWhole(cluster)
    // Alone they would be two of the master's and three of the chunkservers' for each put, and three for each read.
    expect(asked.length).toBeLessThan(FILES * 2)
    expect(new Set(asked)).toContain('POST /v1/batch')
    expect(new Set(asked)).toContain(`POST ${CHUNKS_PATH}`)
    const status = await cluster.status()
    expect(status.chunks).toEqual({ total: FILES, healthy: FILES, underReplicated: 0, unavailable: 0 })
  },
)

test('a refusal is that of one file, whichever others it travelled with', async () => {
  await using cluster = await SimCluster.start({ seed: 4, chunkservers: 3 })
  await cluster.run(upload(cluster, 7))
  const putting = contents.map((_, index) => upload(cluster, index, { precondition: { kind: 'absent' } }))
  const outcomes = await cluster.run(Promise.allSettled(putting))
  const refused = outcomes.flatMap((outcome, index) => (outcome.status === 'rejected' ? [[index, outcome.reason as Error]] : []))
  expect(refused).toEqual([[7, expect.objectContaining({ code: 'ALREADY_EXISTS' })]])
  await expectAllWhole(cluster)
})

test('a server that has died costs small files no copy that they need', async () => {
  await using cluster = await SimCluster.start({ seed: 5, chunkservers: 4 })
  cluster.kill(1)
  await cluster.run(uploadAll(cluster))
  await expectAllWhole(cluster)
})

test('servers that do not know of requests for several are asked for each alone', async () => {
  await using cluster = await SimCluster.start({ seed: 6, chunkservers: 3 })
  const asked = transports(cluster)
  for (const service of cluster.network.services.values()) {
    const { handler } = service
    const older = async (request: Parameters<typeof handler>[0]) => {
      if (request.path !== '/v1/batch' && !/^\/v1\/chunks(\/read)?$/.test(request.path)) return handler(request)
      const error = { code: 'ROUTE_NOT_FOUND', message: 'no address of this server', retryable: false }
      return { status: 404, body: new TextEncoder().encode(JSON.stringify({ error })) }
    }
    Object.assign(service, { handler: older })
  }
  await cluster.run(uploadAll(cluster))
  await expectAllWhole(cluster)
  expect(asked.filter((what) => what.endsWith('/v1/batch')).length).toBeLessThanOrEqual(4)
  expect(asked.filter((what) => what.startsWith('PUT /v1/chunks/')).length).toBeGreaterThanOrEqual(FILES)
})

test('of small chunks in one request those are stored that are in order, and each of the others is told why not', async () => {
  await using cluster = await SimCluster.start({ seed: 7, chunkservers: 3, packedBytesMax: 4 * KiB })
  const { master } = cluster
  const server = cluster.servers[0]?.running
  const record = master.cluster.views.byId(server?.serverId as never)?.record
  const random = new SeededRandom(9)
  const put = (
    changes: { data?: Uint8Array; incarnation?: number; expiresMs?: number; capabilityFor?: ChunkId } = {},
  ): SmallPut => {
    const id = newId<ChunkId>(random)
    const data = random.bytes(3000)
    const capability = sealCapability(master.context.capabilityKeys[0] as never, {
      kind: 'write',
      chunkId: changes.capabilityFor ?? id,
      uploadId: newId<UploadId>(random),
      chunkIndex: 0,
      lengthBytes: data.length,
      targets: [[record?.serverId as never, changes.incarnation ?? (record?.incarnation as number)]],
      metadataEpoch: 1,
      expiresMs: changes.expiresMs ?? cluster.clock.now() + 60_000,
    })
    const sent = changes.data ?? data
    return {
      chunkId: id,
      lengthBytes: sent.length,
      capability,
      data: sent,
      leafSum: encodeLeafSums(BigUint64Array.of(xxh64(data))),
    }
  }
  const puts = [
    put(),
    put({ data: random.bytes(3000) }),
    put({ incarnation: 99 }),
    put({ expiresMs: 1 }),
    put({ capabilityFor: newId<ChunkId>(random) }),
    put({ data: random.bytes(2000) }),
    put(),
  ]
  const transport = cluster.network.transport('client')
  const ask = async (body: Uint8Array) => {
    const call = transport.call({ method: 'POST', url: record?.url + CHUNKS_PATH, body, timeoutMs: 5_000 })
    return JSON.parse(new TextDecoder().decode((await cluster.run(call)).body)) as { error?: { code: string } }
  }
  const { chunks } = storedList.parse(await ask(encodePuts(puts)))
  const told = chunks.map((chunk) => ('receipt' in chunk ? chunk.receipt.root : (chunk.error as { code: string }).code))
  const rootOf = ({ data }: SmallPut) => chunkRoot(data.length, BigUint64Array.of(xxh64(data)))
  expect(told).toEqual([
    rootOf(puts[0] as SmallPut),
    'CHECKSUM_MISMATCH',
    'INCARNATION_CHANGED',
    'CAPABILITY_EXPIRED',
    'CAPABILITY_INVALID',
    'CHUNK_SIZE_MISMATCH',
    rootOf(puts[6] as SmallPut),
  ])
  const held = puts.map(({ chunkId }) => server?.store.find(chunkId) !== undefined)
  expect(held).toEqual([true, false, false, false, false, false, true])
  const malformed = [new Uint8Array(3), Buffer.from('\xff\xff\xff\x7fxx', 'latin1'), encodePuts(puts).subarray(0, -1)]
  for (const body of malformed) expect((await ask(body)).error?.code).toBe('INVALID_ARGUMENT')
})

test('a copy that has rotted is read from elsewhere, those beside it from where they are', async () => {
  await using cluster = await SimCluster.start({ seed: 8, chunkservers: 3 })
  await cluster.run(uploadAll(cluster))
  const { disk } = cluster.servers[0] as (typeof cluster.servers)[number]
  const files = disk
    .peekNames('/data/chunks')
    .flatMap((shard) => disk.peekNames(`/data/chunks/${shard}`).map((name) => `/data/chunks/${shard}/${name}`))
  expect(files.length).toBe(FILES)
  for (const file of files.slice(0, 5)) disk.corrupt(file, (content) => void (content[0] = (content[0] as number) ^ 1))
  await expectAllWhole(cluster)
})

test('what the client is told does not depend on company: a file that is not there, among others', async () => {
  await using cluster = await SimCluster.start({ seed: 9, chunkservers: 3 })
  await cluster.run(uploadAll(cluster))
  const asking = [...contents.map((_, index) => pathOf(index)), '/b/none'].map((path) => cluster.client.stat(path))
  const outcomes = await cluster.run(Promise.allSettled(asking))
  expect(outcomes.filter(({ status }) => status === 'fulfilled')).toHaveLength(FILES)
  const last = outcomes.at(-1)
  expect(last?.status === 'rejected' && isCairnError(last.reason as unknown, 'FILE_NOT_FOUND')).toBe(true)
})
