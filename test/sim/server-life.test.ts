/** What operators do with servers: drain, maintenance, removal; and copies that move on their own to where they belong. */
import { expect, test } from '@jest/globals'
import { xxh64 } from '../../common/checksum/xxh64.js'
import type { ServerId } from '../../common/ids.js'
import type { ServerAction } from '../../common/protocol/servers.js'
import { SeededRandom } from '../../common/random/seeded-random.js'
import { KiB, MiB, MINUTE_MS } from '../../common/units.js'
import { SimCluster } from '../support/sim-cluster.js'

const data = new SeededRandom(4).bytes(2 * MiB)
const QUICK = { garbageIntervalMs: 1_000, garbageGraceMs: 2_000 }

async function* pieces(): AsyncGenerator<Uint8Array> {
  for (let at = 0; at < data.length; at += 100_000) yield data.subarray(at, at + 100_000)
}

const fill = (cluster: SimCluster) => cluster.run(cluster.client.uploadStream(pieces(), '/b/file', { chunkSizeBytes: 64 * KiB }))

const idOf = (cluster: SimCluster, index: number): ServerId => cluster.servers[index]?.running?.serverId as ServerId

const change = (cluster: SimCluster, serverId: ServerId, action: ServerAction, acceptDataLoss = false) =>
  cluster.run(cluster.client.api.call('changeServer', { params: { serverId }, body: { action, acceptDataLoss } }))

async function stateOf(cluster: SimCluster, id: ServerId): Promise<string | undefined> {
  return (await cluster.status()).servers.find((server) => server.id === id)?.state
}

test('a drained server gives all its copies away, is decommissioned, and can be removed and stopped', async () => {
  await using cluster = await SimCluster.start({ seed: 51, chunkservers: 4, settings: QUICK })
  await fill(cluster)
  const id = idOf(cluster, 0)
  const held = [...(cluster.servers[0]?.running?.store.chunkIds() ?? [])].length
  expect(held).toBeGreaterThan(0)
  const { plan } = await change(cluster, id, 'drain')
  expect(plan).toMatchObject({ chunks: held, copiesToMake: held, soleChunks: 0, refusal: null })
  expect(await stateOf(cluster, id)).toBe('draining')
  let status = await cluster.status()
  expect(status.chunks).toMatchObject({ total: 32, healthy: 32 })
  await cluster.clock.until(
    async () => (await cluster.store.listServers({})).some((one) => one.state === 'decommissioned'),
    5 * MINUTE_MS,
  )
  await cluster.clock.advance(30_000)
  expect([...(cluster.servers[0]?.running?.store.chunkIds() ?? [])]).toEqual([])
  await change(cluster, id, 'remove')
  cluster.kill(0)
  await cluster.clock.advance(2 * MINUTE_MS)
  status = await cluster.status()
  expect(status.servers).toHaveLength(3)
  expect(status.chunks).toEqual({ total: 32, healthy: 32, underReplicated: 0, unavailable: 0 })
  expect(xxh64(await cluster.read('/b/file'))).toBe(xxh64(data))
  await expect(cluster.startServer(0)).rejects.toMatchObject({ code: 'SERVER_REMOVED' })
})

test('a drain whose copies would not fit is refused, and nothing is changed', async () => {
  await using cluster = await SimCluster.start({ seed: 52, chunkservers: 3 })
  await fill(cluster)
  const id = idOf(cluster, 1)
  await expect(change(cluster, id, 'drain')).rejects.toMatchObject({ code: 'PLAN_REFUSED' })
  expect(await stateOf(cluster, id)).toBe('serving')
})

test('a server that dies while it is drained is rebuilt as any other, and drained on when it is back', async () => {
  await using cluster = await SimCluster.start({ seed: 53, chunkservers: 5, settings: QUICK })
  await fill(cluster)
  const id = idOf(cluster, 0)
  await change(cluster, id, 'drain')
  cluster.kill(0)
  await cluster.clock.advance(70_000)
  expect(await stateOf(cluster, id)).toBe('dead')
  await cluster.untilHealthy(2 * MINUTE_MS)
  await cluster.startServer(0)
  expect(['draining', 'decommissioned']).toContain(await stateOf(cluster, id))
  await cluster.clock.until(
    async () => (await cluster.store.listServers({})).some((one) => one.state === 'decommissioned'),
    5 * MINUTE_MS,
  )
})

test('a drain that is taken back lets the server take copies again', async () => {
  await using cluster = await SimCluster.start({ seed: 54, chunkservers: 4, settings: QUICK })
  await fill(cluster)
  const id = idOf(cluster, 0)
  await change(cluster, id, 'drain')
  await change(cluster, id, 'serve')
  expect(await stateOf(cluster, id)).toBe('serving')
  await cluster.clock.advance(2 * MINUTE_MS)
  expect((await cluster.status()).chunks).toMatchObject({ healthy: 32 })
})

test('a server in maintenance may be away for its time: nothing is rebuilt, and it serves as soon as it is back', async () => {
  await using cluster = await SimCluster.start({ seed: 55, chunkservers: 4, settings: QUICK })
  await fill(cluster)
  const id = idOf(cluster, 0)
  await change(cluster, id, 'maintenance')
  cluster.kill(0)
  await cluster.clock.advance(10 * MINUTE_MS)
  expect(await stateOf(cluster, id)).toBe('maintenance')
  expect((await cluster.status()).repair).toMatchObject({ queued: 0, progress: { copiedChunks: 0 }, classes: { belowGoal: 0 } })
  expect(xxh64(await cluster.read('/b/file'))).toBe(xxh64(data))
  await cluster.startServer(0)
  await cluster.clock.advance(5_000)
  expect(await stateOf(cluster, id)).toBe('serving')
  expect((await cluster.status()).chunks).toMatchObject({ total: 32, healthy: 32 })
})

test('maintenance that outlasts its time is a death', async () => {
  await using cluster = await SimCluster.start({
    seed: 56,
    chunkservers: 4,
    settings: { ...QUICK, maintenanceGraceMs: 3 * MINUTE_MS },
  })
  await fill(cluster)
  const id = idOf(cluster, 0)
  await change(cluster, id, 'maintenance')
  cluster.kill(0)
  await cluster.clock.advance(2 * MINUTE_MS)
  expect(await stateOf(cluster, id)).toBe('maintenance')
  await cluster.clock.advance(2 * MINUTE_MS)
  expect(await stateOf(cluster, id)).toBe('dead')
  await cluster.untilHealthy(2 * MINUTE_MS)
})

test('a dead server that holds the last copy of a chunk is removed only when the loss is accepted', async () => {
  await using cluster = await SimCluster.start({ seed: 57, chunkservers: 3, settings: QUICK })
  await cluster.run(cluster.client.uploadStream(pieces(), '/b/one', { chunkSizeBytes: 64 * KiB, replicas: 1 }))
  const id = idOf(cluster, 0)
  await expect(change(cluster, id, 'remove')).rejects.toMatchObject({ code: 'PLAN_REFUSED' })
  cluster.kill(0)
  await cluster.clock.advance(70_000)
  await expect(change(cluster, id, 'remove')).rejects.toMatchObject({ code: 'PLAN_REFUSED' })
  await change(cluster, id, 'remove', true)
  expect(await stateOf(cluster, id)).toBeUndefined()
})

test('when a zone joins, copies move until every chunk uses it, and no copy is lost on the way', async () => {
  await using cluster = await SimCluster.start({ seed: 58, chunkservers: 3, zones: 2, settings: QUICK })
  await fill(cluster)
  await cluster.startServer(cluster.addServer('zone-9'))
  await cluster.clock.until(async () => {
    const { classes, healthy, total } = await cluster.store.chunkHealth({})
    return healthy === total && classes.misplaced === 0 && classes.surplus === 0
  }, 10 * MINUTE_MS)
  expect([...(cluster.servers[3]?.running?.store.chunkIds() ?? [])]).toHaveLength(32)
  expect(xxh64(await cluster.read('/b/file'))).toBe(xxh64(data))
})
