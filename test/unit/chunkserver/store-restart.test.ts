/** What a store knows after its process ended: what it had acknowledged, and what it had found to be bad. */
import { expect, test } from '@jest/globals'
import { FileChunkStore } from '../../../chunkserver/store/file-chunk-store.js'
import { MemoryDisk } from '../../../common/disk/memory-disk.js'
import { SystemClock } from '../../../common/clock/system-clock.js'
import { silentLogger } from '../../../common/observe/logger.js'
import { SystemRandom } from '../../../common/random/system-random.js'
import { dataOf, newChunk, put, read } from '../../contract/chunk-store.suite.js'
import { until } from '../../support/cluster.js'

const SIZE = 5000
const unpaced = async (): Promise<void> => undefined
const openOn = (disk: MemoryDisk): Promise<FileChunkStore> =>
  FileChunkStore.open({ clock: new SystemClock(), random: new SystemRandom(), log: silentLogger, disk, directories: ['/data'] })

async function withBadCopy() {
  const disk = new MemoryDisk({ supportsDirect: true })
  const store = await openOn(disk)
  const chunk = newChunk(SIZE)
  await put(store, chunk, dataOf(SIZE))
  const { file } = store.locate(chunk.chunkId) as { file: string }
  disk.corrupt(file, (data) => (data[7] = (data[7] ?? 0) ^ 1))
  expect(await store.verify(chunk.chunkId, unpaced)).toBe('corrupt')
  const mark = file.replace('.chunk', '.bad')
  await until('the copy is marked', async () => (await disk.stat(mark)) !== undefined, 5_000)
  await store.close()
  return { disk, chunk, mark }
}

test('a copy found to be bad does not count as good after a restart, and the master hears of it again', async () => {
  const { disk, chunk } = await withBadCopy()
  await using store = await openOn(disk)
  expect(store.find(chunk.chunkId)).toBeUndefined()
  expect(store.pendingChanges(10)).toMatchObject([{ kind: 'corrupt', chunkId: chunk.chunkId }])
  expect(store.digestOf(Number.parseInt(chunk.chunkId.slice(0, 2), 16)).count).toBe(0)
})

test('once it is written again it is good, and stays so', async () => {
  const { disk, chunk, mark } = await withBadCopy()
  const second = await openOn(disk)
  await put(second, chunk, dataOf(SIZE))
  expect(await disk.stat(mark)).toBeUndefined()
  await second.close()
  await using third = await openOn(disk)
  expect(third.find(chunk.chunkId)).toMatchObject({ lengthBytes: SIZE })
  expect(await read(third, chunk.chunkId)).toEqual(dataOf(SIZE))
})
