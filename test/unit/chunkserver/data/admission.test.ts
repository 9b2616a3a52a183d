import { describe, expect, test } from '@jest/globals'
import { Admission, type Admitted } from '../../../../chunkserver/data/admission.js'
import { VirtualClock } from '../../../../common/clock/virtual-clock.js'
import { deferred } from '../../../../common/flow/deferred.js'
import type { IncomingRequest } from '../../../../common/rpc/transport.js'

const never = new AbortController().signal
/** Whether a promise has settled once everything else that can happen has happened. */
async function isSettled(promise: Promise<unknown>): Promise<boolean> {
  let settled = false
  promise.then(
    () => (settled = true),
    () => (settled = true),
  )
  await new Promise((resolve) => setImmediate(resolve))
  return settled
}

async function writes(admission: Admission, count: number, place: number): Promise<Admitted[]> {
  return Promise.all(Array.from({ length: count }, () => admission.admitWrite(place, never)))
}

describe('admission', () => {
  test('the places of a chain do not wait for each other, so that chains cannot wait in a circle', async () => {
    const admission = new Admission(new VirtualClock())
    const first = await writes(admission, 10, 0)
    expect(await isSettled(admission.admitWrite(0, never))).toBe(false)
    await writes(admission, 10, 1)
    await writes(admission, 10, 2)
    expect(await isSettled(admission.admitWrite(7, never))).toBe(false)
    expect(admission.load).toEqual({ writes: 30, reads: 0 })
    first[0]?.release()
    await new Promise((resolve) => setImmediate(resolve))
    expect(admission.load.writes).toBe(30)
  })

  test('writes that fill their places leave reads alone, and the other way round', async () => {
    const admission = new Admission(new VirtualClock())
    await writes(admission, 10, 0)
    await Promise.all(Array.from({ length: 16 }, () => admission.admitRead(never)))
    expect(await isSettled(admission.admitRead(never))).toBe(false)
    expect(await isSettled(admission.admitWrite(1, never))).toBe(true)
    expect(admission.load).toEqual({ writes: 11, reads: 16 })
  })

  test.each([-1, 0.5, NaN, 1e9])('a place of %d is taken for the nearest there is', async (place) => {
    const admission = new Admission(new VirtualClock())
    const admitted = await admission.admitWrite(place, never)
    expect(admission.load.writes).toBe(1)
    admitted.release()
    expect(admission.load.writes).toBe(0)
  })

  test('who gives up waiting holds nothing', async () => {
    const admission = new Admission(new VirtualClock())
    const held = await writes(admission, 10, 0)
    const abort = new AbortController()
    const waiting = admission.admitWrite(0, abort.signal)
    abort.abort(new Error('gone'))
    await expect(waiting).rejects.toThrow('gone')
    expect(admission.load.writes).toBe(10)
    for (const one of held) one.release()
    expect(admission.load).toEqual({ writes: 0, reads: 0 })
    expect(admission.blocksInUse).toBe(0)
    await writes(admission, 10, 0)
  })

  test('a stream may have four blocks to write with and three to read with, and returns them all', async () => {
    const admission = new Admission(new VirtualClock())
    for (const [admitted, most] of [
      [await admission.admitWrite(0, never), 4],
      [await admission.admitRead(never), 3],
    ] as const) {
      const taken = Array.from({ length: most }, () => admitted.blocks.tryTake())
      expect(taken.every((block) => block !== undefined)).toBe(true)
      expect(admitted.blocks.tryTake()).toBeUndefined()
      for (const block of taken) block?.release()
      admitted.release()
    }
    expect(admission.blocksInUse).toBe(0)
  })

  test('with every stream there can be, each still has a block of its own', async () => {
    const admission = new Admission(new VirtualClock())
    const all = [
      ...(await writes(admission, 10, 0)),
      ...(await writes(admission, 10, 1)),
      ...(await writes(admission, 10, 2)),
      ...(await Promise.all(Array.from({ length: 16 }, () => admission.admitRead(never)))),
    ]
    for (const one of all) expect(one.blocks.tryTake()).toBeDefined()
  })

  test('while work lasts the other side hears of it each second, and not after', async () => {
    const clock = new VirtualClock()
    const admission = new Admission(clock)
    const signs: number[] = []
    const request = { interim: (status: number) => signs.push(status) } as unknown as IncomingRequest
    const work = deferred<string>()
    const result = admission.withSignsOfLife(request, () => work.promise)
    await clock.advance(3500)
    expect(signs).toEqual([102, 102, 102])
    work.resolve('done')
    expect(await result).toBe('done')
    await clock.advance(5000)
    expect(signs).toHaveLength(3)
    await expect(admission.withSignsOfLife(request, () => Promise.reject(new Error('no')))).rejects.toThrow('no')
    await clock.advance(5000)
    expect(signs).toHaveLength(3)
  })
})
