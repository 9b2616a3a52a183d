/** Metadata and chunks that are not of one time: yesterday's database, and none at all. */
import { expect, test } from '@jest/globals'
import { SeededRandom } from '../../common/random/seeded-random.js'
import { DAY_MS, HOUR_MS, MINUTE_MS, SECOND_MS } from '../../common/units.js'
import { openMemoryStore } from '../../master/index.js'
import { DATA, OneFile, pieces } from './one-file.js'

const QUICK_GARBAGE = { garbageIntervalMs: SECOND_MS, garbageGraceMs: MINUTE_MS, orphanGraceMs: MINUTE_MS }

/** Takes the running master away and puts one on another database in its place. */
async function exchangeStore(file: OneFile, store: OneFile['cluster']['store']): Promise<void> {
  const { cluster } = file
  cluster.network.kill('master')
  await Promise.all([cluster.master.repairer.stop(), cluster.master.collector.stop(), cluster.master.jobs.stop()])
  await cluster.run(cluster.master.cluster.stop())
  cluster.store = store
  await cluster.startMaster()
}

/** A long time, most of which nobody lives through: what is due by the wall clock becomes due. */
async function wait({ cluster }: OneFile, ms: number): Promise<void> {
  await cluster.clock.advance(MINUTE_MS)
  cluster.clock.jumpWallClock(ms)
  await cluster.clock.advance(3 * MINUTE_MS)
}

test('an empty database that meets full chunkservers has nothing deleted, and the right one put back finds everything', async () => {
  await using file = await OneFile.start({ seed: 301, chunkservers: 3, settings: QUICK_GARBAGE })
  const { cluster } = file
  const right = cluster.store
  await exchangeStore(file, await openMemoryStore(cluster.clock, new SeededRandom(999)))
  await wait(file, 3 * HOUR_MS)
  // They are of another cluster, and none of this one's.
  expect((await cluster.status()).servers).toEqual([])
  expect(file.holders()).toHaveLength(3)
  await exchangeStore(file, right)
  await cluster.clock.advance(2 * MINUTE_MS)
  await file.expectWhole()
  await cluster.untilHealthy(MINUTE_MS)
})

test('an empty database of the same cluster, under chunkservers that have seen more, deletes nothing however long it waits', async () => {
  await using file = await OneFile.start({ seed: 302, chunkservers: 3, settings: QUICK_GARBAGE })
  const { cluster } = file
  // The same cluster id, as after a metadata file that was recovered to an early state.
  const empty = await openMemoryStore(cluster.clock, new SeededRandom(302 + 2))
  await exchangeStore(file, empty)
  expect((await empty.ensureCluster({})).clusterId).toBe(cluster.master.context.clusterId)
  await wait(file, 3 * HOUR_MS)
  expect((await cluster.status()).servers).toHaveLength(3)
  expect((await cluster.status()).repair.brake).toContain('nothing is deleted')
  expect(file.holders()).toHaveLength(3)
})

test("yesterday's database under today's chunks ends nothing that was gone on with since: not the trash, no upload, no chunk", async () => {
  await using file = await OneFile.start({ seed: 303, chunkservers: 3, settings: QUICK_GARBAGE })
  const { cluster } = file
  const { api } = cluster.client
  await cluster.run(cluster.client.delete(file.path))
  await cluster.run(cluster.client.uploadStream(pieces(DATA), '/b/second'))
  const open = { path: '/b/open', sizeBytes: DATA.length, fingerprint: 'f', owner: 'test', adoption: { kind: 'none' } } as const
  const session = await cluster.run(api.call('openUpload', { body: open }))
  // Chunkservers have seen more than this database has: it is yesterday's.
  const seen = { ...(await cluster.store.readPosition({})) }
  cluster.kill(0)
  await cluster.clock.advance(5 * SECOND_MS)
  const future = new TextEncoder().encode(JSON.stringify({ ...seen, position: seen.position + 1000 }))
  await file.server(0).disk.replaceFile('/data/seen.json', future)
  await cluster.startServer(0)
  await wait(file, 8 * DAY_MS)
  expect((await cluster.status()).repair.brake).toContain('nothing is deleted')
  expect(file.holders()).toHaveLength(3)
  const listed = await cluster.run(api.call('listUploads', { query: {} }))
  expect(listed.uploads.map(({ uploadId }) => uploadId)).toEqual([session.uploadId])
  // It still can be undeleted, though its time in the trash is over.
  await cluster.run(cluster.client.undelete(file.path))
  await file.expectWhole()
})
