/** Repair that the metadata's picture of the disks misleads. */
import { expect, test } from '@jest/globals'
import { SeededRandom } from '../../common/random/seeded-random.js'
import { KiB } from '../../common/units.js'
import { SimCluster, type SimServer } from '../support/sim-cluster.js'

async function* pieces(data: Uint8Array): AsyncGenerator<Uint8Array> {
  yield data
}

test('a copy that the target has and the metadata does not know is asked for, not sent over and over', async () => {
  await using cluster = await SimCluster.start({ seed: 51, chunkservers: 3 })
  await cluster.run(cluster.client.uploadStream(pieces(new SeededRandom(1).bytes(100 * KiB)), '/b/file'))
  await cluster.clock.advance(5_000)
  const server = cluster.servers[1] as SimServer
  const serverNo = cluster.master.cluster.recordOf(server.running?.serverId as never)?.serverNo
  let sent = 0
  cluster.network.fate = () => ({ kind: 'delivered', delayMs: 10 })
  cluster.network.onMessage = (_from, _to, what) => (sent += what.startsWith('PUT') ? 1 : 0)
  const { native } = cluster.database
  native.prepare('delete from replicas where server_no = ?').run(serverNo)
  native.prepare('update servers set sweep_after = zeroblob(16)').run()
  await cluster.clock.advance(10_000)
  expect(sent).toBeGreaterThan(0)
  expect(sent).toBeLessThan(5)
  expect(await cluster.store.chunkHealth({})).toMatchObject({ total: 1, healthy: 1 })
})

test('a long look at the chunks of changed servers does not hold up the repair of those that were found', async () => {
  const sweeping = { slow: false }
  const storeHooks = { latencyMs: (operation: string) => (sweeping.slow && operation === 'sweepServers' ? 20_000 : 0) }
  await using cluster = await SimCluster.start({ seed: 52, chunkservers: 4, storeHooks, settings: { deadAfterMs: 10_000 } })
  await cluster.run(cluster.client.uploadStream(pieces(new SeededRandom(2).bytes(100 * KiB)), '/b/file'))
  await cluster.clock.advance(5_000)
  const holders = (await cluster.status()).servers.filter((server) => server.chunks > 0).map((server) => server.id)
  const lost = cluster.servers.findIndex((server) => holders.includes(server.running?.serverId as never))
  // As with many more chunks than are looked at in one go: one page for each server, each of which takes its time.
  cluster.database.native.prepare('update servers set sweep_after = zeroblob(16)').run()
  sweeping.slow = true
  cluster.kill(lost)
  let copied = 0
  cluster.network.fate = () => ({ kind: 'delivered', delayMs: 10 })
  cluster.network.onMessage = (from, _to, what) => (copied += from.startsWith('cs-') && what.startsWith('PUT') ? 1 : 0)
  await cluster.clock.until(() => copied > 0, 120_000)
  expect((await cluster.store.chunkHealth({})).sweeping).toBeGreaterThan(0)
})

test('heartbeats with results that come while a plan is made share the next one', async () => {
  let plans = 0
  const storeHooks = {
    latencyMs: (operation: string) => (operation === 'listUnhealthy' ? 100 : 0),
    around: (operation: string, args: unknown) => {
      if (operation === 'listUnhealthy' && (args as { healthClass: number }).healthClass === 0) plans += 1
      return undefined
    },
  }
  await using cluster = await SimCluster.start({ seed: 53, chunkservers: 3, storeHooks })
  plans = 0
  await cluster.run(Promise.all(Array.from({ length: 50 }, () => cluster.master.repairer.results([]))))
  expect(plans).toBeLessThanOrEqual(4)
})
