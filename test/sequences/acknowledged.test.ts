/** Acknowledged means durable: what a chunk store has committed outlives a power cut in the next moment, and nothing is said before. */
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { expect, test } from '@jest/globals'
import { FileChunkStore } from '../../chunkserver/store/file-chunk-store.js'
import { VirtualClock } from '../../common/clock/virtual-clock.js'
import { xxh64 } from '../../common/checksum/xxh64.js'
import { MemoryDisk, type DiskOperation } from '../../common/disk/memory-disk.js'
import { silentLogger } from '../../common/observe/logger.js'
import { SystemRandom } from '../../common/random/system-random.js'
import { MiB } from '../../common/units.js'
import { SqliteConnection } from '../../master/store/engine/sqlite-connection.js'
import { dataOf, newChunk, put, read, writeLeaves } from '../contract/chunk-store.suite.js'

const SIZE = 2 * MiB + 77
const common = { random: new SystemRandom(), log: silentLogger }

const open = (disk: MemoryDisk): Promise<FileChunkStore> =>
  FileChunkStore.open({ ...common, clock: new VirtualClock(), disk, directories: ['/data'] })

test('a chunk that was acknowledged is whole after a power cut in the next moment', async () => {
  const disk = new MemoryDisk()
  const store = await open(disk)
  store.startSequence(1)
  const chunk = newChunk(SIZE)
  await put(store, chunk, dataOf(SIZE))
  disk.crash()
  await using again = await open(disk)
  expect(again.find(chunk.chunkId)).toBeDefined()
  expect(xxh64(await read(again, chunk.chunkId))).toBe(xxh64(dataOf(SIZE)))
})

test('nothing is acknowledged before the data and then the name are synced', async () => {
  const disk = new MemoryDisk()
  await using store = await open(disk)
  store.startSequence(1)
  const chunk = newChunk(SIZE)
  const writer = await store.create(chunk)
  const sums = await writeLeaves(writer, dataOf(SIZE))
  const waiting = new Map<DiskOperation, () => void>()
  disk.fault = (operation) =>
    operation === 'sync' || operation === 'syncDirectory'
      ? new Promise<void>((resolve) => waiting.set(operation, resolve))
      : undefined
  let acknowledged = false
  const committed = writer.commit(sums).then(() => (acknowledged = true))
  const turns = async (): Promise<void> => {
    for (let turn = 0; turn < 20; turn += 1) await new Promise<void>((resolve) => setImmediate(resolve))
  }
  await turns()
  expect({ acknowledged, waiting: [...waiting.keys()] }).toEqual({ acknowledged: false, waiting: ['sync'] })
  expect(store.find(chunk.chunkId)).toBeUndefined()
  waiting.get('sync')?.()
  await turns()
  expect({ acknowledged, waiting: [...waiting.keys()] }).toEqual({ acknowledged: false, waiting: ['sync', 'syncDirectory'] })
  expect(store.find(chunk.chunkId)).toBeUndefined()
  waiting.get('syncDirectory')?.()
  await committed
  expect(store.find(chunk.chunkId)).toBeDefined()
})

test('the metadata is written with a log that is synced at each commit', () => {
  const directory = mkdtempSync(path.join(tmpdir(), 'cairn-synced-'))
  try {
    const connection = new SqliteConnection(path.join(directory, 'm.sqlite'), { readOnly: false })
    expect(connection.native.pragma('journal_mode', { simple: true })).toBe('wal')
    // 2 is FULL: nothing that was answered is lost with the power.
    expect(connection.native.pragma('synchronous', { simple: true })).toBe(2)
    connection.close()
  } finally {
    rmSync(directory, { recursive: true })
  }
})
