/** The whole cluster on simulated clock, network and disks: proof that nothing above the seams reaches past them. */
import { expect, test } from '@jest/globals'
import { xxh64 } from '../../common/checksum/xxh64.js'
import { SeededRandom } from '../../common/random/seeded-random.js'
import { KiB, MiB } from '../../common/units.js'
import { SimCluster } from '../support/sim-cluster.js'

async function* pieces(data: Uint8Array): AsyncGenerator<Uint8Array> {
  for (let at = 0; at < data.length; at += 100_000) yield data.subarray(at, at + 100_000)
}

const bytes = (seed: number, length: number): Uint8Array => new SeededRandom(seed).bytes(length)

test('a file goes in, survives the death of a server in mid-upload, comes out right and gets its copies back', async () => {
  await using cluster = await SimCluster.start({ seed: 11, chunkservers: 5 })
  const data = bytes(1, 6 * MiB + 123)
  const uploading = cluster.client.uploadStream(pieces(data), '/b/file', { chunkSizeBytes: 256 * KiB, sizeBytes: data.length })
  await cluster.clock.advance(1)
  cluster.kill(2)
  const file = await cluster.run(uploading)
  expect(file).toMatchObject({ path: '/b/file', generation: 1, sizeBytes: data.length, chunkCount: 25 })
  expect(xxh64(await cluster.read('/b/file'))).toBe(xxh64(data))
  await cluster.clock.advance(70_000)
  await cluster.untilHealthy(120_000)
  const status = await cluster.status()
  expect(status.chunks).toEqual({ total: 25, healthy: 25, underReplicated: 0, unavailable: 0 })
  expect(status.servers.filter((server) => server.state === 'dead')).toHaveLength(1)
})

test('copies that a returning server brings are trimmed, and never below the goal', async () => {
  await using cluster = await SimCluster.start({ seed: 5, chunkservers: 4 })
  const data = bytes(2, 3 * MiB)
  await cluster.run(cluster.client.uploadStream(pieces(data), '/b/file', { chunkSizeBytes: 256 * KiB }))
  cluster.kill(0)
  await cluster.clock.advance(70_000)
  await cluster.untilHealthy(120_000)
  await cluster.startServer(0)
  await cluster.clock.advance(30_000)
  const status = await cluster.status()
  expect(status.chunks).toMatchObject({ total: 12, healthy: 12 })
  const copies = status.servers.reduce((sum, server) => sum + server.chunks, 0)
  expect(copies).toBe(36)
  expect(xxh64(await cluster.read('/b/file'))).toBe(xxh64(data))
})

test('a flipped bit is never served, and the copy is rebuilt even when only its own server has room for it', async () => {
  await using cluster = await SimCluster.start({ seed: 6, chunkservers: 3 })
  const data = bytes(3, 2 * MiB)
  await cluster.run(cluster.client.uploadStream(pieces(data), '/b/file', { chunkSizeBytes: MiB }))
  const server = cluster.servers[1]
  const chunkId = [...(server?.running?.store.chunkIds() ?? [])][0]
  const place = chunkId && server?.running?.store.locate(chunkId)
  server?.disk.corrupt(place ? place.file : '', (content) => (content[1000] = (content[1000] ?? 0) ^ 2))
  for (let round = 0; round < 6; round += 1) expect(xxh64(await cluster.read('/b/file'))).toBe(xxh64(data))
  await cluster.clock.advance(120_000)
  await cluster.untilHealthy(60_000)
  expect(chunkId && server?.running?.store.find(chunkId)).toBeDefined()
})
