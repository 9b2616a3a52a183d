/** What a chunk store makes of restarts, and of directories that are removed under its feet. */
import { expect, test } from '@jest/globals'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { FileChunkStore } from '../../chunkserver/store/file-chunk-store.js'
import { xxh64 } from '../../common/checksum/xxh64.js'
import { SystemClock } from '../../common/clock/system-clock.js'
import { systemError, type Disk } from '../../common/disk/disk.js'
import { newId, type ClusterId, type ServerId } from '../../common/ids.js'
import { MemoryDisk } from '../../common/disk/memory-disk.js'
import { NodeDisk } from '../../common/disk/node-disk.js'
import { silentLogger } from '../../common/observe/logger.js'
import { SeededRandom } from '../../common/random/seeded-random.js'
import { SystemRandom } from '../../common/random/system-random.js'
import { KiB, MiB } from '../../common/units.js'
import { dataOf, newChunk, put, read } from './chunk-store.suite.js'

const common = { clock: new SystemClock(), random: new SystemRandom(), log: silentLogger }
const noPace = async (): Promise<void> => undefined

/** A store that has been told its first sequence, as by a master. */
async function openOn(
  disk: Disk,
  options: { readonly directories?: readonly string[]; readonly packedBytesMax?: number } = {},
): Promise<FileChunkStore> {
  const store = await FileChunkStore.open({ ...common, disk, directories: ['/data'], ...options })
  store.startSequence(1000)
  return store
}

test('a copy that was found bad does not count after a restart, and counts again once it is replaced', async () => {
  const disk = new MemoryDisk()
  const open = (): Promise<FileChunkStore> => openOn(disk)
  let store = await open()
  const chunk = newChunk(2 * MiB)
  const data = dataOf(2 * MiB)
  await put(store, chunk, data)
  disk.corrupt(store.locate(chunk.chunkId)?.file ?? '', (content) => (content[5] = (content[5] ?? 0) ^ 1))
  expect(await store.verify(chunk.chunkId, noPace)).toBe('corrupt')
  // Marked right after the finding.
  for (let turn = 0; turn < 50; turn += 1) await new Promise<void>((resolve) => setImmediate(resolve))
  await store.close()
  disk.crash()

  store = await open()
  expect(store.find(chunk.chunkId)).toBeUndefined()
  expect(store.pendingChanges(10)).toMatchObject([{ kind: 'corrupt', chunkId: chunk.chunkId }])
  await put(store, chunk, data)
  await store.close()

  store = await open()
  expect(store.find(chunk.chunkId)).toBeDefined()
  expect(xxh64(await read(store, chunk.chunkId))).toBe(xxh64(data))
  await store.remove(chunk.chunkId)
  await store.close()
  store = await open()
  expect(store.find(chunk.chunkId)).toBeUndefined()
  expect(store.pendingChanges(10)).toEqual([])
  await store.close()
})

test('chunks are taken again after their directories were removed, but not into a place that is gone altogether', async () => {
  const directory = mkdtempSync(path.join(tmpdir(), 'cairn-layout-'))
  try {
    await using store = await FileChunkStore.open({ ...common, disk: new NodeDisk(), directories: [directory] })
    store.startSequence(1000)
    const data = dataOf(MiB)
    for (const part of ['chunks', 'tmp']) {
      rmSync(path.join(directory, part), { recursive: true })
      const chunk = newChunk(MiB)
      await put(store, chunk, data)
      expect(xxh64(await read(store, chunk.chunkId))).toBe(xxh64(data))
    }
    rmSync(directory, { recursive: true })
    await expect(put(store, newChunk(MiB), data)).rejects.toMatchObject({ code: 'DISK_FAILED' })
    expect(store.disks()).toMatchObject([{ state: 'failed' }])
  } finally {
    rmSync(directory, { recursive: true, force: true })
  }
})

/** A disk on which everything below a directory fails as a broken medium does. */
function broken(disk: MemoryDisk, directory: string): Disk {
  return new Proxy<Disk>(disk, {
    get(target, name: keyof Disk) {
      const method = Reflect.get(target, name) as (...args: unknown[]) => Promise<unknown>
      return (...args: unknown[]) => {
        const fails = typeof args[0] === 'string' && args[0].startsWith(directory)
        return fails ? Promise.reject(Object.assign(new Error('EIO: i/o error'), { code: 'EIO' })) : method.apply(target, args)
      }
    },
  })
}

test('a disk that cannot be read at the start costs its chunks, not the server; without any that knows us there is no start', async () => {
  const disk = new MemoryDisk()
  const directories = ['/one', '/two']
  const first = await FileChunkStore.open({ ...common, disk, directories })
  await first.settle({ serverId: newId<ServerId>(common.random), clusterId: newId<ClusterId>(common.random) })
  first.startSequence(1000)
  const chunks = [newChunk(MiB), newChunk(MiB), newChunk(MiB), newChunk(MiB)]
  for (const chunk of chunks) await put(first, chunk, dataOf(MiB))
  const places = new Map(chunks.map((chunk) => [chunk.chunkId, first.locate(chunk.chunkId)?.dir]))
  const { serverId } = first.identity()
  await first.close()

  await using second = await FileChunkStore.open({ ...common, disk: broken(disk, '/one'), directories })
  expect(second.identity().serverId).toBe(serverId)
  for (const chunk of chunks) expect(second.find(chunk.chunkId) !== undefined).toBe(places.get(chunk.chunkId) === '/two')
  await expect(FileChunkStore.open({ ...common, disk: broken(disk, '/'), directories })).rejects.toMatchObject({ code: 'EIO' })
  await expect(
    FileChunkStore.open({ ...common, disk: broken(disk, '/one'), directories: ['/one', '/fresh'] }),
  ).rejects.toMatchObject({ code: 'EIO' })
})

test('the mark of a bad copy that vanished does not condemn the copy that comes after it', async () => {
  const disk = new MemoryDisk()
  const open = (): Promise<FileChunkStore> => openOn(disk)
  let store = await open()
  const chunk = newChunk(MiB)
  for (const restarts of [true, false]) {
    await put(store, chunk, dataOf(MiB))
    const file = store.locate(chunk.chunkId)?.file ?? ''
    disk.corrupt(file, (content) => (content[5] = (content[5] ?? 0) ^ 1))
    expect(await store.verify(chunk.chunkId, noPace)).toBe('corrupt')
    await until(async () => (await disk.stat(file.replace('.chunk', '.bad'))) !== undefined)
    await disk.remove(file)
    if (restarts) {
      await store.close()
      store = await open()
    }
    await store.verify(chunk.chunkId, noPace)
    await until(async () => (await disk.stat(file.replace('.chunk', '.bad'))) === undefined)
  }
  await put(store, chunk, dataOf(MiB))
  await store.close()
  store = await open()
  expect(await store.verify(chunk.chunkId, noPace)).toBe('good')
  await store.close()
})

/** Waits for what the store does without being waited for. */
async function until(condition: () => Promise<boolean>): Promise<void> {
  for (let turn = 0; turn < 1000 && !(await condition()); turn += 1) await new Promise<void>((resolve) => setImmediate(resolve))
  expect(await condition()).toBe(true)
}

test('a copy that lies on two disks counts once, and the master is told again on which', async () => {
  const disk = new MemoryDisk()
  const open = (directories: readonly string[]): Promise<FileChunkStore> => openOn(disk, { directories })
  const chunk = newChunk(MiB)
  // One disk is away when the chunk comes to the other one a second time.
  for (const directory of ['/one', '/two']) {
    const store = await open([directory])
    await put(store, chunk, dataOf(MiB))
    await store.close()
  }
  const store = await open(['/one', '/two'])
  const kept = store.find(chunk.chunkId)
  expect(store.pendingChanges(10)).toMatchObject([{ kind: 'added', chunkId: chunk.chunkId, diskId: kept?.diskId }])
  await store.close()
})

test('what a killed process had put in place without a sync outlives a power cut once a start has counted it', async () => {
  const disk = new MemoryDisk()
  const open = (): Promise<FileChunkStore> => openOn(disk, { packedBytesMax: 4 * KiB })
  const chunks = [newChunk(MiB), newChunk(KiB)]
  // A process that is killed holds no lock any more.
  const lock = disk.lockDirectory.bind(disk)
  disk.lockDirectory = async (directory) => {
    const held = await lock(directory)
    held.release()
    return held
  }
  const killed = await open()
  const syncs: (() => void)[] = []
  disk.fault = (operation, file) =>
    (operation === 'syncDirectory' && file.includes('/chunks/')) || (operation === 'sync' && file.includes('/packs/'))
      ? new Promise((_resolve, reject) => syncs.push(() => reject(systemError('EIO', file))))
      : undefined
  const puts = chunks.map((chunk) => put(killed, chunk, dataOf(chunk.lengthBytes)))
  for (const one of puts) one.catch(() => undefined)
  await until(async () => syncs.length >= 2)
  disk.fault = undefined

  const store = await open()
  for (const { chunkId } of chunks) expect(store.find(chunkId)).toBeDefined()
  await store.close()
  disk.crash()
  const again = await open()
  for (const { chunkId } of chunks) expect(again.find(chunkId)).toBeDefined()
  await again.close()
  for (const fail of syncs) fail()
  await killed.close()
})

test('a replaced copy that has two names in quarantine after a power cut keeps one, and goes in time', async () => {
  for (let seed = 1; ; seed += 1) {
    const disk = new MemoryDisk()
    const open = (): Promise<FileChunkStore> => openOn(disk)
    const store = await open()
    const chunk = newChunk(MiB)
    await put(store, chunk, dataOf(MiB))
    disk.corrupt(store.locate(chunk.chunkId)?.file ?? '', (content) => (content[5] = (content[5] ?? 0) ^ 1))
    expect(await store.verify(chunk.chunkId, noPace)).toBe('corrupt')
    await put(store, chunk, dataOf(MiB))
    await store.close()
    disk.crash({ random: new SeededRandom(seed), share: 0.5, sectorBytes: 4096 })
    if (disk.peekNames('/data/quarantine').length < 2) continue
    await (await open()).close()
    expect(disk.peekNames('/data/quarantine')).toEqual([expect.stringMatching(/\.corrupt$/)])
    return
  }
})

test('directories that a start made and could not sync are synced by the next one', async () => {
  const disk = new MemoryDisk()
  const open = (): Promise<FileChunkStore> => openOn(disk)
  disk.fault = (operation, file) => {
    if (operation === 'syncDirectory') throw systemError('EIO', file)
  }
  await expect(open()).rejects.toMatchObject({ code: 'EIO' })
  disk.fault = undefined
  const store = await open()
  const chunk = newChunk(MiB)
  await put(store, chunk, dataOf(MiB))
  await store.close()
  disk.crash()
  const again = await open()
  expect(again.find(chunk.chunkId)).toBeDefined()
  await again.close()
})
