/** The scrub of a disk: complete, in an order of its own, in time, resumed after restarts, and out of the way of clients. */
import { beforeEach, expect, test } from '@jest/globals'
import { Scrubber } from '../../../../chunkserver/scrub/scrubber.js'
import type { ChunkDisk } from '../../../../chunkserver/store/chunk-disk.js'
import type { NewChunk } from '../../../../chunkserver/store/chunk-store.js'
import { FileChunkStore } from '../../../../chunkserver/store/file-chunk-store.js'
import { VirtualClock } from '../../../../common/clock/virtual-clock.js'
import { MemoryDisk } from '../../../../common/disk/memory-disk.js'
import type { ChunkId } from '../../../../common/ids.js'
import { silentLogger } from '../../../../common/observe/logger.js'
import { SeededRandom } from '../../../../common/random/seeded-random.js'
import { DAY_MS, MiB } from '../../../../common/units.js'
import { dataOf, newChunk, put } from '../../../contract/chunk-store.suite.js'
import { troubledDisk } from '../../../support/troubled-disk.js'

const COUNT = 12
const SIZE = 2 * MiB
const random = new SeededRandom(3)

let clock: VirtualClock
let memory: MemoryDisk
let store: FileChunkStore
let chunks: NewChunk[]
/** Chunk files in the order in which they are opened. */
let opened: string[]
let busy: boolean

const open = async (): Promise<void> => {
  const disk = troubledDisk(memory, (operation, path) => {
    if (operation === 'openFile' && path.endsWith('.chunk')) opened.push(path.slice(-38, -6))
  })
  store = await FileChunkStore.open({ clock, random, log: silentLogger, disk, directories: ['/data'] })
  store.startSequence(1)
  opened = []
}
const theDisk = (): ChunkDisk => store.chunkDisks[0] as ChunkDisk
const scrubber = (): Scrubber =>
  new Scrubber({ clock, random, log: silentLogger, store, disk: theDisk(), busy: () => busy, onFinding: () => undefined })
const pass = async (one: Scrubber, signal = new AbortController().signal): Promise<void> => {
  let ended = false
  void one.run(signal).finally(() => (ended = true))
  await clock.until(() => ended, 60 * DAY_MS)
}
const ids = (): ChunkId[] => chunks.map((chunk) => chunk.chunkId).sort()

beforeEach(async () => {
  clock = new VirtualClock()
  memory = new MemoryDisk()
  busy = false
  opened = []
  await open()
  chunks = Array.from({ length: COUNT }, () => newChunk(SIZE))
  for (const chunk of chunks) await put(store, chunk, dataOf(SIZE))
  opened = []
})

test('a pass reads every chunk once, each pass in another order, and says what it has done', async () => {
  const one = scrubber()
  await pass(one)
  const first = opened
  expect([...first].sort()).toEqual(ids())
  const { last } = store.disks()[0]?.scrub ?? {}
  expect(last).toMatchObject({ checkedBytes: COUNT * SIZE, errors: 0 })
  expect(last?.finishedMs).toBeGreaterThan(clock.now() - 60_000)
  opened = []
  await pass(one)
  expect([...opened].sort()).toEqual(ids())
  expect(opened).not.toEqual(first)
})

test('what it finds is counted', async () => {
  for (const chunk of chunks.slice(0, 2))
    memory.corrupt(store.locate(chunk.chunkId)?.file ?? '', (content) => (content[MiB + 3] = (content[MiB + 3] ?? 0) ^ 1))
  await memory.remove(store.locate(chunks[2]?.chunkId as ChunkId)?.file ?? '')
  await pass(scrubber())
  expect(store.disks()[0]?.scrub?.last).toMatchObject({ errors: 3 })
  expect(store.disks()[0]?.chunkCount).toBe(COUNT - 3)
})

test('after a restart it goes on where it was', async () => {
  const one = scrubber()
  const abort = new AbortController()
  void one.run(abort.signal)
  await clock.until(() => opened.length === 5, DAY_MS)
  abort.abort(new Error('stopped'))
  await clock.advance(10)
  await one.stop()
  const before = opened.slice(0, 4)
  await store.close()

  await open()
  const next = scrubber()
  await pass(next)
  // The one that was under way is read again.
  expect(opened).toHaveLength(COUNT - 4)
  expect([...before, ...opened].sort()).toEqual(ids())
  expect(store.disks()[0]?.scrub?.last).toMatchObject({ checkedBytes: COUNT * SIZE })
})

test('a kill loses no more than a minute of it', async () => {
  void scrubber().run(new AbortController().signal)
  // At 8 MiB/s, paced by the leaf: slowed down by clients.
  busy = true
  await clock.advance(10_000)
  busy = false
  await clock.until(() => opened.length === 8, DAY_MS)
  memory.crash()
  const record = JSON.parse(new TextDecoder().decode(await memory.readFile('/data/scrub.json'))) as { position: string }
  expect(record.position).toMatch(/^[0-9a-f]{16}$/)
})

test.each([
  ['torn', '{"formatVersion":1,"se'],
  ['of another version', '{"formatVersion":9}'],
  ['empty', ''],
])('a record that is %s costs nothing but the pass', async (_what, content) => {
  await memory.replaceFile('/data/scrub.json', new TextEncoder().encode(content))
  await pass(scrubber())
  expect([...opened].sort()).toEqual(ids())
})

test('it goes slowly, and faster only where a large disk would not be done in 30 days', async () => {
  const startMs = clock.monotonic()
  await pass(scrubber())
  const tookMs = clock.monotonic() - startMs
  expect(tookMs).toBeGreaterThan(((COUNT - 1) * SIZE * 1000) / (8 * MiB))
  // Of a disk that seems to hold 50 TB.
  const wholeBytes = 50e12
  theDisk().usage.chunkBytes = wholeBytes
  const from = clock.monotonic()
  await pass(scrubber())
  const bytesPerMs = (COUNT * SIZE) / (clock.monotonic() - from)
  expect(wholeBytes / bytesPerMs).toBeLessThan(30 * DAY_MS)
})

test('it stands aside for clients while it is in time, and no longer once it is late', async () => {
  const timed = async (): Promise<number> => {
    const startMs = clock.monotonic()
    await pass(scrubber())
    return clock.monotonic() - startMs
  }
  const alone = await timed()
  busy = true
  expect(await timed()).toBeGreaterThan(alone * 5)
  const one = scrubber()
  const abort = new AbortController()
  void one.run(abort.signal)
  await clock.advance(1)
  abort.abort(new Error('stopped'))
  await clock.advance(3_000)
  await clock.advance(26 * DAY_MS)
  const lateMs = clock.monotonic()
  await pass(one)
  expect(clock.monotonic() - lateMs).toBeLessThan(alone * 2)
})

test('a disk that goes out of use ends its pass', async () => {
  const one = scrubber()
  void one.run(new AbortController().signal)
  await clock.until(() => opened.length === 3, DAY_MS)
  theDisk().fail(new Error('gone'))
  await clock.advance(DAY_MS)
  expect(opened.length).toBeLessThanOrEqual(4)
  await pass(one)
  expect(opened.length).toBeLessThanOrEqual(4)
})
