import { describe, expect, test } from '@jest/globals'
import fc from 'fast-check'
import { BytePipe, readAll } from '../../../../common/rpc/byte-pipe.js'
import { KiB, MiB } from '../../../../common/units.js'
import { dataOf } from '../../../contract/chunk-store.suite.js'

describe('a byte pipe', () => {
  test('carries what is written, whatever the sizes of writes and reads', async () => {
    const sizes = fc.array(fc.integer({ min: 0, max: 3 * KiB }), { maxLength: 30 })
    await fc.assert(
      fc.asyncProperty(sizes, fc.integer({ min: 1, max: 5 * KiB }), async (writes, readSize) => {
        const pipe = new BytePipe()
        const data = dataOf(writes.reduce((sum, size) => sum + size, 0))
        const writing = (async () => {
          let at = 0
          for (const size of writes) await pipe.write(data.subarray(at, (at += size)))
          pipe.end()
        })()
        const out = new Uint8Array(data.length)
        for (let at = 0; ;) {
          const target = new Uint8Array(readSize)
          const count = await pipe.readInto(target)
          out.set(target.subarray(0, count), at)
          at += count
          if (count < readSize) break
        }
        await writing
        expect(Buffer.from(out).equals(data)).toBe(true)
        expect(await pipe.readInto(new Uint8Array(1))).toBe(0)
      }),
    )
  })

  test('holds its writer back past a megabyte, until enough of it is read', async () => {
    const pipe = new BytePipe()
    await pipe.write(new Uint8Array(MiB))
    let resolved = false
    const second = pipe.write(new Uint8Array(KiB)).then(() => (resolved = true))
    await Promise.resolve()
    expect(resolved).toBe(false)
    await pipe.readInto(new Uint8Array(KiB))
    await second
    expect(resolved).toBe(true)
  })

  test('copies: the writer may reuse its memory', async () => {
    const pipe = new BytePipe()
    const memory = new Uint8Array([1, 2, 3])
    await pipe.write(memory)
    memory.fill(9)
    pipe.end()
    expect([...(await readAll(pipe, 3))]).toEqual([1, 2, 3])
  })

  test('a body that ends early is read as far as it goes', async () => {
    const pipe = new BytePipe()
    await pipe.write(new Uint8Array([1, 2]))
    pipe.end()
    expect([...(await readAll(pipe, 5))]).toEqual([1, 2])
  })

  test('a failure reaches whoever reads or writes, now and later; the first one counts', async () => {
    const reason = new Error('broken')
    const pipe = new BytePipe()
    const reading = pipe.readInto(new Uint8Array(1))
    pipe.fail(reason)
    pipe.fail(new Error('later'))
    await expect(reading).rejects.toBe(reason)
    await expect(pipe.readInto(new Uint8Array(1))).rejects.toBe(reason)
    await expect(pipe.write(new Uint8Array(1))).rejects.toBe(reason)
    const full = new BytePipe()
    const writing = full.write(new Uint8Array(MiB + 1))
    full.fail(reason)
    await expect(writing).rejects.toBe(reason)
  })

  test('once nobody reads any more, writers go on and nothing is kept', async () => {
    const pipe = new BytePipe()
    const waiting = pipe.write(new Uint8Array(2 * MiB))
    pipe.discard()
    await waiting
    await pipe.write(new Uint8Array([1, 2, 3]))
    pipe.end()
    expect(await pipe.readInto(new Uint8Array(3))).toBe(0)
  })
})
