/** Copies and undeletions that race with the purge of what they refer to. Looked at after the garbage has been collected. */
import { describe, expect, test } from '@jest/globals'
import { DAY_MS, MINUTE_MS, SECOND_MS } from '../../common/units.js'
import { OneFile } from './one-file.js'

const QUICK_GARBAGE = { garbageIntervalMs: SECOND_MS, garbageGraceMs: 10 * SECOND_MS, orphanGraceMs: 10 * SECOND_MS }

const start = (seed: number): Promise<OneFile> => OneFile.start({ seed, chunkservers: 3, settings: QUICK_GARBAGE })

/** Until everything that may be deleted is, and longer. */
const collect = ({ cluster }: OneFile): Promise<void> => cluster.clock.advance(2 * MINUTE_MS)

const outcome = async (work: Promise<unknown>): Promise<string> =>
  work.then(
    () => 'done',
    (error: { code: string }) => error.code,
  )

describe('a copy and the purge of its source', () => {
  test.each([0, 1, 2, 3])('sent at the same moment, in order %i: the copy is whole, or there is none', async (order) => {
    await using file = await start(701 + order)
    const { cluster, path } = file
    const copy = (): Promise<string> => outcome(cluster.client.copy(path, '/b/copy'))
    const purge = (): Promise<string> => outcome(cluster.client.delete(path, { purge: true }))
    // One is held back on its way by more or less than the other.
    let sent = 0
    const delays = [
      [0, 0],
      [0, 5],
      [5, 0],
      [1, 1],
    ][order] as [number, number]
    cluster.network.fate = (from) => ({ kind: 'delivered', delayMs: from === 'client' ? (delays[sent++ % 2] ?? 0) : 0 })
    const [copied, purged] = await cluster.run(Promise.all([copy(), purge()]))
    cluster.network.fate = () => ({ kind: 'delivered', delayMs: 0 })
    expect(purged).toBe('done')
    await collect(file)
    if (copied === 'done') await file.expectWhole('/b/copy')
    else expect(copied).toBe('FILE_NOT_FOUND')
    expect(file.holders()).toHaveLength(copied === 'done' ? 3 : 0)
  })
})

test('a copy made while the chunks of its purged source wait out their grace keeps them; purged too, they go', async () => {
  await using file = await start(711)
  const { cluster, path } = file
  await cluster.run(cluster.client.copy(path, '/b/copy'))
  await cluster.run(cluster.client.delete(path, { purge: true }))
  await cluster.run(cluster.client.copy('/b/copy', '/b/second'))
  await cluster.run(cluster.client.delete('/b/copy', { purge: true }))
  await collect(file)
  await file.expectWhole('/b/second')
  expect(file.holders()).toHaveLength(3)
  await cluster.run(cluster.client.delete('/b/second', { purge: true }))
  await collect(file)
  expect(file.holders()).toEqual([])
  expect(await cluster.store.spaceUse({})).toMatchObject({ storedFileBytes: 0, storedTrashBytes: 0 })
})

test('an undeletion around the moment at which the trash is emptied brings the file back whole, or says that it is gone', async () => {
  const found = new Set<string>()
  for (const offsetMs of [-3_000, -1_001, -1_000, -999, -500, -1, 0, 1, 500, 1_000, 3_000]) {
    await using file = await start(720)
    const { cluster, path } = file
    await cluster.run(cluster.client.delete(path))
    cluster.clock.jumpWallClock(3 * DAY_MS - 10_000)
    await cluster.clock.advance(10_000 + offsetMs)
    const undeleted = await cluster.run(outcome(cluster.client.undelete(path)))
    found.add(undeleted)
    await collect(file)
    if (undeleted === 'done') await file.expectWhole()
    expect(file.holders()).toHaveLength(undeleted === 'done' ? 3 : 0)
  }
  expect(found).toEqual(new Set(['done', 'TRASH_ENTRY_NOT_FOUND']))
})

test('who began to read before the purge reads to the end, as long as the grace lasts', async () => {
  await using file = await start(731)
  const { cluster, path } = file
  const info = await cluster.run(cluster.client.stat(path))
  await cluster.run(cluster.client.delete(path, { purge: true }))
  await cluster.clock.advance(5 * SECOND_MS)
  const reading = (async () => {
    let count = 0
    for await (const piece of cluster.client.download(info)) count += piece.length
    return count
  })()
  expect(await cluster.run(reading)).toBe(info.sizeBytes)
})
