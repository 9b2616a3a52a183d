import { describe, expect, test } from '@jest/globals'
import fc from 'fast-check'
import { BLOCK_BYTES, BlockPool, type Block } from '../../../../common/bytes/block-pool.js'
import { StreamBlocks } from '../../../../common/bytes/stream-blocks.js'
import { KiB } from '../../../../common/units.js'

describe('a pool of blocks', () => {
  test('hands out as many as it has, each its own aligned memory', async () => {
    const pool = new BlockPool(5, 12 * KiB)
    const blocks = await Promise.all(Array.from({ length: 5 }, () => pool.acquire()))
    expect(pool.tryAcquire()).toBeUndefined()
    expect([pool.inUse, pool.capacity]).toEqual([5, 5])
    blocks.forEach(({ bytes }, index) => {
      expect([bytes.length, bytes.byteOffset % 4096]).toEqual([12 * KiB, 0])
      bytes.fill(index)
    })
    blocks.forEach(({ bytes }, index) => expect(bytes.every((byte) => byte === index)).toBe(true))
    blocks.forEach((block) => block.release())
    expect(pool.inUse).toBe(0)
    expect((await new BlockPool(1).acquire()).bytes).toHaveLength(BLOCK_BYTES)
  })

  test('serves in order of arrival, and an abort leaves the line', async () => {
    const pool = new BlockPool(1, 4096)
    const held = await pool.acquire()
    const abort = new AbortController()
    const order: number[] = []
    const first = pool.acquire().then((block) => (order.push(1), block))
    const second = pool.acquire(abort.signal)
    const third = pool.acquire().then((block) => (order.push(3), block))
    abort.abort(new Error('left'))
    await expect(second).rejects.toThrow('left')
    held.release()
    ;(await first).release()
    ;(await third).release()
    expect(order).toEqual([1, 3])
    expect(pool.inUse).toBe(0)
  })

  test('a block is released once', async () => {
    const block = await new BlockPool(1, 4096).acquire()
    block.release()
    expect(() => block.release()).toThrow('released once')
  })
})

describe('the blocks of a stream', () => {
  const memories = (blocks: readonly Block[]): number => new Set(blocks.map((block) => block.bytes.byteOffset)).size

  test('are one of its own, and more while there are some, up to its limit', async () => {
    const pool = new BlockPool(4, 4096)
    const stream = await StreamBlocks.open(pool, 3)
    const taken = [stream.tryTake(), stream.tryTake(), stream.tryTake()] as Block[]
    expect(memories(taken)).toBe(3)
    expect(stream.tryTake()).toBeUndefined()
    expect(pool.inUse).toBe(3)
    for (const block of taken) block.release()
    expect(pool.inUse).toBe(1)
    stream.close()
    expect(pool.inUse).toBe(0)
  })

  test('a stream with an empty pool still has its own block, again and again', async () => {
    const pool = new BlockPool(2, 4096)
    const [one, other] = [await StreamBlocks.open(pool, 4), await StreamBlocks.open(pool, 4)]
    for (let round = 0; round < 10; round += 1) {
      const block = await one.take()
      const waiting = one.take()
      block.release()
      ;(await waiting).release()
    }
    one.close()
    other.close()
    expect(pool.inUse).toBe(0)
  })

  test('what is in use at the close goes back when it is released, own and extra', async () => {
    const pool = new BlockPool(3, 4096)
    const stream = await StreamBlocks.open(pool, 3)
    const [own, extra] = [await stream.take(), await stream.take()]
    stream.close()
    expect(pool.inUse).toBe(2)
    own.release()
    extra.release()
    expect(pool.inUse).toBe(0)
  })

  test('a block is released once, own and extra, so that no two ever share one', async () => {
    const pool = new BlockPool(3, 4096)
    const stream = await StreamBlocks.open(pool, 3)
    const [own, extra] = [await stream.take(), await stream.take()]
    own.release()
    expect(() => own.release()).toThrow('released once')
    extra.release()
    expect(() => extra.release()).toThrow('released once')
  })

  test('a closed stream gives out nothing, and whoever waits for it is told', async () => {
    const pool = new BlockPool(1, 4096)
    const stream = await StreamBlocks.open(pool, 3)
    const own = await stream.take()
    const waiting = stream.take()
    stream.close()
    await expect(waiting).rejects.toThrow('closed')
    own.release()
    expect(pool.inUse).toBe(0)
    expect(() => stream.tryTake()).toThrow('closed')
  })

  test('no order of taking and releasing loses a block or hands one out twice', async () => {
    const steps = fc.array(fc.tuple(fc.nat(2), fc.boolean(), fc.nat(9)), { maxLength: 60 })
    await fc.assert(
      fc.asyncProperty(steps, async (sequence) => {
        const pool = new BlockPool(6, 4096)
        const streams = [await StreamBlocks.open(pool, 4), await StreamBlocks.open(pool, 4), await StreamBlocks.open(pool, 1)]
        const held: Block[] = []
        for (const [which, takes, choice] of sequence) {
          const taken = takes ? streams[which]?.tryTake() : undefined
          if (taken) held.push(taken)
          else if (!takes) held.splice(choice % Math.max(1, held.length), 1)[0]?.release()
          expect(memories(held)).toBe(held.length)
          expect(pool.inUse).toBeLessThanOrEqual(pool.capacity)
        }
        for (const stream of streams) stream.close()
        for (const block of held) block.release()
        expect(pool.inUse).toBe(0)
      }),
    )
  })
})
