import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { beforeEach, describe, expect, test } from '@jest/globals'
import fc from 'fast-check'
import { MemoryDisk } from '../../common/disk/memory-disk.js'
import { NodeDisk } from '../../common/disk/node-disk.js'
import { diskSuite } from './disk.suite.js'

for (const direct of [true, false]) {
  diskSuite(`the machine's, ${direct ? 'direct' : 'buffered'}`, direct, async () => {
    const directory = mkdtempSync(path.join(tmpdir(), 'cairn-disk-'))
    return { disk: new NodeDisk(), directory, close: async () => rmSync(directory, { recursive: true }) }
  })

  diskSuite(`in memory, ${direct ? 'direct' : 'buffered'}`, direct, async () => {
    const disk = new MemoryDisk()
    await disk.makeDirectory('/mnt/test')
    return { disk, directory: '/mnt/test', close: async () => undefined }
  })
}

diskSuite('in memory, without direct I/O', true, async () => {
  const disk = new MemoryDisk({ supportsDirect: false })
  await disk.makeDirectory('/mnt/test')
  return { disk, directory: '/mnt/test', close: async () => undefined }
})

describe('a crash of the disk in memory', () => {
  const text = (content: string): Uint8Array => new TextEncoder().encode(content)
  let disk: MemoryDisk
  const content = async (file: string): Promise<string> => Buffer.from(await disk.readFile(file)).toString()
  const names = async (directory: string): Promise<string[]> => (await disk.list(directory)).map((entry) => entry.name).sort()

  async function write(file: string, what: string, options: { readonly sync: boolean }): Promise<void> {
    const handle = await disk.openFile(file, { mode: 'update' })
    await handle.truncate(0)
    await handle.write(text(what), 0)
    if (options.sync) await handle.sync()
    await handle.close()
  }

  beforeEach(async () => {
    disk = new MemoryDisk()
    await disk.makeDirectory('/d')
    await disk.syncDirectory('/')
  })

  test('keeps content that was synced under a name that was synced', async () => {
    await write('/d/a', 'kept', { sync: true })
    await disk.syncDirectory('/d')
    disk.crash()
    expect(await content('/d/a')).toBe('kept')
  })

  test('loses a synced file whose name was not', async () => {
    await write('/d/a', 'nameless', { sync: true })
    disk.crash()
    expect(await names('/d')).toEqual([])
  })

  test('loses content that was not synced, down to the last sync, size included', async () => {
    await write('/d/a', 'first', { sync: true })
    await disk.syncDirectory('/d')
    await write('/d/a', 'second and longer', { sync: false })
    disk.crash()
    expect(await content('/d/a')).toBe('first')
    expect(await disk.stat('/d/a')).toMatchObject({ sizeBytes: 5 })
  })

  test('undoes a rename and a removal that were not synced', async () => {
    await write('/d/a', 'a', { sync: true })
    await write('/d/b', 'b', { sync: true })
    await write('/d/c', 'c', { sync: true })
    await disk.syncDirectory('/d')
    await disk.rename('/d/a', '/d/b')
    await disk.remove('/d/c')
    disk.crash()
    expect(await names('/d')).toEqual(['a', 'b', 'c'])
    expect(await content('/d/b')).toBe('b')
  })

  test('keeps a rename once both directories are synced', async () => {
    await disk.makeDirectory('/tmp')
    await disk.syncDirectory('/')
    await write('/tmp/a', 'moved', { sync: true })
    await disk.syncDirectory('/tmp')
    await disk.rename('/tmp/a', '/d/a')
    await disk.syncDirectory('/d')
    await disk.syncDirectory('/tmp')
    disk.crash()
    expect(await content('/d/a')).toBe('moved')
    expect(await names('/tmp')).toEqual([])
  })

  test('keeps all that replaceFile answered', async () => {
    await disk.replaceFile('/d/a', text('one'))
    await disk.replaceFile('/d/a', text('two'))
    disk.crash()
    expect(await content('/d/a')).toBe('two')
  })

  test('loses a directory that its parent was not synced for, with all in it', async () => {
    await disk.makeDirectory('/d/e')
    await disk.replaceFile('/d/e/a', text('lost'))
    disk.crash()
    expect(await names('/d')).toEqual([])
  })

  test('voids open files and locks', async () => {
    const open = await disk.openFile('/d/a', { mode: 'update' })
    const lock = await disk.lockDirectory('/d')
    disk.crash()
    await expect(open.read(new Uint8Array(1), 0)).rejects.toMatchObject({ code: 'EIO' })
    await expect(open.write(text('x'), 0)).rejects.toMatchObject({ code: 'EIO' })
    await expect(open.sync()).rejects.toMatchObject({ code: 'EIO' })
    const next = await disk.lockDirectory('/d')
    lock.release()
    await expect(disk.lockDirectory('/d')).rejects.toMatchObject({ code: 'DIRECTORY_LOCKED' })
    next.release()
  })

  test('stops what was under way: nothing of it happens afterwards', async () => {
    await disk.replaceFile('/d/old', text('old'))
    let resume = (): void => undefined
    const stuck = new Promise<void>((resolve) => (resume = resolve))
    disk.fault = () => stuck
    const work = [
      disk.rename('/d/old', '/d/renamed'),
      disk.remove('/d/old'),
      disk.replaceFile('/d/new', text('new')),
      disk.openFile('/d/opened', { mode: 'create' }),
      disk.syncDirectory('/d'),
    ]
    disk.crash()
    disk.fault = undefined
    resume()
    for (const outcome of await Promise.allSettled(work)) {
      expect(outcome).toMatchObject({ status: 'rejected', reason: { code: 'EIO' } })
    }
    expect(await names('/d')).toEqual(['old'])
    disk.crash()
    expect(await names('/d')).toEqual(['old'])
  })

  test('a fault can fail each operation, and a failed sync keeps nothing', async () => {
    await write('/d/a', 'first', { sync: true })
    await disk.syncDirectory('/d')
    disk.fault = (operation) => {
      if (operation === 'sync') throw Object.assign(new Error('EIO: broken'), { code: 'EIO' })
    }
    await expect(write('/d/a', 'second', { sync: true })).rejects.toMatchObject({ code: 'EIO' })
    disk.fault = undefined
    disk.crash()
    expect(await content('/d/a')).toBe('first')
  })

  test('a full disk takes no more bytes, and as many again once some are removed', async () => {
    disk = new MemoryDisk({ capacityBytes: 10 })
    await write('/a', '12345678', { sync: true })
    expect(await disk.space('/')).toEqual({ totalBytes: 10, freeBytes: 2 })
    await expect(write('/b', '123', { sync: true })).rejects.toMatchObject({ code: 'ENOSPC' })
    await expect(disk.replaceFile('/c', text('123'))).rejects.toMatchObject({ code: 'ENOSPC' })
    await disk.remove('/a')
    await write('/b', '1234567890', { sync: true })
    expect(await disk.space('/')).toEqual({ totalBytes: 10, freeBytes: 0 })
  })

  test('whatever the order of operations, what was fully synced is there and nothing else is new', async () => {
    const step = fc.record({
      file: fc.constantFrom('/d/a', '/d/b', '/d/c'),
      kind: fc.constantFrom('write', 'sync', 'syncDirectory', 'rename', 'remove'),
      to: fc.constantFrom('/d/a', '/d/b', '/d/c'),
    })
    await fc.assert(
      fc.asyncProperty(fc.array(step, { maxLength: 30 }), async (steps) => {
        disk = new MemoryDisk()
        await disk.makeDirectory('/d')
        await disk.syncDirectory('/')
        await followModel(disk, steps)
      }),
    )
  })

  /** Runs the steps on the disk and on a model of names and contents, crashes, and compares. */
  async function followModel(
    on: MemoryDisk,
    steps: readonly { readonly file: string; readonly kind: string; readonly to: string }[],
  ): Promise<void> {
    interface Inode {
      content: string
      synced: string
    }
    let live = new Map<string, Inode>()
    let durable = new Map<string, Inode>()
    for (const [index, { file, kind, to }] of steps.entries()) {
      const inode = live.get(file)
      if (kind === 'write') {
        await write(file, `content ${index}`, { sync: false })
        if (inode) inode.content = `content ${index}`
        else live.set(file, { content: `content ${index}`, synced: '' })
      } else if (kind === 'syncDirectory') {
        await on.syncDirectory('/d')
        durable = new Map(live)
      } else if (!inode) continue
      else if (kind === 'sync') {
        const handle = await on.openFile(file, { mode: 'update' })
        await handle.sync()
        inode.synced = inode.content
      } else if (kind === 'remove') {
        await on.remove(file)
        live.delete(file)
      } else {
        await on.rename(file, to)
        live = new Map([...live].filter(([name]) => name !== file)).set(to, inode)
      }
    }
    on.crash()
    const found = new Map<string, string>()
    for (const name of await names('/d')) found.set(`/d/${name}`, await content(`/d/${name}`))
    expect(found).toEqual(new Map([...durable].sort().map(([name, inode]) => [name, inode.synced])))
  }
})
