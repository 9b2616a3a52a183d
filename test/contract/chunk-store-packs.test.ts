/** Small chunks in packs: what a disk, a power cut or a person with a shell may do to them. */
import { beforeEach, describe, expect, test } from '@jest/globals'
import type { ChunkDisk } from '../../chunkserver/store/chunk-disk.js'
import { decodeFooter, decodeTrailer } from '../../chunkserver/store/chunk-file.js'
import type { NewChunk } from '../../chunkserver/store/chunk-store.js'
import { FileChunkStore } from '../../chunkserver/store/file-chunk-store.js'
import { PACKED_CHUNK_BYTES_MAX } from '../../chunkserver/store/pack-record.js'
import { SystemClock } from '../../common/clock/system-clock.js'
import { systemError } from '../../common/disk/disk.js'
import { MemoryDisk, type DiskOperation } from '../../common/disk/memory-disk.js'
import { silentLogger } from '../../common/observe/logger.js'
import { SeededRandom } from '../../common/random/seeded-random.js'
import { KiB } from '../../common/units.js'
import { dataOf, newChunk, put, read } from './chunk-store.suite.js'

const noPace = async (): Promise<void> => undefined
const PACKS = '/data/packs'

/** Makes reads that touch a sector fail. */
function unreadableAt(disk: MemoryDisk, file: string, position: number): { restore: () => void } {
  const openFile = disk.openFile.bind(disk)
  disk.openFile = async (name, options) => {
    const handle = await openFile(name, options)
    if (name !== file) return handle
    const read = handle.read.bind(handle)
    handle.read = async (target, at) => {
      if (at <= position && position < at + target.length) throw systemError('EIO', name)
      return read(target, at)
    }
    return handle
  }
  return { restore: () => void (disk.openFile = openFile) }
}

describe('packs', () => {
  let disk: MemoryDisk
  let store: FileChunkStore

  const open = async (): Promise<FileChunkStore> => {
    const opened = await FileChunkStore.open({
      clock: new SystemClock(),
      random: new SeededRandom(1),
      log: silentLogger,
      disk,
      directories: ['/data'],
      packedBytesMax: PACKED_CHUNK_BYTES_MAX,
    })
    opened.startSequence(1000)
    return opened
  }
  const restart = async (): Promise<void> => {
    await store.close()
    store = await open()
  }
  const fill = async (count: number, lengthBytes = 1 * KiB): Promise<NewChunk[]> => {
    const chunks = Array.from({ length: count }, () => newChunk(lengthBytes))
    await Promise.all(chunks.map((chunk) => put(store, chunk, dataOf(lengthBytes))))
    return chunks
  }
  const packs = (): string[] => disk.peekNames(PACKS)
  const heldOf = (chunks: readonly NewChunk[]): boolean[] => chunks.map(({ chunkId }) => store.find(chunkId) !== undefined)
  const compact = (): Promise<void> => store.packUpkeep.compact(store.chunkDisks[0] as ChunkDisk, noPace)
  const flip = ({ chunkId }: NewChunk): void => {
    const { file, offset } = store.locate(chunkId) ?? { file: '', offset: 0 }
    disk.corrupt(file, (content) => (content[offset] = (content[offset] ?? 0) ^ 1))
  }
  /** Counts what is done from here on. */
  const counted = (): Map<DiskOperation, number> => {
    const counts = new Map<DiskOperation, number>()
    disk.fault = (operation) => void counts.set(operation, (counts.get(operation) ?? 0) + 1)
    return counts
  }

  beforeEach(async () => {
    disk = new MemoryDisk()
    store = await open()
  })

  test('chunks that are written at the same time share a write and a sync', async () => {
    await fill(1)
    const counts = counted()
    const chunks = await fill(50)
    expect(counts.get('sync')).toBeLessThanOrEqual(3)
    expect(counts.get('write')).toBeLessThanOrEqual(3)
    expect(disk.peekFiles('/data/chunks')).toEqual([])
    for (const { chunkId, lengthBytes } of chunks) expect(await read(store, chunkId)).toEqual(dataOf(lengthBytes))
  })

  test('a large chunk has a file of its own, one that just fits has not', async () => {
    const [fits, large] = [newChunk(PACKED_CHUNK_BYTES_MAX), newChunk(PACKED_CHUNK_BYTES_MAX + 1)]
    for (const chunk of [fits, large]) await put(store, chunk, dataOf(chunk.lengthBytes))
    expect([fits, large].map(({ chunkId }) => store.isPacked(chunkId))).toEqual([true, false])
    await restart()
    for (const { chunkId, lengthBytes } of [fits, large]) expect(await read(store, chunkId)).toEqual(dataOf(lengthBytes))
  })

  test('what was stored is there after a power cut and a restart, what was removed is not', async () => {
    const chunks = await fill(5)
    await store.remove(chunks[0]?.chunkId as NewChunk['chunkId'])
    disk.crash()
    store = await open()
    expect(heldOf(chunks)).toEqual([false, true, true, true, true])
    for (const { chunkId } of chunks.slice(1)) expect(await store.verify(chunkId, noPace)).toBe('good')
  })

  test('a removed chunk lies in quarantine as a chunk file, and counts there when it is put back', async () => {
    const [chunk] = (await fill(3)) as [NewChunk]
    await store.remove(chunk.chunkId)
    const [name] = disk.peekNames('/data/quarantine')
    expect(name).toMatch(new RegExp(`^${chunk.chunkId}\\.\\d+\\.deleted$`))
    const bytes = disk.peek(`/data/quarantine/${name}`) as Uint8Array
    expect(decodeFooter(bytes.subarray(decodeTrailer(bytes, bytes.length)), bytes.length)).toMatchObject({
      chunkId: chunk.chunkId,
    })
    await store.close()
    await disk.rename(`/data/quarantine/${name}`, `/data/chunks/${chunk.chunkId.slice(0, 2)}/${chunk.chunkId}.chunk`)
    store = await open()
    expect(await read(store, chunk.chunkId)).toEqual(dataOf(chunk.lengthBytes))
  })

  test('a pack that ends in the midst of a record costs that record and those behind it', async () => {
    const chunks: NewChunk[] = []
    for (let count = 0; count < 4; count += 1) chunks.push(...(await fill(1, 6 * KiB)))
    const [file] = disk.peekFiles(PACKS) as [string]
    await store.close()
    disk.lose(file, 2 * 8 * KiB + 5000)
    store = await open()
    expect(heldOf(chunks)).toEqual([true, true, false, false])
    expect(store.pendingChanges(10)).toEqual([])
    await fill(1)
    expect(packs()).toHaveLength(2)
  })

  test.each([
    ['while the store runs', async () => undefined],
    ['while it does not', () => restart()],
  ])('a record that rots %s condemns one chunk, and another copy takes its place', async (_, after) => {
    const chunks = await fill(4)
    await fill(1)
    const bad = chunks[1] as NewChunk
    flip(bad)
    await after()
    expect(await store.verify(bad.chunkId, noPace)).toBe('corrupt')
    expect(heldOf(chunks)).toEqual([true, false, true, true])
    expect(store.pendingChanges(99).filter(({ kind }) => kind === 'corrupt')).toHaveLength(1)
    await put(store, bad, dataOf(bad.lengthBytes))
    for (let life = 0; life < 2; life += 1) {
      expect(heldOf(chunks)).toEqual([true, true, true, true])
      expect(await store.verify(bad.chunkId, noPace)).toBe('good')
      await restart()
    }
  })

  test('a header that rots costs one chunk, and those behind it are found', async () => {
    const chunks = await fill(4)
    await fill(1)
    const { file, offset } = store.locate(chunks[1]?.chunkId as NewChunk['chunkId']) ?? { file: '', offset: 0 }
    disk.corrupt(file, (content) => content.fill(0xff, offset - 100, offset - 90))
    await restart()
    expect(heldOf(chunks)).toEqual([true, false, true, true])
    // Nobody knows what it was: it is not thrown away.
    for (const { chunkId } of chunks) await store.remove(chunkId)
    const before = packs()
    await compact()
    expect(packs()).toEqual(expect.arrayContaining(before))
  })

  test('a sector that cannot be read at the start costs one chunk, not the disk', async () => {
    const chunks = await fill(4)
    await fill(1)
    const { file, offset } = store.locate(chunks[1]?.chunkId as NewChunk['chunkId']) ?? { file: '', offset: 0 }
    await store.close()
    const sector = offset - 128
    const read = unreadableAt(disk, file, sector)
    store = await open()
    expect(heldOf(chunks)).toEqual([true, false, true, true])
    expect(store.disks()[0]).toMatchObject({ state: 'ok' })
    read.restore()
    await restart()
    expect(heldOf(chunks)).toEqual([true, true, true, true])
  })

  test('a pack that cannot be opened is left as it is', async () => {
    const chunks = await fill(2)
    await store.close()
    disk.fault = (operation, file) => {
      if (operation === 'open' && file.endsWith('.pack')) throw systemError('EACCES', file)
    }
    store = await open()
    expect(heldOf(chunks)).toEqual([false, false])
    disk.fault = undefined
    const others = await fill(2)
    await compact()
    await restart()
    expect(heldOf([...chunks, ...others])).toEqual([true, true, true, true])
  })

  test('a pack that vanishes is missed without a read, and its chunks are said to be removed', async () => {
    const chunks = await fill(6)
    await restart()
    const others = await fill(2)
    disk.lose(`${PACKS}/${packs()[0]}`, undefined)
    await store.packUpkeep.check(store.chunkDisks[0] as ChunkDisk)
    expect(heldOf([...chunks, ...others])).toEqual([...chunks.map(() => false), true, true])
    expect(store.pendingChanges(99).filter(({ kind }) => kind === 'removed')).toHaveLength(6)
  })

  test('a pack that was cut is missed without a read', async () => {
    const chunks = [...(await fill(1)), ...(await fill(1))]
    disk.lose(`${PACKS}/${packs()[0]}`, 4 * KiB)
    await store.packUpkeep.check(store.chunkDisks[0] as ChunkDisk)
    expect(heldOf(chunks)).toEqual([true, false])
  })

  test('a full disk refuses those that wait, and takes others once there is room', async () => {
    const before = await fill(2)
    disk.fault = (operation) => {
      if (operation === 'write') throw systemError('ENOSPC', 'write')
    }
    const refused = await Promise.allSettled([1, 2, 3].map(() => fill(1)))
    for (const one of refused) expect(one).toMatchObject({ status: 'rejected', reason: { code: 'DISK_FULL' } })
    disk.fault = undefined
    await restart()
    const after = await fill(2)
    await restart()
    expect(heldOf([...before, ...after])).toEqual([true, true, true, true])
  })

  test('a sync that fails acknowledges nothing and costs the disk', async () => {
    await fill(1)
    disk.fault = (operation) => {
      if (operation === 'sync') throw systemError('EIO', 'fdatasync')
    }
    await expect(fill(3)).rejects.toMatchObject({ code: 'DISK_FAILED' })
    expect(store.disks()[0]).toMatchObject({ state: 'failed', chunkCount: 0 })
  })

  describe('compaction', () => {
    /** A closed pack of which little counts. */
    async function mostlyGone(): Promise<NewChunk[]> {
      const chunks = await fill(40)
      await restart()
      for (const { chunkId } of chunks.slice(5)) await store.remove(chunkId)
      return chunks.slice(0, 5)
    }

    test('what counts moves to another pack, and the old one goes', async () => {
      const kept = await mostlyGone()
      const [old] = packs()
      await compact()
      expect(packs()).not.toContain(old)
      for (let life = 0; life < 2; life += 1) {
        expect([...store.chunkIds()].sort()).toEqual(kept.map(({ chunkId }) => chunkId).sort())
        for (const { chunkId, lengthBytes } of kept) expect(await read(store, chunkId)).toEqual(dataOf(lengthBytes))
        disk.crash()
        store = await open()
      }
      expect(store.pendingChanges(9)).toEqual([])
    })

    test('it ends: what needs no compaction is left alone', async () => {
      await mostlyGone()
      for (let round = 0; round < 3; round += 1) await compact()
      const counts = counted()
      await compact()
      expect(counts.get('write') ?? 0).toBe(0)
    })

    test('readers that have begun go on, those that come find the new place', async () => {
      const kept = await mostlyGone()
      const compacting = compact()
      const reads = Array.from({ length: 20 }, () => kept.map(({ chunkId }) => read(store, chunkId))).flat()
      for (const data of await Promise.all(reads)) expect(data).toEqual(dataOf(1 * KiB))
      await compacting
    })

    test('a chunk that is removed meanwhile stays removed', async () => {
      const [first, ...rest] = (await mostlyGone()) as [NewChunk]
      await Promise.all([compact(), store.remove(first.chunkId)])
      await restart()
      expect(heldOf([first, ...rest])).toEqual([false, ...rest.map(() => true)])
    })

    test('a bad copy stays, and with it its pack, until another takes its place', async () => {
      const [bad, ...rest] = (await mostlyGone()) as [NewChunk]
      const [old] = packs()
      flip(bad)
      await compact()
      expect(heldOf([bad, ...rest])).toEqual([false, ...rest.map(() => true)])
      expect(packs()).toContain(old)
      await put(store, bad, dataOf(bad.lengthBytes))
      await compact()
      expect(packs()).not.toContain(old)
      expect(heldOf([bad, ...rest]).every(Boolean)).toBe(true)
    })

    test('a disk without room for a second copy is left as it is', async () => {
      const kept = await mostlyGone()
      disk.fault = (operation) => {
        if (operation === 'write') throw systemError('ENOSPC', 'write')
      }
      await expect(compact()).rejects.toMatchObject({ code: 'DISK_FULL' })
      disk.fault = undefined
      await restart()
      expect(heldOf(kept).every(Boolean)).toBe(true)
    })
  })

  test('turned off, packs are still read', async () => {
    const chunks = await fill(3)
    await store.close()
    store = await FileChunkStore.open({
      clock: new SystemClock(),
      random: new SeededRandom(1),
      log: silentLogger,
      disk,
      directories: ['/data'],
    })
    store.startSequence(1)
    expect(heldOf(chunks)).toEqual([true, true, true])
    await put(store, newChunk(100), dataOf(100))
    expect(disk.peekFiles('/data/chunks')).toHaveLength(1)
    expect(disk.peekFiles(PACKS)).toHaveLength(1)
  })
})
