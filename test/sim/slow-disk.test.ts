/** A disk that is slow or hangs without failing: it costs its own server little, and readers and writers elsewhere nothing for long. */
import { expect, test } from '@jest/globals'
import { sleep } from '../../common/clock/clock.js'
import type { ServerId } from '../../common/ids.js'
import { MiB, SECOND_MS } from '../../common/units.js'
import { SimCluster } from '../support/sim-cluster.js'

const SIZE = 16 * MiB

/** Each operation that touches stored bytes takes so long on this server. */
function slowDown(cluster: SimCluster, index: number, delayMs: number): void {
  const server = cluster.servers[index]
  if (server)
    server.disk.fault = async (operation) => {
      if (operation === 'read' || operation === 'write' || operation === 'sync') await sleep(cluster.clock, delayMs)
    }
}

const put = (cluster: SimCluster, path: string): Promise<unknown> =>
  cluster.run(cluster.client.uploadStream(bytes(), path, { chunkSizeBytes: MiB, concurrency: 4 }))

async function* bytes(): AsyncGenerator<Uint8Array> {
  for (let done = 0; done < SIZE; done += MiB) yield new Uint8Array(MiB).fill(done / MiB)
}

const takes = async (cluster: SimCluster, work: () => Promise<unknown>): Promise<number> => {
  const startMs = cluster.clock.monotonic()
  await work()
  return cluster.clock.monotonic() - startMs
}

test('a disk that takes 200 ms for each operation: new chunks go elsewhere once that is known, and reads to other copies', async () => {
  await using cluster = await SimCluster.start({ seed: 11, chunkservers: 5 })
  await put(cluster, '/b/before')
  slowDown(cluster, 0, 200)
  const slow = cluster.servers[0]?.running?.serverId as ServerId
  const first = await takes(cluster, () => put(cluster, '/b/first'))
  await cluster.clock.advance(2 * SECOND_MS)
  const second = await takes(cluster, () => put(cluster, '/b/second'))
  expect(second).toBeLessThan(first)
  const file = await cluster.run(cluster.client.stat('/b/second'))
  const holders = await cluster.run(
    cluster.client.api.call('listManifestChunks', { params: { manifestId: file.manifestId }, query: {} }),
  )
  expect(holders.chunks.every((chunk) => !chunk.replicas.includes(slow))).toBe(true)

  // One read of it takes 200 ms for the footer and 200 ms for the leaf: what is asked for at first may go there, nothing after.
  const third = await takes(cluster, () => cluster.read('/b/before'))
  expect(third).toBeLessThanOrEqual(400)
})

test('a disk that hangs keeps readers waiting for seconds, not for its deadline', async () => {
  await using cluster = await SimCluster.start({ seed: 12, chunkservers: 3 })
  await put(cluster, '/b/file')
  await cluster.read('/b/file')
  const server = cluster.servers[1]
  if (server) server.disk.fault = (operation) => (operation === 'read' ? new Promise(() => undefined) : undefined)
  expect(await takes(cluster, () => cluster.read('/b/file'))).toBeLessThan(5 * SECOND_MS)
  if (server) server.disk.fault = undefined
})
