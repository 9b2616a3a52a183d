/** Several disks under one store: what befalls one of them costs what lies on it, and nothing else. */
import { beforeEach, describe, expect, test } from '@jest/globals'
import { FileChunkStore } from '../../../../chunkserver/store/file-chunk-store.js'
import { dropLeftovers } from '../../../../chunkserver/store/set-aside.js'
import type { NewChunk } from '../../../../chunkserver/store/chunk-store.js'
import { xxh64 } from '../../../../common/checksum/xxh64.js'
import { VirtualClock } from '../../../../common/clock/virtual-clock.js'
import { systemError } from '../../../../common/disk/disk.js'
import { MemoryDisk } from '../../../../common/disk/memory-disk.js'
import { newId, type ClusterId, type ServerId } from '../../../../common/ids.js'
import { silentLogger } from '../../../../common/observe/logger.js'
import { SeededRandom } from '../../../../common/random/seeded-random.js'
import { MiB } from '../../../../common/units.js'
import { dataOf, newChunk, put, read, writeLeaves } from '../../../contract/chunk-store.suite.js'
import { troubledDisk, type Trouble } from '../../../support/troubled-disk.js'

const DIRECTORIES = ['/d0', '/d1', '/d2', '/d3']
const SIZE = MiB + 10
const never = new Promise<void>(() => undefined)

let clock: VirtualClock
let memory: MemoryDisk
let trouble: Trouble
let store: FileChunkStore
let chunks: NewChunk[]

const open = (directories: readonly string[] = DIRECTORIES): Promise<FileChunkStore> =>
  run(
    FileChunkStore.open({
      clock,
      random: new SeededRandom(5),
      log: silentLogger,
      disk: troubledDisk(memory, (operation, path) => trouble(operation, path)),
      directories,
      capacityBytes: 1024 * MiB,
    }),
  )

/** Lets virtual time run until the work is done. */
async function run<T>(work: Promise<T>, withinMs = 60_000): Promise<T> {
  let settled = false
  work.then(
    () => (settled = true),
    () => (settled = true),
  )
  await clock.until(() => settled, withinMs)
  return work
}

const diskOf = (chunk: NewChunk): string | undefined => store.locate(chunk.chunkId)?.dir
const on = (directory: string): NewChunk[] => chunks.filter((chunk) => diskOf(chunk) === directory)
const stateOf = (directory: string): string | undefined => store.disks().find((disk) => disk.path === directory)?.state
const putNew = async (): Promise<NewChunk> => {
  const chunk = newChunk(SIZE)
  await put(store, chunk, dataOf(SIZE))
  return chunk
}

beforeEach(async () => {
  clock = new VirtualClock()
  memory = new MemoryDisk({ now: () => clock.now() })
  trouble = () => undefined
  store = await open()
  store.startSequence(1000)
  chunks = []
  for (let index = 0; index < 32; index += 1) chunks.push(await run(putNew()))
})

test('chunks are spread over all disks', () => {
  for (const directory of DIRECTORIES) expect(on(directory).length).toBeGreaterThanOrEqual(4)
})

describe('one hung disk of four', () => {
  const hang = (): void => {
    trouble = (_operation, path) => (path.startsWith('/d0') ? never : undefined)
  }

  test('the other three keep serving reads and writes at once', async () => {
    const mine = on('/d0')
    const others = chunks.filter((chunk) => !mine.includes(chunk))
    hang()
    const stuck = mine.map((chunk) => read(store, chunk.chunkId).catch((error: unknown) => error))
    for (const chunk of others) expect(xxh64(await run(read(store, chunk.chunkId), 10))).toBe(xxh64(dataOf(SIZE)))
    // From when it is seen that an operation does not come back, new chunks go to the others.
    await clock.advance(1_000)
    for (let index = 0; index < 12; index += 1) expect(diskOf(await run(putNew(), 200))).not.toBe('/d0')
    for (const outcome of await run(Promise.all(stuck), 10_000)) expect(outcome).toMatchObject({ code: 'DISK_HANGS' })
  })

  test('it takes no more threads than its share, however much is asked of it', async () => {
    let hanging = 0
    trouble = (_operation, path) => {
      if (!path.startsWith('/d0')) return undefined
      hanging += 1
      return never
    }
    for (const chunk of on('/d0')) void read(store, chunk.chunkId).catch(() => undefined)
    for (let index = 0; index < 20; index += 1) void putNew().catch(() => undefined)
    for (let second = 0; second < 28; second += 1) {
      await clock.advance(1_000)
      store.disks()
    }
    expect(hanging).toBeGreaterThan(0)
    expect(hanging).toBeLessThanOrEqual(12 / DIRECTORIES.length)
  })

  test('it is reported failed within its deadline, and its copies are held no more', async () => {
    const [mine] = on('/d0')
    const other = on('/d1').length
    let told = 0
    store.onDiskFailed = () => (told += 1)
    hang()
    void read(store, mine?.chunkId as NewChunk['chunkId']).catch(() => undefined)
    await clock.advance(29_000)
    expect(stateOf('/d0')).toBe('ok')
    await clock.advance(2_000)
    expect(stateOf('/d0')).toBe('failed')
    expect(told).toBe(1)
    expect(store.find(mine?.chunkId as NewChunk['chunkId'])).toBeUndefined()
    expect(store.disks().map((disk) => disk.chunkCount)).toEqual([0, other, on('/d2').length, on('/d3').length])
    // So that the copy can be rebuilt here.
    await run(put(store, mine as NewChunk, dataOf(SIZE)))
    expect(diskOf(mine as NewChunk)).not.toBe('/d0')
  })

  test('memory that a hung read may still write to is not given to others', async () => {
    const [mine, second] = on('/d0')
    const [other] = on('/d1')
    let letGo: () => void = () => undefined
    const until = new Promise<void>((resolve) => (letGo = resolve))
    const footersRead = new Set<string>()
    trouble = (operation, path) => {
      if (operation !== 'read' || !path.startsWith('/d0')) return undefined
      if (footersRead.has(path)) return until
      footersRead.add(path)
      return undefined
    }
    // As many as there are blocks for verification.
    const stuck = [mine, second].map((chunk) => store.verify(chunk?.chunkId as NewChunk['chunkId'], async () => undefined))
    for (const work of stuck) await expect(run(work)).rejects.toMatchObject({ code: 'DISK_HANGS' })
    let verified = false
    const waiting = store.verify(other?.chunkId as NewChunk['chunkId'], async () => undefined).finally(() => (verified = true))
    await clock.advance(1_000)
    expect(verified).toBe(false)
    letGo()
    expect(await run(waiting)).toBe('good')
    expect(await run(store.verify(mine?.chunkId as NewChunk['chunkId'], async () => undefined))).toBe('good')
  })

  test('an unfinished write that it kept is removed when it answers again', async () => {
    let letGo: () => void = () => undefined
    const until = new Promise<void>((resolve) => (letGo = resolve))
    trouble = (operation) => (operation === 'sync' ? until : undefined)
    const chunk = newChunk(SIZE)
    const writer = await run(store.create(chunk))
    const sums = await run(writeLeaves(writer, dataOf(SIZE)))
    await expect(run(writer.commit(sums))).rejects.toMatchObject({ code: 'DISK_HANGS' })
    await run(writer.abort())
    const kept = (): number => store.disks().reduce((sum, disk) => sum + (disk.temporaryBytes ?? 0), 0)
    expect(kept()).toBeGreaterThan(SIZE)
    letGo()
    await clock.advance(100)
    for (const disk of store.chunkDisks) await run(dropLeftovers(disk))
    expect(kept()).toBe(0)
    for (const directory of DIRECTORIES) expect(await memory.list(`${directory}/tmp`)).toEqual([])
    expect(DIRECTORIES.map(stateOf)).toEqual(['ok', 'ok', 'ok', 'ok'])
  })

  test('a start does not wait for it: it is left out', async () => {
    const mine = on('/d0')
    await run(store.settle({ serverId: newId<ServerId>(new SeededRandom(1)), clusterId: newId<ClusterId>(new SeededRandom(2)) }))
    await store.close()
    hang()
    store = await open()
    expect(store.find(mine[0]?.chunkId as NewChunk['chunkId'])).toBeUndefined()
    expect(store.disks()).toHaveLength(3)
  })
})

describe('one failing disk of four', () => {
  test.each(['write', 'sync', 'syncDirectory', 'rename'])(
    'EIO on %s costs that disk, and the chunk goes to another',
    async (operation) => {
      trouble = (what, path) => {
        if (what === operation && path.startsWith('/d2')) throw systemError('EIO', path)
      }
      const outcomes: string[] = []
      for (let index = 0; index < 12; index += 1)
        outcomes.push(
          await run(putNew()).then(
            (chunk) => diskOf(chunk) as string,
            (error: { code: string }) => error.code,
          ),
        )
      expect(outcomes.filter((outcome) => outcome === 'DISK_FAILED')).toHaveLength(1)
      expect(outcomes).not.toContain('/d2')
      expect(DIRECTORIES.map(stateOf)).toEqual(['ok', 'ok', 'failed', 'ok'])
      expect(store.disks()[2]?.reason).toContain('EIO')
    },
  )

  test('a few sectors that cannot be read cost copies, many the disk', async () => {
    const mine = on('/d1')
    trouble = (what, path) => {
      if (what === 'read' && path.startsWith('/d1/chunks')) throw systemError('EIO', path)
    }
    await expect(run(read(store, mine[0]?.chunkId as NewChunk['chunkId']))).rejects.toMatchObject({ code: 'CHUNK_CORRUPT' })
    expect(stateOf('/d1')).toBe('ok')
    for (const chunk of on('/d1')) await run(read(store, chunk.chunkId)).catch(() => undefined)
    expect(DIRECTORIES.map(stateOf)).toEqual(['ok', 'failed', 'ok', 'ok'])
    for (const chunk of on('/d0')) expect(xxh64(await run(read(store, chunk.chunkId)))).toBe(xxh64(dataOf(SIZE)))
  })
})

test('one full disk of four takes no more chunks; those on it are read, and it takes some again when there is room', async () => {
  let full = true
  trouble = (what, path) => {
    if (full && what === 'write' && path.startsWith('/d3')) throw systemError('ENOSPC', path)
  }
  const outcomes: string[] = []
  for (let index = 0; index < 12; index += 1)
    outcomes.push(
      await run(putNew()).then(
        (chunk) => diskOf(chunk) as string,
        (error: { code: string }) => error.code,
      ),
    )
  expect(outcomes.filter((outcome) => outcome === 'DISK_FULL')).toHaveLength(1)
  expect(DIRECTORIES.map(stateOf)).toEqual(['ok', 'ok', 'ok', 'full'])
  for (const chunk of on('/d3')) expect(xxh64(await run(read(store, chunk.chunkId)))).toBe(xxh64(dataOf(SIZE)))
  full = false
  await clock.advance(10_000)
  const again: (string | undefined)[] = []
  for (let index = 0; index < 12; index += 1) again.push(diskOf(await run(putNew())))
  expect(again).toContain('/d3')
})

test('a slow disk gets few new chunks while the others have room', async () => {
  const sleep = (ms: number): Promise<void> => new Promise((resolve) => clock.setTimer(ms, resolve))
  trouble = (what, path) => (['read', 'write', 'sync'].includes(what) && path.startsWith('/d0') ? sleep(200) : undefined)
  const places: (string | undefined)[] = []
  for (let index = 0; index < 40; index += 1) places.push(diskOf(await run(putNew())))
  expect(places.filter((place) => place === '/d0').length).toBeLessThanOrEqual(4)
  expect(store.disks()[0]?.latencyMs).toBeGreaterThanOrEqual(200)
  expect(store.disks()[1]?.latencyMs).toBeLessThan(10)
})

test('an empty disk in the place of a used one comes back under another id, without its chunks', async () => {
  await run(store.settle({ serverId: newId<ServerId>(new SeededRandom(1)), clusterId: newId<ClusterId>(new SeededRandom(2)) }))
  const { serverId } = store.identity()
  const lost = on('/d1')
  const before = store.disks()
  await store.close()
  await memory.removeTree('/d1')
  store = await open()
  expect(store.identity().serverId).toBe(serverId)
  expect(store.disks().map((disk, index) => disk.diskId === before[index]?.diskId)).toEqual([true, false, true, true])
  for (const chunk of chunks) expect(store.find(chunk.chunkId) === undefined).toBe(lost.includes(chunk))
})

test('of two copies the newer counts: the older came back with a disk that had been away', async () => {
  const [chunk] = on('/d0')
  if (!chunk) throw new Error('no chunk lies on /d0')
  await store.close()
  store = await open(['/d1', '/d2', '/d3'])
  await clock.advance(1000)
  await run(put(store, chunk, dataOf(SIZE)))
  await store.close()
  memory.corrupt(`/d0/chunks/${chunk.chunkId.slice(0, 2)}/${chunk.chunkId}.chunk`, (content) => content.fill(0xee, 0, 10))
  store = await open()
  expect(diskOf(chunk)).not.toBe('/d0')
  expect(xxh64(await run(read(store, chunk.chunkId)))).toBe(xxh64(dataOf(SIZE)))
  expect(memory.peekNames('/d0/quarantine').filter((name) => name.endsWith('.duplicate'))).toHaveLength(1)
  expect(store.disks().reduce((sum, disk) => sum + disk.chunkCount, 0)).toBe(32)
})

describe('many findings at once', () => {
  const verifyAll = async (): Promise<void> => {
    for (const chunk of chunks) await run(store.verify(chunk.chunkId, async () => undefined)).catch(() => undefined)
    await clock.advance(1)
  }
  const single = async (count: number): Promise<void> => {
    await store.close()
    memory = new MemoryDisk()
    store = await open(['/d0'])
    store.startSequence(1000)
    chunks = []
    for (let index = 0; index < count; index += 1) {
      const chunk = newChunk(5000)
      await run(put(store, chunk, dataOf(5000)))
      chunks.push(chunk)
    }
  }
  const flip = (chunk: NewChunk): void =>
    memory.corrupt(store.locate(chunk.chunkId)?.file ?? '', (content) => (content[5] = (content[5] ?? 0) ^ 1))

  test('a disk most of whose copies read back wrong goes out of use; only some copies were condemned for it', async () => {
    await single(100)
    for (const chunk of chunks) flip(chunk)
    await verifyAll()
    expect(stateOf('/d0')).toBe('failed')
    expect(store.pendingChanges(1000).filter((change) => change.kind === 'corrupt')).toHaveLength(32)
    expect(store.disks()[0]?.reason).toContain('read back wrong')
  })

  test('on a disk that is sound on the whole, all bad copies are condemned in the end', async () => {
    await single(200)
    const bad = chunks.filter((_chunk, index) => index % 3 === 0)
    for (const chunk of bad) flip(chunk)
    await verifyAll()
    await clock.advance(100)
    expect(stateOf('/d0')).toBe('ok')
    for (const chunk of chunks) expect(store.find(chunk.chunkId) === undefined).toBe(bad.includes(chunk))
  })

  test('files that all vanish are given up together, the disk goes on', async () => {
    await single(100)
    await memory.removeTree('/d0/chunks')
    await verifyAll()
    expect(stateOf('/d0')).toBe('ok')
    expect([...store.chunkIds()]).toEqual([])
    const again = await run(putNew())
    expect(xxh64(await run(read(store, again.chunkId)))).toBe(xxh64(dataOf(SIZE)))
  })

  test('a volume that is unmounted is a failed disk, not as many lost chunks', async () => {
    await single(100)
    await memory.removeTree('/d0')
    await memory.makeDirectory('/d0')
    await verifyAll()
    expect(stateOf('/d0')).toBe('failed')
  })

  test('a leaf that reads wrong once and right the second time condemns nothing', async () => {
    await single(3)
    let reads = 0
    const [chunk] = chunks
    trouble = (what, path) => {
      if (what !== 'read' || !path.startsWith('/d0/chunks')) return
      reads += 1
      // The footer has been read by then: what is wrong is the leaf, until it is read again.
      if (reads === 2 || reads === 3) flip(chunk as NewChunk)
    }
    expect(xxh64(await run(read(store, chunk?.chunkId as NewChunk['chunkId'])))).toBe(xxh64(dataOf(5000)))
    expect(reads).toBe(3)
    expect(store.find(chunk?.chunkId as NewChunk['chunkId'])).toBeDefined()
  })
})
