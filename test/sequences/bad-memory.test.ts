/** A client whose memory flips bits reports good copies as bad: its word condemns nothing. */
import { expect, test } from '@jest/globals'
import { KiB, MINUTE_MS, SECOND_MS } from '../../common/units.js'
import { ReplicaState } from '../../master/store/schema.js'
import { OneFile } from './one-file.js'

test('a client with bad memory that reports every good copy as corrupt, again and again, costs no copy', async () => {
  await using file = await OneFile.start({ seed: 901, chunkservers: 4 })
  const { cluster, chunkId } = file
  const before = file.holders()
  for (let round = 0; round < 20; round += 1) {
    for (const index of before) {
      for (const code of ['CHECKSUM_MISMATCH', 'CHUNK_CORRUPT', 'CHUNK_NOT_FOUND'] as const) {
        const report = { params: { chunkId }, body: { serverId: file.serverId(index), code } }
        await cluster.run(cluster.client.api.call('reportBadReplica', report))
      }
    }
    await cluster.clock.advance(500)
  }
  await cluster.clock.advance(10 * SECOND_MS)
  expect(file.holders()).toEqual(before)
  expect([...(await file.states()).values()]).toEqual([ReplicaState.good, ReplicaState.good, ReplicaState.good])
  expect((await cluster.status()).chunks).toMatchObject({ total: 1, healthy: 1 })
  await file.expectWhole()
})

test('its word about a copy that is bad has the server look, and the copy is rebuilt long before a scrub would find it', async () => {
  await using file = await OneFile.start({ seed: 902, chunkservers: 3 })
  const { cluster, chunkId } = file
  const { disk, running } = file.server(1)
  disk.corrupt(running?.store.locate(chunkId)?.file ?? '', (content) => (content[3 * KiB] = (content[3 * KiB] ?? 0) ^ 1))
  const report = { params: { chunkId }, body: { serverId: file.serverId(1), code: 'CHECKSUM_MISMATCH' } } as const
  await cluster.run(cluster.client.api.call('reportBadReplica', report))
  await cluster.clock.until(() => !file.holders().includes(1), 10 * SECOND_MS)
  await cluster.clock.until(() => file.holders().includes(1), MINUTE_MS)
  await file.expectWhole()
})
