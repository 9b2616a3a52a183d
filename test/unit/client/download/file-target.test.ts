/**
 * Downloading into a file that an earlier run may have left in any state: whatever stands in the partial file, the
 * target holds the right bytes at the end. The fetcher is a stand-in that serves from memory; the disk forgets and
 * fails as told.
 */
import { describe, expect, test } from '@jest/globals'
import fc from 'fast-check'
import type { ChunkFetcher, LeafTaker } from '../../../../client/download/chunk-fetcher.js'
import type { ByteRange, ChunkTask, DownloadRun } from '../../../../client/download/download.js'
import { downloadToFile, partialPath } from '../../../../client/download/file-target.js'
import type { LocatedChunk } from '../../../../client/download/locations.js'
import type { TransferContext } from '../../../../client/options.js'
import { BlockPool } from '../../../../common/bytes/block-pool.js'
import { chunkRoot, fileChecksum, LEAF_BYTES, leafCount, leafLength } from '../../../../common/checksum/tree.js'
import { xxh64 } from '../../../../common/checksum/xxh64.js'
import { MemoryDisk } from '../../../../common/disk/memory-disk.js'
import { systemError } from '../../../../common/disk/disk.js'
import { newId, type ChunkId } from '../../../../common/ids.js'
import type { FileInfo } from '../../../../common/protocol/files.js'
import { SeededRandom } from '../../../../common/random/seeded-random.js'

const random = new SeededRandom(3)
const blocks = new BlockPool(8)
const TARGET = '/d/file'

interface Content {
  readonly bytes: Uint8Array
  readonly chunks: readonly { readonly chunk: LocatedChunk; readonly sums: BigUint64Array }[]
  readonly file: FileInfo
}

function contentOf(lengths: readonly number[], fill = random): Content {
  const bytes = fill.bytes(lengths.reduce((sum, length) => sum + length, 0)).slice()
  let offset = 0
  const chunks = lengths.map((sizeBytes, index) => {
    const own = bytes.subarray(offset, offset + sizeBytes)
    const sums = BigUint64Array.from({ length: leafCount(sizeBytes) }, (_, leaf) =>
      xxh64(own.subarray(leaf * LEAF_BYTES, leaf * LEAF_BYTES + leafLength(sizeBytes, leaf))),
    )
    const chunk = {
      index,
      id: newId<ChunkId>(random),
      offset,
      sizeBytes,
      root: chunkRoot(sizeBytes, sums),
      replicas: [],
      fallbacks: [],
    }
    offset += sizeBytes
    return { chunk: { ...chunk, servers: new Map() }, sums }
  })
  const checksum = fileChecksum(chunks.map(({ chunk }) => ({ lengthBytes: chunk.sizeBytes, root: chunk.root })))
  return { bytes, chunks, file: { path: '/b/k', sizeBytes: bytes.length, chunkCount: chunks.length, checksum } as FileInfo }
}

/** A run over the content, and how many leaves it has fetched. */
function runOf(content: Content, range: ByteRange = { start: 0, end: content.bytes.length }) {
  const abort = new AbortController()
  const counts = { fetched: 0, done: 0, skipped: 0 }
  const fetcher = {
    leafSums: async (chunk: LocatedChunk) => content.chunks[chunk.index]?.sums,
    fetch: async (chunk: LocatedChunk, first: number, end: number, take: LeafTaker) => {
      for (let leaf = first; leaf < end; leaf += 1) {
        abort.signal.throwIfAborted()
        const block = await blocks.acquire()
        const length = leafLength(chunk.sizeBytes, leaf)
        const at = chunk.offset + leaf * LEAF_BYTES
        block.bytes.fill(0xee)
        block.bytes.set(content.bytes.subarray(at, at + length))
        counts.fetched += 1
        await take(leaf, block, length)
      }
    },
  }
  const run: DownloadRun = {
    file: content.file,
    range,
    fetcher: fetcher as unknown as ChunkFetcher,
    context: { blocks } as TransferContext,
    signal: abort.signal,
    concurrency: 2,
    tasks: async function* (): AsyncGenerator<ChunkTask> {
      for (const { chunk } of content.chunks) {
        const from = Math.max(0, range.start - chunk.offset)
        const to = Math.min(chunk.sizeBytes, range.end - chunk.offset)
        if (from < to) yield { chunk, firstLeaf: Math.floor(from / LEAF_BYTES), endLeaf: Math.ceil(to / LEAF_BYTES) }
      }
    },
    fail: (error) => abort.abort(error),
    progress: (bytes, skipped = false) => {
      counts.done += bytes
      if (skipped) counts.skipped += bytes
    },
    [Symbol.dispose]: () => undefined,
  }
  return { run, counts }
}

async function newDisk(options: ConstructorParameters<typeof MemoryDisk>[0] = {}): Promise<MemoryDisk> {
  const disk = new MemoryDisk(options)
  await disk.makeDirectory('/d')
  await disk.syncDirectory('/')
  return disk
}

const names = async (disk: MemoryDisk): Promise<string[]> => (await disk.list('/d')).map((entry) => entry.name).sort()
const isEqual = async (disk: MemoryDisk, bytes: Uint8Array): Promise<boolean> =>
  Buffer.compare(await disk.readFile(TARGET), bytes) === 0

const content = contentOf([2 * LEAF_BYTES + 100, LEAF_BYTES + 4096, 5])
const leaves = 3 + 2 + 1
const partial = partialPath(TARGET, content.file.checksum)

describe.each([
  ['direct', true],
  ['buffered', false],
])('into a file, %s', (_name, supportsDirect) => {
  test('the target appears whole and synced, and nothing else stays', async () => {
    const disk = await newDisk({ supportsDirect })
    const { run, counts } = runOf(content)
    await downloadToFile(disk, run, TARGET)
    expect(await names(disk)).toEqual(['file'])
    disk.crash()
    expect(await isEqual(disk, content.bytes)).toBe(true)
    expect(counts).toEqual({ fetched: leaves, done: content.bytes.length, skipped: 0 })
    expect(blocks.inUse).toBe(0)
  })

  test('an empty file is a file', async () => {
    const disk = await newDisk({ supportsDirect })
    await downloadToFile(disk, runOf(contentOf([])).run, TARGET)
    expect(await isEqual(disk, new Uint8Array(0))).toBe(true)
  })

  test('a whole partial file is checked, and nothing is fetched again', async () => {
    const disk = await newDisk({ supportsDirect })
    await disk.replaceFile(partial, content.bytes)
    const { run, counts } = runOf(content)
    await downloadToFile(disk, run, TARGET)
    expect(await isEqual(disk, content.bytes)).toBe(true)
    expect(counts).toEqual({ fetched: 0, done: content.bytes.length, skipped: content.bytes.length })
  })

  test('only leaves with a wrong byte are fetched again', async () => {
    const disk = await newDisk({ supportsDirect })
    const damaged = content.bytes.slice()
    for (const at of [LEAF_BYTES + 7, content.bytes.length - 1]) damaged[at] = (damaged[at] ?? 0) ^ 1
    await disk.replaceFile(partial, damaged)
    const { run, counts } = runOf(content)
    await downloadToFile(disk, run, TARGET)
    expect(await isEqual(disk, content.bytes)).toBe(true)
    expect(counts.fetched).toBe(2)
  })

  test('property: a partial file that is cut, longer, damaged or of something else is never trusted', async () => {
    const damage = fc.record({
      base: fc.constantFrom('own', 'zeros', 'foreign'),
      length: fc.oneof(fc.nat(content.bytes.length + 10_000), fc.constantFrom(0, 1, LEAF_BYTES, content.bytes.length)),
      flips: fc.array(fc.nat(content.bytes.length - 1), { maxLength: 4 }),
    })
    const foreign = contentOf([content.bytes.length]).bytes
    await fc.assert(
      fc.asyncProperty(damage, async ({ base, length, flips }) => {
        const left = new Uint8Array(length)
        if (base !== 'zeros') left.set((base === 'own' ? content.bytes : foreign).subarray(0, length))
        for (const at of flips) if (at < length) left[at] = (left[at] ?? 0) ^ 0x10
        const disk = await newDisk({ supportsDirect })
        await disk.replaceFile(partial, left)
        const { run, counts } = runOf(content)
        await downloadToFile(disk, run, TARGET)
        expect(await isEqual(disk, content.bytes)).toBe(true)
        expect(counts.done).toBe(content.bytes.length)
        expect(await names(disk)).toEqual(['file'])
      }),
      { numRuns: 15 },
    )
  })

  test('property: any range is that part of the file, also over what an interrupted run left', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.nat(content.bytes.length - 1),
        fc.nat(content.bytes.length),
        fc.boolean(),
        async (start, length, again) => {
          const range = { start, end: Math.min(content.bytes.length, start + length) }
          const expected = content.bytes.subarray(range.start, range.end)
          const disk = await newDisk({ supportsDirect })
          if (again) {
            const whole = range.start === 0 && range.end === content.bytes.length
            const key = whole ? content.file.checksum : `${content.file.checksum}-${range.start}-${range.end}`
            const left = expected.slice()
            for (let at = 0; at < left.length; at += LEAF_BYTES) left[at] = (left[at] ?? 0) ^ 1
            await disk.replaceFile(partialPath(TARGET, key), left)
          }
          const { run, counts } = runOf(content, range)
          await downloadToFile(disk, run, TARGET)
          expect(await isEqual(disk, expected)).toBe(true)
          expect(counts.done).toBe(expected.length)
        },
      ),
      { numRuns: 15 },
    )
  })
})

describe('partial files', () => {
  test('what stood at the target stays until the new content is whole', async () => {
    const disk = await newDisk()
    await disk.replaceFile(TARGET, new TextEncoder().encode('old'))
    let writes = 0
    disk.fault = (operation) => {
      if (operation === 'write' && (writes += 1) > 2) throw systemError('ENOSPC', partial)
    }
    await expect(downloadToFile(disk, runOf(content).run, TARGET)).rejects.toMatchObject({ code: 'LOCAL_DISK_FULL' })
    disk.fault = undefined
    expect(new TextDecoder().decode(await disk.readFile(TARGET))).toBe('old')
    expect(blocks.inUse).toBe(0)
    const { run, counts } = runOf(content)
    await downloadToFile(disk, run, TARGET)
    expect(await isEqual(disk, content.bytes)).toBe(true)
    expect(counts.skipped).toBeGreaterThan(0)
  })

  test('those of other versions of the target go once it is whole; those of other targets stay', async () => {
    const disk = await newDisk()
    const stale = [partialPath(TARGET, 'xxh64-tree:00000000000000aa'), partialPath(TARGET, 'xxh64-tree:00000000000000aa-5-900')]
    const others = [
      partialPath(`${TARGET}.gz`, content.file.checksum),
      partialPath(`${TARGET}.gz`, `${content.file.checksum}-5-900`),
      partialPath(`${TARGET}.00000000000000aa`, content.file.checksum),
      partialPath('/d/fil', content.file.checksum),
      '/d/.file.notes.cairn-part',
      '/d/.file.',
    ]
    for (const name of [...stale, ...others]) await disk.replaceFile(name, new Uint8Array(1))
    await downloadToFile(disk, runOf(content).run, TARGET)
    expect(await names(disk)).toEqual([TARGET, ...others].map((name) => name.slice('/d/'.length)).sort())
  })

  test('a directory that cannot be listed keeps no file from being whole', async () => {
    const disk = await newDisk()
    disk.list = () => Promise.reject(systemError('EACCES', '/d'))
    await downloadToFile(disk, runOf(content).run, TARGET)
    expect(await isEqual(disk, content.bytes)).toBe(true)
  })

  test('an abort is passed on as it is', async () => {
    const disk = await newDisk()
    const reason = new Error('the user left')
    const { run } = runOf(content)
    run.fail(reason)
    await expect(downloadToFile(disk, run, TARGET)).rejects.toBe(reason)
  })

  test('a directory at the target is said to be in the way', async () => {
    const disk = await newDisk()
    await disk.makeDirectory(partial)
    await expect(downloadToFile(disk, runOf(content).run, TARGET)).rejects.toMatchObject({ code: 'LOCAL_FILE_EXISTS' })
  })

  test('a name of any length leaves room for the suffix, and two long names do not share one', () => {
    const long = (end: string): string => partialPath(`/d/${'é'.repeat(120)}${end}`, content.file.checksum)
    expect(Buffer.byteLength(long('a').slice('/d/'.length))).toBeLessThanOrEqual(255)
    expect(long('a')).not.toBe(long('b'))
    const range = partialPath(`/d/${'x'.repeat(160)}`, `${content.file.checksum}-${2 ** 53}-${2 ** 53}`)
    expect(range.length - '/d/'.length).toBeLessThanOrEqual(255)
  })
})
