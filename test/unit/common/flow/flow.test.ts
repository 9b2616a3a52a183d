import { getEventListeners } from 'node:events'
import { describe, expect, test } from '@jest/globals'
import fc from 'fast-check'
import { VirtualClock } from '../../../../common/clock/virtual-clock.js'
import { linkedAbort, untilAborted, withDeadline } from '../../../../common/flow/abort.js'
import { backoffDelayMs } from '../../../../common/flow/backoff.js'
import { deferred, observed } from '../../../../common/flow/deferred.js'
import { Periodic } from '../../../../common/flow/periodic.js'
import { RateMeter } from '../../../../common/flow/rate-meter.js'
import { SeededRandom } from '../../../../common/random/seeded-random.js'

const never = (): Promise<never> => new Promise(() => undefined)

describe('back-off', () => {
  test('lies between half and all of a doubling time, and never past the most', () => {
    const random = new SeededRandom(1)
    fc.assert(
      fc.property(
        fc.integer({ min: 1, max: 1000 }),
        fc.integer({ min: 1, max: 60_000 }),
        fc.nat(2000),
        (firstMs, maxMs, attempt) => {
          const ceiling = Math.min(maxMs, firstMs * 2 ** Math.min(attempt, 30))
          const delay = backoffDelayMs({ firstMs, maxMs }, attempt, random)
          expect(Number.isInteger(delay)).toBe(true)
          expect(delay).toBeGreaterThanOrEqual(Math.floor(ceiling / 2))
          expect(delay).toBeLessThanOrEqual(ceiling)
        },
      ),
    )
  })
})

describe('deferred', () => {
  test('settles once, as told first', async () => {
    const one = deferred<number>()
    one.resolve(1)
    one.reject(new Error('late'))
    expect(await one.promise).toBe(1)
    const reason = new Error('no')
    const other = deferred<number>()
    void observed(other.promise)
    other.reject(reason)
    await expect(other.promise).rejects.toBe(reason)
  })
})

describe('linked aborts', () => {
  test('follow whichever parent aborts first, with its reason', () => {
    const [one, other] = [new AbortController(), new AbortController()]
    using linked = linkedAbort(one.signal, undefined, other.signal)
    other.abort('other')
    one.abort('one')
    expect(linked.signal.reason).toBe('other')
    expect(linkedAbort(one.signal).signal.reason).toBe('one')
  })

  test('abort on their own without touching the parent, and let go of it when disposed', () => {
    const parent = new AbortController()
    const linked = linkedAbort(parent.signal)
    linked.abort('mine')
    expect(parent.signal.aborted).toBe(false)
    const idle = linkedAbort(parent.signal)
    linked.dispose()
    idle.dispose()
    idle.dispose()
    expect(getEventListeners(parent.signal, 'abort')).toHaveLength(0)
    parent.abort('late')
    expect(idle.signal.aborted).toBe(false)
  })

  test('a promise or its abort, whichever comes first', async () => {
    const abort = new AbortController()
    expect(await untilAborted(Promise.resolve(1), abort.signal)).toBe(1)
    await new Promise((resolve) => setImmediate(resolve))
    expect(getEventListeners(abort.signal, 'abort')).toHaveLength(0)
    const reason = new Error('stop')
    const waiting = untilAborted(never(), abort.signal)
    abort.abort(reason)
    await expect(waiting).rejects.toBe(reason)
    // The loser's rejection must not end the process as unhandled.
    await expect(untilAborted(Promise.reject(new Error('loser')), abort.signal)).rejects.toBe(reason)
    expect(await untilAborted(Promise.resolve(2), undefined)).toBe(2)
  })
})

describe('a deadline', () => {
  test('passes on what comes in time and leaves no timer and no listener', async () => {
    const clock = new VirtualClock()
    const parent = new AbortController()
    const work = withDeadline(clock, 100, 'work', async () => 'done', parent.signal)
    expect(await work).toBe('done')
    expect(getEventListeners(parent.signal, 'abort')).toHaveLength(0)
    await expect(withDeadline(clock, 100, 'work', () => Promise.reject(new Error('own')))).rejects.toThrow('own')
  })

  test('ends what takes longer with TIMEOUT, and tells it', async () => {
    const clock = new VirtualClock()
    let seen: AbortSignal | undefined
    const work = withDeadline(clock, 100, 'The thing', (signal) => {
      seen = signal
      return never()
    })
    void observed(work)
    await clock.advance(99)
    expect(seen?.aborted).toBe(false)
    await clock.advance(1)
    await expect(work).rejects.toMatchObject({ code: 'TIMEOUT', message: 'The thing took longer than 100 ms.' })
    expect(seen?.reason).toMatchObject({ code: 'TIMEOUT' })
  })

  test('hands on the reason of its parent', async () => {
    const parent = new AbortController()
    const work = withDeadline(new VirtualClock(), 100, 'work', never, parent.signal)
    const reason = new Error('parent')
    parent.abort(reason)
    await expect(work).rejects.toBe(reason)
  })
})

describe('a periodic job', () => {
  function newJob(run: (signal: AbortSignal) => Promise<void>) {
    const clock = new VirtualClock()
    const errors: unknown[] = []
    const job = new Periodic({ clock, intervalMs: () => 100, run, onError: (error) => errors.push(error) })
    return { clock, job, errors }
  }

  test('runs after each pause, at once if so started, and goes on after a failure', async () => {
    let runs = 0
    const { clock, job, errors } = newJob(async () => {
      runs += 1
      if (runs === 2) throw new Error('second')
    })
    job.start({ immediately: true })
    await clock.advance(0)
    expect(runs).toBe(1)
    await clock.advance(250)
    expect(runs).toBe(3)
    expect(errors).toMatchObject([{ message: 'second' }])
    await job.stop()
    await clock.advance(1000)
    expect(runs).toBe(3)
  })

  test('a run may end its own job; who stops it from outside waits for that run', async () => {
    let runs = 0
    const { clock, job } = newJob(async (signal) => {
      runs += 1
      job.end()
      expect(signal.aborted).toBe(true)
    })
    job.start({ immediately: true })
    await clock.advance(1000)
    expect(runs).toBe(1)
    job.poke()
    await clock.advance(1000)
    expect(runs).toBe(1)
    await job.stop()
  })

  test('the pause begins at the end of a run, and no two runs overlap', async () => {
    const starts: number[] = []
    let running = 0
    const { clock, job } = newJob(async () => {
      starts.push(clock.monotonic())
      expect((running += 1)).toBe(1)
      await new Promise<void>((resolve) => void clock.setTimer(70, resolve))
      running -= 1
    })
    job.start({ immediately: false })
    await clock.advance(500)
    expect(starts).toEqual([100, 270, 440])
    const stopped = job.stop()
    await clock.advance(100)
    await stopped
  })

  test('a poke brings the next run forward; several during a run make one more', async () => {
    const starts: number[] = []
    const { clock, job } = newJob(async () => {
      starts.push(clock.monotonic())
      await new Promise<void>((resolve) => void clock.setTimer(10, resolve))
    })
    job.start({ immediately: false })
    await clock.advance(30)
    job.poke()
    job.poke()
    await clock.advance(5)
    job.poke()
    job.poke()
    await clock.advance(20)
    expect(starts).toEqual([30, 40])
    await clock.advance(110)
    expect(starts).toEqual([30, 40, 150])
    await job.stop()
    job.poke()
    await clock.advance(500)
    expect(starts).toHaveLength(3)
  })

  test('stopping tells the run under way, waits for it, and hears nothing of its failure', async () => {
    let finished = false
    const { clock, job, errors } = newJob(async (signal) => {
      await new Promise<void>((resolve) => signal.addEventListener('abort', () => resolve()))
      await Promise.resolve()
      finished = true
      throw signal.reason
    })
    job.start({ immediately: true })
    await clock.advance(0)
    await job.stop()
    expect(finished).toBe(true)
    expect(errors).toEqual([])
  })
})

describe('a rate meter', () => {
  test('shows what happens now: the last few seconds, and nothing once it stops', async () => {
    const clock = new VirtualClock()
    const meter = new RateMeter(clock, 4_000)
    expect(meter.perSecond()).toBe(0)
    for (let second = 0; second < 20; second += 1) {
      meter.add(1000)
      await clock.advance(1000)
    }
    expect(meter.perSecond()).toBe(1000)
    for (let second = 0; second < 4; second += 1) {
      meter.add(5000)
      await clock.advance(1000)
    }
    expect(meter.perSecond()).toBe(5000)
    await clock.advance(5000)
    expect(meter.perSecond()).toBe(0)
  })

  test('the first moment makes no absurd rate, and taking back no negative one', async () => {
    const clock = new VirtualClock()
    const meter = new RateMeter(clock, 4_000)
    meter.add(100)
    expect(meter.perSecond()).toBe(200)
    meter.add(-1000)
    expect(meter.perSecond()).toBe(0)
  })

  test('it keeps a bounded number of sums, however often units are added', async () => {
    const clock = new VirtualClock()
    const meter = new RateMeter(clock, 4_000)
    for (let count = 0; count < 5_000; count += 1) {
      meter.add(10)
      if (count % 10 === 0) await clock.advance(10)
    }
    expect(meter.bucketCount).toBeLessThanOrEqual(21)
    expect(Math.abs(meter.perSecond() - 10_000)).toBeLessThan(500)
  })
})
