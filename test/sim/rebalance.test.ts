/** Servers that are unequally full become alike on their own, and no chunk has fewer copies on the way. */
import { expect, test } from '@jest/globals'
import { xxh64 } from '../../common/checksum/xxh64.js'
import { MemoryDisk } from '../../common/disk/memory-disk.js'
import { SeededRandom } from '../../common/random/seeded-random.js'
import { KiB, MiB, MINUTE_MS } from '../../common/units.js'
import { SimCluster } from '../support/sim-cluster.js'

test('a new empty server gets its share of the copies', async () => {
  await using cluster = await SimCluster.start({ seed: 61, chunkservers: 3, settings: { garbageIntervalMs: 1_000 } })
  const capacityBytes = 3.5 * MiB
  for (const index of [0, 1, 2]) {
    cluster.kill(index)
    await restartWithDisk(cluster, index, capacityBytes)
  }
  const data = new SeededRandom(4).bytes(1.5 * MiB)
  async function* pieces(): AsyncGenerator<Uint8Array> {
    yield data
  }
  await cluster.run(cluster.client.uploadStream(pieces(), '/b/file', { chunkSizeBytes: 64 * KiB }))
  await restartWithDisk(cluster, cluster.addServer('zone-0'), capacityBytes)
  let fewest = Infinity
  await cluster.clock.until(async () => {
    const { healthy, total } = await cluster.store.chunkHealth({})
    fewest = Math.min(fewest, healthy - total)
    return [...(cluster.servers[3]?.running?.store.chunkIds() ?? [])].length >= 12
  }, 30 * MINUTE_MS)
  expect(fewest).toBe(0)
  await cluster.clock.advance(2 * MINUTE_MS)
  const copies = cluster.servers.map((server) => [...(server.running?.store.chunkIds() ?? [])].length)
  expect(copies.reduce((sum, one) => sum + one, 0)).toBe(3 * 24)
  expect(xxh64(await cluster.read('/b/file'))).toBe(xxh64(data))
})

/** Small disks: what differs by a few chunks differs by much. */
async function restartWithDisk(cluster: SimCluster, index: number, capacityBytes: number): Promise<void> {
  cluster.servers[index]?.disks.set('/data', new MemoryDisk({ capacityBytes }))
  await cluster.startServer(index)
}
