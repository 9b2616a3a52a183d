/** What every {@link Disk} must do, error codes included. Run on each implementation by disk.test.ts. */
import path from 'node:path'
import { afterEach, beforeEach, describe, expect, test } from '@jest/globals'
import { BlockPool, type Block } from '../../common/bytes/block-pool.js'
import { DISK_ALIGNMENT_BYTES, type Disk, type DiskFile, type OpenMode } from '../../common/disk/disk.js'
import { SeededRandom } from '../../common/random/seeded-random.js'
import { KiB } from '../../common/units.js'

export interface DiskUnderTest {
  readonly disk: Disk
  /** An empty directory on it. */
  readonly directory: string
  readonly close: () => Promise<void>
}

const text = (content: string): Uint8Array => new TextEncoder().encode(content)
const bytesOf = (sizeBytes: number, seed = 1): Uint8Array => new SeededRandom(seed).bytes(sizeBytes)
const failsWith = (code: string) => expect.objectContaining({ code }) as unknown
/** Memory that direct I/O takes: page-aligned. */
const memory = (new BlockPool(1, 256 * KiB).tryAcquire() as Block).bytes

export function diskSuite(name: string, direct: boolean, open: () => Promise<DiskUnderTest>): void {
  describe(`Disk: ${name}`, () => {
    let under: DiskUnderTest
    let disk: Disk
    const at = (...names: string[]): string => path.join(under.directory, ...names)
    const openAt = (file: string, mode: OpenMode): Promise<DiskFile> => disk.openFile(at(file), { mode, direct })
    const openPlain = (file: string, mode: OpenMode): Promise<DiskFile> => disk.openFile(at(file), { mode })
    const names = async (directory = ''): Promise<string[]> => (await disk.list(at(directory))).map((entry) => entry.name).sort()

    /** Writes through memory that suits direct I/O. */
    async function writeAligned(file: DiskFile, bytes: Uint8Array, position: number): Promise<void> {
      memory.set(bytes)
      await file.write(memory.subarray(0, bytes.length), position)
    }

    async function readAligned(file: DiskFile, length: number, position: number): Promise<Uint8Array> {
      memory.fill(0xee)
      return memory.slice(0, await file.read(memory.subarray(0, length), position))
    }

    async function put(file: string, content: Uint8Array): Promise<void> {
      const handle = await openPlain(file, 'create')
      await handle.write(content, 0)
      await handle.close()
    }

    beforeEach(async () => {
      under = await open()
      disk = under.disk
    })

    afterEach(async () => {
      await under.close()
    })

    describe('files', () => {
      test('what was written reads back, in other pieces too', async () => {
        const content = bytesOf(40 * KiB)
        const file = await openAt('a', 'create')
        await writeAligned(file, content.subarray(0, 12 * KiB), 0)
        await writeAligned(file, content.subarray(12 * KiB), 12 * KiB)
        await file.sync()
        expect(await file.sizeBytes()).toBe(40 * KiB)
        await file.close()
        const reader = await openAt('a', 'read')
        expect(await readAligned(reader, 40 * KiB, 0)).toEqual(content)
        expect(await readAligned(reader, 8 * KiB, 20 * KiB)).toEqual(content.subarray(20 * KiB, 28 * KiB))
        await reader.close()
        expect(await disk.readFile(at('a'))).toEqual(Buffer.from(content))
        expect(await disk.stat(at('a'))).toMatchObject({ kind: 'file', sizeBytes: 40 * KiB })
      })

      test('a read that meets the end returns what there is, one past the end nothing', async () => {
        const content = bytesOf(5000)
        await put('a', content)
        const reader = await openAt('a', 'read')
        expect(await readAligned(reader, 64 * KiB, 0)).toEqual(content)
        expect(await readAligned(reader, 64 * KiB, 4096)).toEqual(content.subarray(4096))
        expect(await readAligned(reader, 4096, 8192)).toHaveLength(0)
        expect(await readAligned(reader, 4096, 1024 * KiB)).toHaveLength(0)
        await reader.close()
      })

      test('a read leaves memory past the bytes it returns alone', async () => {
        await put('a', text('short'))
        const file = await openPlain('a', 'read')
        const target = new Uint8Array(16).fill(7)
        expect(await file.read(target, 0)).toBe(5)
        expect([...target.subarray(5)]).toEqual(new Array(11).fill(7))
        await file.close()
      })

      test('a write past the end leaves zeros between', async () => {
        const file = await openAt('a', 'create')
        await writeAligned(file, bytesOf(4096), 3 * 4096)
        await file.close()
        const content = await disk.readFile(at('a'))
        expect(content).toHaveLength(4 * 4096)
        expect(content.subarray(0, 3 * 4096).every((byte) => byte === 0)).toBe(true)
        expect(content.subarray(3 * 4096)).toEqual(Buffer.from(bytesOf(4096)))
      })

      test('an overwrite changes just its bytes; a write of nothing changes nothing', async () => {
        const file = await openPlain('a', 'update')
        await file.write(text('0123456789'), 0)
        await file.write(text('ab'), 3)
        await file.write(new Uint8Array(0), 100)
        await file.close()
        expect(Buffer.from(await disk.readFile(at('a'))).toString()).toBe('012ab56789')
      })

      test('bytes are copied at the write: the memory may be reused at once', async () => {
        const file = await openPlain('a', 'create')
        const reused = text('first')
        await file.write(reused, 0)
        reused.fill(0)
        await file.write(text('second'), 5)
        await file.close()
        expect(Buffer.from(await disk.readFile(at('a'))).toString()).toBe('firstsecond')
      })

      test('create refuses a file that exists, update opens it as it is and makes it when missing', async () => {
        await put('a', text('kept'))
        await expect(openAt('a', 'create')).rejects.toEqual(failsWith('EEXIST'))
        await expect(openAt('missing', 'read')).rejects.toEqual(failsWith('ENOENT'))
        const updated = await openPlain('a', 'update')
        expect(await updated.sizeBytes()).toBe(4)
        const target = new Uint8Array(4)
        expect(await updated.read(target, 0)).toBe(4)
        expect(target).toEqual(text('kept'))
        await updated.close()
        await (await openAt('new', 'update')).close()
        expect(await names()).toEqual(['a', 'new'])
      })

      test('two that create one file at once: one gets it, one is told', async () => {
        const results = await Promise.allSettled([openAt('a', 'create'), openAt('a', 'create')])
        expect(results.map((result) => result.status).sort()).toEqual(['fulfilled', 'rejected'])
        for (const result of results) {
          if (result.status === 'fulfilled') await result.value.close()
          else expect(result.reason).toEqual(failsWith('EEXIST'))
        }
      })

      test('a file opened for one thing refuses the other', async () => {
        const created = await openPlain('a', 'create')
        await created.write(text('x'), 0)
        await expect(created.read(new Uint8Array(4), 0)).rejects.toEqual(failsWith('EBADF'))
        await created.close()
        const reader = await openPlain('a', 'read')
        await expect(reader.write(text('y'), 0)).rejects.toEqual(failsWith('EBADF'))
        await expect(reader.truncate(0)).rejects.toEqual(failsWith('EINVAL'))
        await reader.close()
      })

      test('a closed file is closed, and closing it again does no harm', async () => {
        const file = await openPlain('a', 'update')
        await file.close()
        await file.close()
        await expect(file.read(new Uint8Array(4), 0)).rejects.toEqual(failsWith('EBADF'))
        await expect(file.write(text('y'), 0)).rejects.toEqual(failsWith('EBADF'))
        await expect(file.sync()).rejects.toEqual(failsWith('EBADF'))
        await expect(file.truncate(0)).rejects.toEqual(failsWith('EBADF'))
        await expect(file.sizeBytes()).rejects.toEqual(failsWith('EBADF'))
      })

      test('truncate cuts, and what it adds is zeros, never what was there before', async () => {
        const file = await openPlain('a', 'update')
        await file.write(text('0123456789'), 0)
        await file.truncate(4)
        expect(await file.sizeBytes()).toBe(4)
        await file.truncate(8)
        await file.close()
        expect([...(await disk.readFile(at('a')))]).toEqual([...text('0123'), 0, 0, 0, 0])
      })

      test('several open files see each other’s writes', async () => {
        const writer = await openPlain('a', 'create')
        const reader = await openPlain('a', 'read')
        await writer.write(text('seen'), 0)
        const target = new Uint8Array(4)
        expect(await reader.read(target, 0)).toBe(4)
        expect(target).toEqual(text('seen'))
        await writer.close()
        await reader.close()
      })

      test('a removed file lives on for those who have it open', async () => {
        await put('a', text('still here'))
        const reader = await openPlain('a', 'read')
        await disk.remove(at('a'))
        await put('a', text('another'))
        const target = new Uint8Array(10)
        expect(await reader.read(target, 0)).toBe(10)
        expect(target).toEqual(text('still here'))
        await reader.close()
      })

      test('direct I/O, where it is in effect, insists on aligned lengths and positions', async () => {
        const file = await openAt('a', 'update')
        if (!direct) expect(file.direct).toBe(false)
        if (file.direct) {
          await writeAligned(file, bytesOf(8192), 0)
          await expect(writeAligned(file, bytesOf(100), 0)).rejects.toEqual(failsWith('EINVAL'))
          await expect(writeAligned(file, bytesOf(4096), 100)).rejects.toEqual(failsWith('EINVAL'))
          await expect(readAligned(file, DISK_ALIGNMENT_BYTES, 100)).rejects.toEqual(failsWith('EINVAL'))
          await expect(readAligned(file, 100, 0)).rejects.toEqual(failsWith('EINVAL'))
          expect(await file.sizeBytes()).toBe(8192)
        }
        await file.close()
      })
    })

    describe('replaceFile', () => {
      test('makes and replaces a file whole, and leaves nothing else behind', async () => {
        await disk.replaceFile(at('a'), text('a longer first content'))
        await disk.replaceFile(at('a'), text('second'))
        expect(Buffer.from(await disk.readFile(at('a'))).toString()).toBe('second')
        await disk.replaceFile(at('a'), new Uint8Array(0))
        expect(await disk.readFile(at('a'))).toHaveLength(0)
        expect(await names()).toEqual(['a'])
      })

      test('several at once leave one of the contents, whole', async () => {
        const contents = Array.from({ length: 8 }, (_, index) => bytesOf(100 * KiB - index * 10 * KiB, index))
        await Promise.all(contents.map((content) => disk.replaceFile(at('a'), content)))
        const found = Buffer.from(await disk.readFile(at('a')))
        expect(contents.some((content) => found.equals(content))).toBe(true)
        expect(await names()).toEqual(['a'])
      })

      test('refuses a directory and a missing parent, and leaves nothing behind then', async () => {
        await disk.makeDirectory(at('d'))
        await expect(disk.replaceFile(at('d'), text('x'))).rejects.toEqual(failsWith('EISDIR'))
        await expect(disk.replaceFile(at('missing', 'a'), text('x'))).rejects.toEqual(failsWith('ENOENT'))
        expect(await names()).toEqual(['d'])
      })
    })

    describe('directories', () => {
      test('are made with their parents, again without complaint, and list what is in them', async () => {
        await disk.makeDirectory(at('x', 'y', 'z'))
        await disk.makeDirectory(at('x', 'y', 'z'))
        await put('x/file', text('1'))
        const entries = await disk.list(at('x'))
        expect(entries.sort((one, other) => (one.name < other.name ? -1 : 1))).toEqual([
          { name: 'file', kind: 'file' },
          { name: 'y', kind: 'directory' },
        ])
        expect(await disk.list(at('x', 'y', 'z'))).toEqual([])
        expect(await disk.stat(at('x'))).toMatchObject({ kind: 'directory' })
      })

      test('rename moves a file, replaces its target, and keeps the content', async () => {
        await disk.makeDirectory(at('d'))
        await put('a', text('mover'))
        await put('d/b', text('target'))
        await disk.rename(at('a'), at('d', 'b'))
        expect(await names()).toEqual(['d'])
        expect(Buffer.from(await disk.readFile(at('d', 'b'))).toString()).toBe('mover')
        await disk.rename(at('d', 'b'), at('d', 'b'))
        expect(await names('d')).toEqual(['b'])
      })

      test('rename moves a directory with what is in it', async () => {
        await disk.makeDirectory(at('d', 'e'))
        await put('d/e/f', text('1'))
        await disk.rename(at('d'), at('moved'))
        expect(await names()).toEqual(['moved'])
        expect(await names('moved/e')).toEqual(['f'])
      })

      test('remove removes a file, removeTree whatever there is, or nothing', async () => {
        await disk.makeDirectory(at('d', 'e'))
        await put('d/e/f', text('1'))
        await put('a', text('1'))
        await disk.remove(at('a'))
        await disk.removeTree(at('d'))
        await disk.removeTree(at('d'))
        await put('b', text('1'))
        await disk.removeTree(at('b'))
        expect(await names()).toEqual([])
        expect(await disk.stat(at('a'))).toBeUndefined()
      })

      test('syncing a directory changes nothing that shows', async () => {
        await put('a', text('1'))
        await disk.syncDirectory(under.directory)
        expect(await names()).toEqual(['a'])
      })
    })

    describe('refusals carry the code of the operating system', () => {
      beforeEach(async () => {
        await put('file', text('content'))
        await disk.makeDirectory(at('full', 'inner'))
        await disk.makeDirectory(at('empty'))
      })

      const refusals: readonly [string, string, () => Promise<unknown>][] = [
        ['opening a file in a missing directory', 'ENOENT', () => openAt('missing/a', 'create')],
        ['opening a file below a file', 'ENOTDIR', () => openAt('file/a', 'update')],
        ['opening a file two below a file', 'ENOTDIR', () => openAt('file/a/b', 'read')],
        ['creating over a directory', 'EEXIST', () => openAt('empty', 'create')],
        ['opening a directory for writing', 'EISDIR', () => openAt('empty', 'update')],
        ['reading a missing file', 'ENOENT', () => disk.readFile(at('missing'))],
        ['reading a directory', 'EISDIR', () => disk.readFile(at('empty'))],
        ['reading below a file', 'ENOTDIR', () => disk.readFile(at('file', 'a'))],
        ['listing what is missing', 'ENOENT', () => disk.list(at('missing'))],
        ['listing a file', 'ENOTDIR', () => disk.list(at('file'))],
        ['making a directory over a file', 'EEXIST', () => disk.makeDirectory(at('file'))],
        ['making a directory below a file', 'ENOTDIR', () => disk.makeDirectory(at('file', 'd'))],
        ['renaming what is missing', 'ENOENT', () => disk.rename(at('missing'), at('b'))],
        ['renaming into a missing directory', 'ENOENT', () => disk.rename(at('file'), at('missing', 'b'))],
        ['renaming a file over a directory', 'EISDIR', () => disk.rename(at('file'), at('empty'))],
        ['renaming a directory over a file', 'ENOTDIR', () => disk.rename(at('empty'), at('file'))],
        ['renaming a directory over a full one', 'ENOTEMPTY', () => disk.rename(at('empty'), at('full'))],
        ['renaming a directory into itself', 'EINVAL', () => disk.rename(at('full'), at('full', 'inner', 'full'))],
        ['removing what is missing', 'ENOENT', () => disk.remove(at('missing'))],
        ['removing a directory as a file', 'EISDIR', () => disk.remove(at('empty'))],
        ['syncing a missing directory', 'ENOENT', () => disk.syncDirectory(at('missing'))],
        ['syncing a file as a directory', 'ENOTDIR', () => disk.syncDirectory(at('file'))],
        ['the space of what is missing', 'ENOENT', () => disk.space(at('missing'))],
      ]
      test.each(refusals)('%s: %s', async (_what, code, act) => {
        await expect(act()).rejects.toEqual(failsWith(code))
        expect(await names()).toEqual(['empty', 'file', 'full'])
        expect(Buffer.from(await disk.readFile(at('file'))).toString()).toBe('content')
      })

      test('stat finds nothing below a file, and nothing is no error', async () => {
        expect(await disk.stat(at('missing'))).toBeUndefined()
        expect(await disk.stat(at('missing', 'a'))).toBeUndefined()
        expect(await disk.stat(at('file', 'a'))).toBeUndefined()
      })

      test('an empty directory may be replaced by another', async () => {
        await disk.rename(at('full'), at('empty'))
        expect(await names('empty')).toEqual(['inner'])
      })
    })

    test('space says how much there is, and free is no more than that', async () => {
      const { totalBytes, freeBytes } = await disk.space(under.directory)
      expect(totalBytes).toBeGreaterThan(0)
      expect(freeBytes).toBeGreaterThan(0)
      expect(freeBytes).toBeLessThanOrEqual(totalBytes)
    })

    describe('the lock of a directory', () => {
      test('is held by one, and can be had once released', async () => {
        const lock = await disk.lockDirectory(at('d'))
        await expect(disk.lockDirectory(at('d'))).rejects.toEqual(failsWith('DIRECTORY_LOCKED'))
        await expect(disk.lockDirectory(`${at('d')}/`)).rejects.toEqual(failsWith('DIRECTORY_LOCKED'))
        const other = await disk.lockDirectory(at('e'))
        lock.release()
        const next = await disk.lockDirectory(at('d'))
        next.release()
        other.release()
      })

      test('releasing twice does not take it from the next holder', async () => {
        const lock = await disk.lockDirectory(at('d'))
        lock.release()
        const next = await disk.lockDirectory(at('d'))
        lock.release()
        await expect(disk.lockDirectory(at('d'))).rejects.toEqual(failsWith('DIRECTORY_LOCKED'))
        next.release()
      })

      test('makes the directory, and does not keep its holder from using it', async () => {
        const lock = await disk.lockDirectory(at('d', 'e'))
        await put('d/e/f', text('1'))
        expect(await names('d/e')).toContain('f')
        lock.release()
      })
    })
  })
}
