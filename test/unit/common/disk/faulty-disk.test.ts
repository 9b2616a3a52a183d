/** Each fault that a control file can order, on a real disk below it. */
import { mkdtempSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { afterEach, beforeEach, describe, expect, test } from '@jest/globals'
import { SystemClock } from '../../../../common/clock/system-clock.js'
import { FaultyDisk, type DiskFault } from '../../../../common/disk/faulty-disk.js'
import { NodeDisk } from '../../../../common/disk/node-disk.js'

let directory: string
let disk: FaultyDisk
const at = (name: string): string => path.join(directory, name)
const bytes = new Uint8Array([1, 2, 3])

function order(...faults: DiskFault[]): void {
  writeFileSync(at('control.new'), JSON.stringify({ faults }))
  renameSync(at('control.new'), at('control'))
}

const error = (code: 'ENOSPC' | 'EIO', operations: DiskFault['operations'], below = directory): DiskFault => ({
  directory: below,
  operations,
  effect: { kind: 'error', code },
})

beforeEach(() => {
  directory = mkdtempSync(path.join(tmpdir(), 'cairn-faulty-'))
  disk = new FaultyDisk(new NodeDisk(), new SystemClock(), at('control'))
})
afterEach(() => rmSync(directory, { recursive: true }))

describe('a faulty disk', () => {
  test('is the disk below it while there is no control file, and while it orders nothing', async () => {
    await disk.replaceFile(at('a'), bytes)
    order()
    expect(await disk.readFile(at('a'))).toEqual(Buffer.from(bytes))
  })

  test('fails the operations it is told to, from the moment the file is in place until it is gone', async () => {
    const file = await disk.openFile(at('a'), { mode: 'create' })
    await file.write(bytes, 0)
    order(error('EIO', ['sync']))
    await file.write(bytes, 3)
    await expect(file.sync()).rejects.toMatchObject({ code: 'EIO' })
    order(error('EIO', ['read']))
    await file.sync()
    await expect(disk.readFile(at('a'))).rejects.toMatchObject({ code: 'EIO' })
    rmSync(at('control'))
    expect(await disk.readFile(at('a'))).toHaveLength(6)
    await file.close()
  })

  test('spares what is not below the directory, names that begin alike included', async () => {
    order(error('EIO', ['write'], at('disk-1')))
    await disk.makeDirectory(at('disk-10'))
    await disk.replaceFile(at('disk-10/a'), bytes)
    await expect(disk.makeDirectory(at('disk-1'))).rejects.toMatchObject({ code: 'EIO' })
  })

  test('that is full tells so, takes nothing, and can still be emptied', async () => {
    await disk.replaceFile(at('a'), bytes)
    order(error('ENOSPC', ['write']), { directory, operations: ['write'], effect: { kind: 'no-space' } })
    expect((await disk.space(directory)).freeBytes).toBe(0)
    await expect(disk.replaceFile(at('b'), bytes)).rejects.toMatchObject({ code: 'ENOSPC' })
    await disk.remove(at('a'))
    expect(await disk.stat(at('a'))).toBeUndefined()
  })

  test('holds a hung operation until its fault is gone, and no other', async () => {
    await disk.replaceFile(at('a'), bytes)
    order({ directory: at('a'), operations: ['read'], effect: { kind: 'hang' } })
    let read = false
    const reading = disk.readFile(at('a')).then(() => (read = true))
    await disk.replaceFile(at('b'), bytes)
    expect(read).toBe(false)
    order()
    await reading
  })
})
