/** Reports and commands that events have overtaken, and a database that is older than what chunkservers have seen. */
import { expect, test } from '@jest/globals'
import type { ChunkId } from '../../common/ids.js'
import { SeededRandom } from '../../common/random/seeded-random.js'
import { KiB } from '../../common/units.js'
import { SimCluster, type SimServer } from '../support/sim-cluster.js'

async function* pieces(data: Uint8Array): AsyncGenerator<Uint8Array> {
  yield data
}

/** A cluster with a file of one chunk, and no repair. */
async function withFile(seed: number): Promise<{ cluster: SimCluster; chunkId: ChunkId; server: SimServer; serverNo: number }> {
  const settings = { repairStartDelayMs: 1e9, garbageIntervalMs: 1_000 }
  const cluster = await SimCluster.start({ seed, chunkservers: 3, settings })
  await cluster.run(cluster.client.uploadStream(pieces(new SeededRandom(1).bytes(100 * KiB)), '/b/file'))
  const server = cluster.servers[0] as SimServer
  const [chunkId] = [...(server.running?.store.chunkIds() ?? [])]
  const serverNo = cluster.master.cluster.recordOf(server.running?.serverId as never)?.serverNo
  return { cluster, chunkId: chunkId as ChunkId, server, serverNo: serverNo as number }
}

test('a report that a later change has overtaken does not bring a removed copy back', async () => {
  const { cluster, chunkId, server, serverNo } = await withFile(41)
  await using _ = cluster
  const store = server.running?.store
  const shard = Number.parseInt(chunkId.slice(0, 2), 16)
  const copies = store?.listShard(shard).map(({ sequence: _sequence, ...copy }) => copy)
  const body = { incarnation: 1, shard, asOfSequence: store?.sequence as number, copies: copies ?? [] }
  await store?.remove(chunkId)
  await cluster.clock.advance(3_000)
  const late = cluster.client.api.call('reportShard', { params: { serverId: server.running?.serverId as never }, body })
  expect(await cluster.run(late)).toEqual({ added: 0, removed: 0 })
  const holders = (await cluster.store.getChunk({ chunkId }))?.replicas.map((replica) => replica.serverNo)
  expect(holders).toHaveLength(2)
  expect(holders).not.toContain(serverNo)
})

test('a delete command for a copy that is not to be deleted any more never leaves', async () => {
  const { cluster, chunkId, server, serverNo } = await withFile(42)
  await using _ = cluster
  const metadata = await cluster.store.readPosition({})
  const expiresMs = cluster.store.now() + 60_000
  cluster.master.cluster.send(serverNo, { kind: 'delete', chunkIds: [chunkId], incarnation: 1, metadata, expiresMs })
  await cluster.clock.advance(3_000)
  expect(server.running?.store.find(chunkId)).toBeDefined()
})

test('an old database deletes nothing, even when its position has passed what was seen, until an operator accepts it', async () => {
  const { cluster, server } = await withFile(43)
  await using _ = cluster
  cluster.kill(0)
  await cluster.clock.advance(5_000)
  const { epoch, position } = await cluster.store.readPosition({})
  await server.disk.replaceFile('/data/seen.json', new TextEncoder().encode(JSON.stringify({ epoch, position: position + 100 })))
  await cluster.startServer(0)
  expect((await cluster.status()).repair.brake).toContain('later metadata')
  for (let change = 0; change < 150; change += 1) await cluster.store.putToken({ hash: `t${change}`, name: 't', scopes: [] })
  await cluster.clock.advance(120_000)
  expect((await cluster.store.readPosition({})).position).toBeGreaterThan(position + 100)
  expect((await cluster.status()).repair.brake).toContain('later metadata')
  await cluster.run(cluster.master.cluster.acceptMetadata())
  expect((await cluster.status()).repair.brake ?? '').not.toContain('later metadata')
  expect((await cluster.store.readPosition({})).epoch).toBe(epoch + 1)
  expect(await cluster.store.deletionsHeldSince({})).toBeNull()
})

test('a heartbeat that arrives a second time, late, does not bring a removed copy back', async () => {
  const settings = { repairStartDelayMs: 1e9, heartbeatIntervalMs: 1_000 }
  await using cluster = await SimCluster.start({ seed: 44, chunkservers: 3, settings })
  let doubles = 0
  // Doubles of all that the servers say while the file comes in arrive ten seconds later.
  cluster.network.duplicate = (from) => {
    if (!from.startsWith('cs-')) return undefined
    doubles += 1
    return 10_000
  }
  await cluster.run(cluster.client.uploadStream(pieces(new SeededRandom(1).bytes(100 * KiB)), '/b/file'))
  await cluster.clock.advance(1_500)
  cluster.network.duplicate = undefined
  const server = cluster.servers[0] as SimServer
  const [chunkId] = [...(server.running?.store.chunkIds() ?? [])]
  await server.running?.store.remove(chunkId as ChunkId)
  await cluster.clock.advance(20_000)
  expect(doubles).toBeGreaterThan(0)
  const serverNo = cluster.master.cluster.recordOf(server.running?.serverId as never)?.serverNo
  const holders = (await cluster.store.getChunk({ chunkId: chunkId as ChunkId }))?.replicas.map((replica) => replica.serverNo)
  expect(holders).toHaveLength(2)
  expect(holders).not.toContain(serverNo)
})
