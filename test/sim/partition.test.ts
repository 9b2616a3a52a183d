/** Servers that are cut off for long enough to be declared dead, and come back as the same processes. */
import { expect, test } from '@jest/globals'
import { xxh64 } from '../../common/checksum/xxh64.js'
import { CAPABILITY_HEADER, chunkPath, putBodyLength } from '../../common/protocol/chunk-data.js'
import type { AllocatedChunk } from '../../common/protocol/uploads.js'
import { SeededRandom } from '../../common/random/seeded-random.js'
import { KiB, MiB } from '../../common/units.js'
import { SimCluster } from '../support/sim-cluster.js'

async function* pieces(data: Uint8Array): AsyncGenerator<Uint8Array> {
  for (let at = 0; at < data.length; at += 100_000) yield data.subarray(at, at + 100_000)
}

/** PUTs a chunk of no meaning to the first target. @returns the code it was refused with, or undefined */
async function putCode(cluster: SimCluster, chunk: AllocatedChunk, lengthBytes: number): Promise<string | undefined> {
  const response = await cluster.run(
    cluster.network.transport('client').call({
      method: 'PUT',
      url: `${chunk.targets[0]?.url}${chunkPath(chunk.chunkId)}`,
      headers: { [CAPABILITY_HEADER]: chunk.capability },
      body: new Uint8Array(putBodyLength(lengthBytes)),
      timeoutMs: 5_000,
    }),
  )
  return (JSON.parse(new TextDecoder().decode(response.body)) as { error?: { code: string } }).error?.code
}

test('a server that was cut off until it was declared dead comes back as another incarnation, with its copies', async () => {
  await using cluster = await SimCluster.start({ seed: 21, chunkservers: 3 })
  const data = new SeededRandom(4).bytes(2 * MiB)
  await cluster.run(cluster.client.uploadStream(pieces(data), '/b/file', { chunkSizeBytes: 256 * KiB }))
  const allocate = async (path: string): Promise<AllocatedChunk> => {
    const session = await cluster.client.api.call('openUpload', {
      body: { path, sizeBytes: null, fingerprint: null, owner: 'test', adoption: { kind: 'none' } },
    })
    const { chunks } = await cluster.client.api.call('allocateChunks', {
      params: { uploadId: session.uploadId },
      body: { writerEpoch: session.writerEpoch, chunks: [{ index: 0, lengthBytes: 1000 }], avoid: [] },
    })
    return chunks[0] as AllocatedChunk
  }
  const before = await cluster.run(allocate('/b/before'))
  const cutOff = new URL(before.targets[0]?.url as string).hostname
  cluster.network.fate = (from, to) => (from === cutOff || to === cutOff ? { kind: 'lost' } : { kind: 'delivered', delayMs: 0 })
  await cluster.clock.advance(70_000)
  expect((await cluster.status()).servers.filter(({ state }) => state === 'dead')).toHaveLength(1)
  cluster.network.fate = () => ({ kind: 'delivered', delayMs: 0 })
  await cluster.clock.advance(30_000)
  const status = await cluster.status()
  expect(status.servers.map(({ state }) => state)).toEqual(['serving', 'serving', 'serving'])
  expect(status.chunks).toEqual({ total: 8, healthy: 8, underReplicated: 0, unavailable: 0 })
  expect(await putCode(cluster, before, 1000)).toBe('INCARNATION_CHANGED')
  // The server has learnt its new incarnation: what is allocated now is taken, all but the wrong sums of this test.
  expect(await putCode(cluster, await cluster.run(allocate('/b/after')), 1000)).toBe('CHECKSUM_MISMATCH')
  expect(xxh64(await cluster.read('/b/file'))).toBe(xxh64(data))
})
