/** Ids that the store makes: what is made together lies together in the tables. */
import { expect, test } from '@jest/globals'
import { VirtualClock } from '../../../../common/clock/virtual-clock.js'
import { SeededRandom } from '../../../../common/random/seeded-random.js'
import { DEFAULT_MASTER_SETTINGS, openMemoryStore } from '../../../../master/index.js'

test('uploads get different ids that rise with time', async () => {
  const clock = new VirtualClock()
  await using store = await openMemoryStore(clock, new SeededRandom(1))
  const ids: string[] = []
  for (let index = 0; index < 20; index += 1) {
    const { uploadId } = await store.openUpload({
      path: `/b/${index}`,
      sizeBytes: 0,
      fingerprint: null,
      chunkSizeBytes: undefined,
      replicas: undefined,
      precondition: { kind: 'none' },
      owner: 'test',
      adoption: { kind: 'none' },
      bucketDefaults: DEFAULT_MASTER_SETTINGS.bucketDefaults,
    })
    ids.push(uploadId)
    if (index % 2 === 1) await clock.advance(1)
  }
  expect(new Set(ids).size).toBe(20)
  expect(ids.filter((_, index) => index % 2 === 0)).toEqual(ids.filter((_, index) => index % 2 === 0).sort())
})
