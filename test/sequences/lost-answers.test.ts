/** Answers that are lost on their way back: the client asks again, and what was done is not done twice. */
import { expect, test } from '@jest/globals'
import { MINUTE_MS, SECOND_MS } from '../../common/units.js'
import type { MetadataStore } from '../../master/store/metadata-store.js'
import type { SimCluster } from '../support/sim-cluster.js'
import { DATA, delivered, lost, OneFile, pieces } from './one-file.js'

/** Loses what the master answers the client until `until` holds, that is until the thing has certainly been done. */
async function loseAnswers<T>(cluster: SimCluster, work: () => Promise<T>, until: () => Promise<boolean>): Promise<T> {
  cluster.network.fate = (from, to) => (from === 'master' && to === 'client' ? lost : delivered)
  const done = work()
  done.catch(() => undefined)
  await cluster.clock.until(until, MINUTE_MS)
  await cluster.clock.advance(SECOND_MS)
  cluster.network.fate = () => delivered
  return cluster.run(done)
}

/** Everything gets through up to the commit; from the moment that it is done, nothing comes back to the client. */
function loseAnswersFromCommitOn(cluster: SimCluster): void {
  const store = cluster.store as { -readonly [Name in keyof MetadataStore]: MetadataStore[Name] }
  const commit = store.commitUpload
  store.commitUpload = async (args) => {
    const file = await commit(args)
    store.commitUpload = commit
    cluster.network.fate = (from, to) => (from === 'master' && to === 'client' ? lost : delivered)
    return file
  }
}

const start = (seed: number): Promise<OneFile> => OneFile.start({ seed, chunkservers: 3 })

test('rm whose answer is lost is done once: asked again it is neither "not found" nor a second deletion', async () => {
  await using file = await start(501)
  const { cluster, path } = file
  const gone = async (): Promise<boolean> => (await cluster.store.statFile({ path })) === undefined
  expect(await loseAnswers(cluster, () => cluster.client.delete(path), gone)).toEqual({ path, generation: 1 })
  expect(await cluster.run(cluster.client.undelete(path))).toMatchObject({ generation: 2 })
})

test('put --if-absent whose commit is answered into the void succeeds, and there is one file of one generation', async () => {
  await using file = await start(502)
  const { cluster } = file
  const path = '/b/absent'
  const there = async (): Promise<boolean> => (await cluster.store.statFile({ path })) !== undefined
  const sessions = async () => (await cluster.run(cluster.client.api.call('listUploads', { query: {} }))).uploads
  loseAnswersFromCommitOn(cluster)
  const put = cluster.client.uploadStream(pieces(DATA), path, { precondition: { kind: 'absent' } })
  put.catch(() => undefined)
  await cluster.clock.until(there, MINUTE_MS)
  await cluster.clock.advance(30 * SECOND_MS)
  cluster.network.fate = () => delivered
  expect(await cluster.run(put)).toMatchObject({ path, generation: 1, sizeBytes: DATA.length })
  expect(await sessions()).toEqual([])
  await file.expectWhole(path)
})

test('put --if-absent whose opening is answered into the void opens one session', async () => {
  await using file = await start(503)
  const { cluster } = file
  const path = '/b/absent'
  const put = (): Promise<unknown> => cluster.client.uploadStream(pieces(DATA), path, { precondition: { kind: 'absent' } })
  const opened = async (): Promise<boolean> => (await cluster.store.listUploads({ after: '', limit: 10 })).length > 0
  expect(await loseAnswers(cluster, put, opened)).toMatchObject({ generation: 1 })
  expect(await cluster.store.listUploads({ after: '', limit: 10 })).toEqual([])
  await file.expectWhole(path)
})

test('an overwrite whose commit is answered into the void raises the generation once', async () => {
  await using file = await start(504)
  const { cluster, path } = file
  const other = DATA.slice().reverse()
  const done = async (): Promise<boolean> => (await cluster.store.statFile({ path }))?.generation === 2
  loseAnswersFromCommitOn(cluster)
  const put = cluster.client.uploadStream(pieces(other), path)
  put.catch(() => undefined)
  await cluster.clock.until(done, MINUTE_MS)
  await cluster.clock.advance(30 * SECOND_MS)
  cluster.network.fate = () => delivered
  expect(await cluster.run(put)).toMatchObject({ generation: 2 })
  await cluster.clock.advance(MINUTE_MS)
  expect(await cluster.run(cluster.client.stat(path))).toMatchObject({ generation: 2 })
  await file.expectWhole(path, other)
})

test('mv and cp whose answers are lost are done once', async () => {
  await using file = await start(505)
  const { cluster, path } = file
  const absent = { precondition: { kind: 'absent' } } as const
  const isAt = (at: string) => async (): Promise<boolean> => (await cluster.store.statFile({ path: at })) !== undefined
  const copied = await loseAnswers(cluster, () => cluster.client.copy(path, '/b/copy', absent), isAt('/b/copy'))
  expect(copied).toMatchObject({ path: '/b/copy', generation: 1 })
  const moved = await loseAnswers(cluster, () => cluster.client.rename(path, '/b/moved', absent), isAt('/b/moved'))
  expect(moved).toMatchObject({ path: '/b/moved', generation: 1 })
  await file.expectWhole('/b/copy')
  await file.expectWhole('/b/moved')
})
