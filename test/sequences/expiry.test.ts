/** What the collector may end, and what it may not: sessions, their chunks, copies that nobody knows. */
import { expect, test } from '@jest/globals'
import type { Chunkserver } from '../../chunkserver/index.js'
import { newId, type ChunkId } from '../../common/ids.js'
import { SeededRandom } from '../../common/random/seeded-random.js'
import { DAY_MS, HOUR_MS, MINUTE_MS, SECOND_MS } from '../../common/units.js'
import { put, dataOf, newChunk } from '../contract/chunk-store.suite.js'
import { OneFile, SteppedUpload } from './one-file.js'

const QUICK = { garbageIntervalMs: SECOND_MS }
const random = new SeededRandom(31)

const pass = async ({ cluster }: OneFile, ms: number): Promise<void> => {
  cluster.clock.jumpWallClock(ms)
  await cluster.clock.advance(10 * SECOND_MS)
}

test('an upload that was active within its time is not ended, an idle one is, and what was committed stays', async () => {
  await using file = await OneFile.start({ seed: 801, chunkservers: 3, settings: QUICK })
  const { cluster } = file
  const idle = await SteppedUpload.open(cluster, '/b/idle')
  await idle.put()
  await idle.report()
  const kept = await SteppedUpload.open(cluster, '/b/kept')
  await kept.put()
  await kept.report()
  const { uploadId, writerEpoch } = kept.session
  for (let day = 0; day < 3; day += 1) {
    await pass(file, 12 * HOUR_MS)
    await cluster.run(cluster.client.api.call('keepUpload', { params: { uploadId }, body: { writerEpoch } }))
  }
  const { uploads } = await cluster.run(cluster.client.api.call('listUploads', { query: {} }))
  expect(uploads.map((upload) => upload.uploadId)).toEqual([uploadId])
  await pass(file, 2 * HOUR_MS)
  expect(file.holders(kept.chunk.chunkId)).toHaveLength(3)
  expect(await kept.commit()).toMatchObject({ path: '/b/kept' })
  await pass(file, 2 * DAY_MS)
  await pass(file, 2 * DAY_MS)
  await file.expectWhole()
  await file.expectWhole('/b/kept')
  expect(file.holders(idle.chunk.chunkId)).toEqual([])
  await expect(idle.commit()).rejects.toMatchObject({ code: expect.stringMatching(/UPLOAD_CLOSED|UPLOAD_NOT_FOUND/) })
})

test('aborting an upload that is committed leaves its file whole', async () => {
  await using file = await OneFile.start({ seed: 802, chunkservers: 3, settings: QUICK })
  const { cluster } = file
  const upload = await SteppedUpload.open(cluster, '/b/other')
  await upload.put()
  await upload.report()
  await upload.commit()
  const abort = cluster.client.api.call('abortUpload', { params: { uploadId: upload.session.uploadId } })
  await cluster.run(abort.catch(() => undefined))
  await pass(file, DAY_MS)
  await pass(file, DAY_MS)
  await file.expectWhole('/b/other')
  expect(file.holders(upload.chunk.chunkId)).toHaveLength(3)
})

test('what an aborted upload sent stays as long as a token for it may be used, and goes then', async () => {
  await using file = await OneFile.start({ seed: 803, chunkservers: 3, settings: QUICK })
  const { cluster } = file
  const upload = await SteppedUpload.open(cluster, '/b/other')
  await upload.put()
  await upload.report()
  await cluster.run(cluster.client.api.call('abortUpload', { params: { uploadId: upload.session.uploadId } }))
  await cluster.clock.advance(5 * SECOND_MS)
  await pass(file, 31 * MINUTE_MS)
  expect(file.holders(upload.chunk.chunkId)).toHaveLength(3)
  await pass(file, 20 * MINUTE_MS)
  expect(file.holders(upload.chunk.chunkId)).toEqual([])
})

test('a copy of a chunk that the metadata does not know stays through its grace, and goes then', async () => {
  await using file = await OneFile.start({ seed: 804, chunkservers: 3, settings: QUICK })
  const { cluster } = file
  const chunk = { ...newChunk(1000), chunkId: newId<ChunkId>(random) }
  const { store } = file.server(0).running as Chunkserver
  await cluster.run(put(store, chunk, dataOf(1000)))
  await cluster.clock.advance(5 * SECOND_MS)
  await pass(file, 5 * HOUR_MS)
  expect(file.holders(chunk.chunkId)).toEqual([0])
  await pass(file, 2 * HOUR_MS)
  expect(file.holders(chunk.chunkId)).toEqual([])
})
