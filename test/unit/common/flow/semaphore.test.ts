import { describe, expect, test } from '@jest/globals'
import fc from 'fast-check'
import { KeyedMutex } from '../../../../common/flow/keyed-mutex.js'
import { Semaphore, type Permit } from '../../../../common/flow/semaphore.js'

const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve))

describe('a semaphore', () => {
  test('serves in order of arrival: a small request does not overtake a large one', async () => {
    const semaphore = new Semaphore(4)
    const held = await semaphore.acquire(3)
    const order: string[] = []
    const large = semaphore.acquire(4).then((permit) => (order.push('large'), permit))
    const small = semaphore.acquire(1).then((permit) => (order.push('small'), permit))
    expect(semaphore.tryAcquire(1)).toBeUndefined()
    await turn()
    expect(order).toEqual([])
    held.release()
    ;(await large).release()
    ;(await small).release()
    expect(order).toEqual(['large', 'small'])
    expect([semaphore.available, semaphore.waiting]).toEqual([4, 0])
  })

  test('takes more than everything for everything', async () => {
    const semaphore = new Semaphore(2)
    const all = await semaphore.acquire(100)
    expect(semaphore.available).toBe(0)
    all.release()
    expect(semaphore.available).toBe(2)
  })

  test('an abort leaves the line, holds nothing, and lets those behind it pass', async () => {
    const semaphore = new Semaphore(2)
    const held = await semaphore.acquire(1)
    const abort = new AbortController()
    const blocking = semaphore.acquire(2, abort.signal)
    const behind = semaphore.acquire(1)
    const reason = new Error('left')
    abort.abort(reason)
    await expect(blocking).rejects.toBe(reason)
    ;(await behind).release()
    await expect(semaphore.acquire(2, abort.signal)).rejects.toBe(reason)
    held.release()
    expect([semaphore.available, semaphore.waiting]).toEqual([2, 0])
  })

  test('an abort after the grant takes nothing back', async () => {
    const semaphore = new Semaphore(1)
    const abort = new AbortController()
    const held = await semaphore.acquire()
    const next = semaphore.acquire(1, abort.signal)
    held.release()
    abort.abort(new Error('late'))
    const permit = await next
    expect(semaphore.available).toBe(0)
    permit.release()
  })

  test('a permit is released once; work that fails releases its own', async () => {
    const semaphore = new Semaphore(1)
    const permit = await semaphore.acquire()
    permit.release()
    expect(() => permit.release()).toThrow('released once')
    await expect(semaphore.use(() => Promise.reject(new Error('failed')))).rejects.toThrow('failed')
    expect(await semaphore.use(async () => 7)).toBe(7)
    expect(semaphore.available).toBe(1)
  })

  test('refuses a capacity or a number of units that would make it no limit at all', () => {
    expect(() => new Semaphore(0)).toThrow('capacity')
    expect(() => new Semaphore(Number.NaN)).toThrow('capacity')
    expect(() => new Semaphore(1).tryAcquire(-1)).toThrow('units')
    expect(() => new Semaphore(1).tryAcquire(Number.NaN)).toThrow('units')
  })

  test('never gives out more than it has, and all of it in the end', async () => {
    const requests = fc.array(fc.tuple(fc.integer({ min: 0, max: 6 }), fc.boolean()), { maxLength: 40 })
    await fc.assert(
      fc.asyncProperty(requests, async (sequence) => {
        const semaphore = new Semaphore(5)
        const held: { permit: Permit; units: number }[] = []
        const waiting: Promise<void>[] = []
        for (const [units, releases] of sequence) {
          const keep = (permit: Permit): void => void held.push({ permit, units: Math.min(units, 5) })
          waiting.push(semaphore.acquire(units).then(keep))
          await turn()
          const sum = held.reduce((total, { units: of }) => total + of, 0)
          expect(sum).toBe(5 - semaphore.available)
          if (releases) held.shift()?.permit.release()
        }
        await turn()
        while (held.length > 0 || semaphore.waiting > 0) {
          held.shift()?.permit.release()
          await turn()
        }
        await Promise.all(waiting)
        expect(semaphore.available).toBe(5)
      }),
      { numRuns: 40 },
    )
  })
})

describe('a keyed mutex', () => {
  test('runs work on one key in order and alone, on different keys at once', async () => {
    const mutex = new KeyedMutex<string>()
    const events: string[] = []
    const work = (key: string, label: string) =>
      mutex.run(key, async () => {
        events.push(`+${label}`)
        await turn()
        events.push(`-${label}`)
      })
    await Promise.all([work('a', 'a1'), work('a', 'a2'), work('b', 'b1')])
    expect(events).toEqual(['+a1', '+b1', '-a1', '-b1', '+a2', '-a2'].sort((x, y) => events.indexOf(x) - events.indexOf(y)))
    expect(events.indexOf('-a1')).toBeLessThan(events.indexOf('+a2'))
    expect(events.indexOf('+b1')).toBeLessThan(events.indexOf('-a1'))
  })

  test('a failure is its own, be it thrown or rejected', async () => {
    const mutex = new KeyedMutex<number>()
    const first = mutex.run(1, () => Promise.reject(new Error('first')))
    const second = mutex.run(1, () => {
      throw new Error('second')
    })
    const third = mutex.run(1, async () => 'third')
    await expect(first).rejects.toThrow('first')
    await expect(second).rejects.toThrow('second')
    expect(await third).toBe('third')
  })
})
