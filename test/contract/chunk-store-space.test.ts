/**
 * What a chunk store says it takes is what its files take. Goal: the parts that `df` shows sum up to what the disks hold.
 * Method: random operations, damage and restarts on two disks; after each, a walk over the directories must find the same.
 */
import { expect, test } from '@jest/globals'
import path from 'node:path'
import { FileChunkStore } from '../../chunkserver/store/file-chunk-store.js'
import type { ChunkWriter, NewChunk } from '../../chunkserver/store/chunk-store.js'
import { SystemClock } from '../../common/clock/system-clock.js'
import type { Disk } from '../../common/disk/disk.js'
import { MemoryDisk } from '../../common/disk/memory-disk.js'
import { PACKED_CHUNK_BYTES_MAX } from '../../chunkserver/store/pack-record.js'
import { silentLogger } from '../../common/observe/logger.js'
import { SeededRandom } from '../../common/random/seeded-random.js'
import { KiB, MiB } from '../../common/units.js'
import { dataOf, newChunk, put, writeLeaves } from './chunk-store.suite.js'

const DIRECTORIES = ['/one', '/two']
const noPace = async (): Promise<void> => undefined

async function walk(disk: Disk, directory: string): Promise<number> {
  let total = 0
  for (const { name, kind } of await disk.list(directory)) {
    const entry = path.join(directory, name)
    total += kind === 'directory' ? await walk(disk, entry) : ((await disk.stat(entry))?.sizeBytes ?? 0)
  }
  return total
}

/** Lets what was begun and is not waited for (a mark beside a bad copy) come to its end. */
async function settle(): Promise<void> {
  for (let turn = 0; turn < 50; turn += 1) await new Promise<void>((resolve) => setImmediate(resolve))
}

async function expectSums(disk: Disk, store: FileChunkStore): Promise<void> {
  await settle()
  for (const report of store.disks()) {
    const bad = (report.usedBytes ?? 0) + (report.corruptBytes ?? 0)
    // What is gone from packs counts as set aside; what counts in them, as chunks.
    const packs = (await disk.stat(path.join(report.path, 'packs'))) ? await walk(disk, path.join(report.path, 'packs')) : 0
    const sum = bad + (report.quarantineBytes ?? 0)
    const files = await walk(disk, path.join(report.path, 'chunks'))
    const quarantine = await walk(disk, path.join(report.path, 'quarantine'))
    if (packs === 0) expect(bad).toBe(files)
    expect({ sum, tmp: report.temporaryBytes }).toEqual({
      sum: files + quarantine + packs,
      tmp: await walk(disk, path.join(report.path, 'tmp')),
    })
  }
}

const SEEDS = [1, 2, 3, 4, 5, 6]
const CASES = [...SEEDS.map((seed) => [seed, 0] as const), ...SEEDS.map((seed) => [seed, PACKED_CHUNK_BYTES_MAX] as const)]
test.each(CASES)(
  'used, corrupt, quarantined and temporary bytes are what a walk finds (seed %i, packed below %i)',
  async (seed, packedBytesMax) => {
    const random = new SeededRandom(seed)
    const disk = new MemoryDisk()
    const open = async (): Promise<FileChunkStore> => {
      const opened = await FileChunkStore.open({
        clock: new SystemClock(),
        random,
        log: silentLogger,
        disk,
        directories: DIRECTORIES,
        packedBytesMax,
      })
      opened.startSequence(1000)
      return opened
    }
    let store = await open()
    const known: NewChunk[] = []
    const writers: ChunkWriter[] = []
    const some = (): NewChunk | undefined => known[random.integer(Math.max(1, known.length))]
    /** Of a good copy: what happens to one that is known to be bad is not looked at again. */
    const fileOf = (chunk: NewChunk | undefined): string | undefined =>
      chunk && store.find(chunk.chunkId) && !store.isPacked(chunk.chunkId) ? store.locate(chunk.chunkId)?.file : undefined
    const steps: (() => Promise<unknown>)[] = [
      async () => {
        const chunk = newChunk(1 + random.integer(random.integer(2) === 0 ? 3 * MiB : 20 * KiB))
        known.push(chunk)
        await put(store, chunk, dataOf(chunk.lengthBytes))
      },
      async () => {
        const writer = await store.create(newChunk(2 * MiB))
        writers.push(writer)
        await writeLeaves(writer, dataOf(random.integer(2) === 0 ? 2 * MiB : 100 * KiB))
      },
      async () => writers.pop()?.abort(),
      async () => {
        const file = fileOf(some())
        if (file) disk.corrupt(file, (content) => (content[0] = (content[0] ?? 0) ^ 1))
      },
      async () => {
        const file = fileOf(some())
        const handle = file === undefined ? undefined : await disk.openFile(file, { mode: 'update' })
        await handle?.truncate(4096)
      },
      async () => {
        const chunk = some()
        if (chunk && !store.find(chunk.chunkId)) await put(store, chunk, dataOf(chunk.lengthBytes))
      },
      async () => {
        const chunk = some()
        if (chunk) await store.remove(chunk.chunkId)
      },
      async () => {
        const chunk = some()
        const place = chunk && store.isPacked(chunk.chunkId) ? store.locate(chunk.chunkId) : undefined
        if (place) disk.corrupt(place.file, (content) => (content[place.offset] = (content[place.offset] ?? 0) ^ 1))
      },
      async () => {
        for (const each of store.chunkDisks) await store.packUpkeep.compact(each, noPace)
      },
      async () => {
        const file = fileOf(some())
        if (file) await disk.remove(file)
      },
      async () => {
        for (const writer of writers.splice(0)) if (random.integer(2) === 0) await writer.abort()
        await store.close()
        store = await open()
      },
    ]
    for (let step = 0; step < 60; step += 1) {
      await steps[random.integer(steps.length)]?.()
      // Damage is known once it is looked for.
      for (const chunk of known) await store.verify(chunk.chunkId, noPace)
      await expectSums(disk, store)
    }
    await store.close()
  },
)

test('a copy of the same chunk on a second disk is set aside at the start, and counted there', async () => {
  const disk = new MemoryDisk()
  const options = { clock: new SystemClock(), random: new SeededRandom(1), log: silentLogger, disk }
  const one = await FileChunkStore.open({ ...options, directories: ['/one'] })
  const two = await FileChunkStore.open({ ...options, directories: ['/two'] })
  const [same, other] = [newChunk(MiB), newChunk(5000)]
  for (const store of [one, two]) {
    store.startSequence(1)
    for (const chunk of [same, other]) await put(store, chunk, dataOf(chunk.lengthBytes))
    await store.close()
  }
  disk.corrupt(`/one/chunks/${other.chunkId.slice(0, 2)}/${other.chunkId}.chunk`, (content) => content.fill(0, 4096))
  const both = await FileChunkStore.open({ ...options, directories: ['/one', '/two'] })
  expect(
    both
      .disks()
      .map((report) => report.chunkCount)
      .reduce((sum, count) => sum + count),
  ).toBe(2)
  for (const chunk of [same, other]) expect(await both.verify(chunk.chunkId, noPace)).toBe('good')
  await expectSums(disk, both)
  await both.close()
})
