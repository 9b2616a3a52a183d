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
