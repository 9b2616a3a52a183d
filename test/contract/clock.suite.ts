/** What every {@link Clock} must do. Run on each implementation by clock.test.ts. Asserts order and lower bounds of time only. */
import { getEventListeners } from 'node:events'
import { beforeEach, describe, expect, test } from '@jest/globals'
import { sleep, type Clock } from '../../common/clock/clock.js'

export interface ClockUnderTest {
  readonly clock: Clock
  /** Lets `forMs` or more go by on this clock, its timers running. */
  readonly pass: (forMs: number) => Promise<void>
}

export function clockSuite(name: string, open: () => ClockUnderTest): void {
  describe(`Clock: ${name}`, () => {
    let clock: Clock
    let pass: (forMs: number) => Promise<void>
    let fired: string[]
    const fire = (what: string) => (): void => void fired.push(what)

    beforeEach(() => {
      ;({ clock, pass } = open())
      fired = []
    })

    test('now is whole milliseconds since 1970, and monotonic time never runs backwards', async () => {
      expect(Number.isInteger(clock.now())).toBe(true)
      expect(clock.now()).toBeGreaterThan(Date.UTC(2020, 0, 1))
      for (let last = clock.monotonic(), round = 0; round < 1000; round += 1) {
        const next = clock.monotonic()
        expect(next).toBeGreaterThanOrEqual(last)
        last = next
      }
      const before = clock.monotonic()
      await pass(5)
      expect(clock.monotonic() - before).toBeGreaterThanOrEqual(5)
    })

    test.each([0, -5, 1])('a timer of %i ms fires later, never within the call that sets it', async (delayMs) => {
      clock.setTimer(delayMs, fire('timer'))
      expect(fired).toEqual([])
      await pass(5)
      expect(fired).toEqual(['timer'])
      await pass(5)
      expect(fired).toEqual(['timer'])
    })

    test('timers fire in order of their due time, whatever the order they were set in', async () => {
      for (const delayMs of [30, 10, 50, 20, 40]) clock.setTimer(delayMs, fire(`${delayMs}`))
      await pass(60)
      expect(fired).toEqual(['10', '20', '30', '40', '50'])
    })

    test('timers of one delay fire in the order they were set', async () => {
      for (const label of ['a', 'b', 'c']) clock.setTimer(5, fire(label))
      await pass(10)
      expect(fired).toEqual(['a', 'b', 'c'])
    })

    test('no timer fires before its time, parts of a millisecond included', async () => {
      const early: number[] = []
      for (let delayMs = 0; delayMs < 25; delayMs += 0.37) {
        const dueMs = clock.monotonic() + delayMs
        clock.setTimer(delayMs, () => {
          fired.push('')
          if (clock.monotonic() < dueMs) early.push(delayMs)
        })
      }
      await pass(60)
      expect(fired).toHaveLength(68)
      expect(early).toEqual([])
    })

    test('a cancelled timer never fires, and cancelling again or too late does no harm', async () => {
      const cancelled = clock.setTimer(5, fire('cancelled'))
      const kept = clock.setTimer(5, fire('kept'))
      cancelled.cancel()
      cancelled.cancel()
      await pass(10)
      kept.cancel()
      expect(fired).toEqual(['kept'])
    })

    test('a callback can cancel a timer that is due at the same moment, and its own', async () => {
      const first = clock.setTimer(5, () => {
        fired.push('first')
        first.cancel()
        second.cancel()
      })
      const second = clock.setTimer(5, fire('second'))
      clock.setTimer(5, fire('third'))
      await pass(10)
      expect(fired).toEqual(['first', 'third'])
    })

    test('a callback can set the next timer', async () => {
      const tick = (): void => {
        fired.push('tick')
        if (fired.length < 5) clock.setTimer(1, tick)
      }
      clock.setTimer(1, tick)
      for (let round = 0; round < 100 && fired.length < 5; round += 1) await pass(2)
      expect(fired).toHaveLength(5)
    })

    test.each([2 ** 31 - 1, 2 ** 31, 2 ** 32 + 7, Number.MAX_SAFE_INTEGER, Infinity])(
      'a timer of %i ms does not fire at once',
      async (delayMs) => {
        const timer = clock.setTimer(delayMs, fire('much too early'))
        await pass(10)
        timer.cancel()
        expect(fired).toEqual([])
      },
    )

    describe('sleep', () => {
      test('resolves after its time and lets go of the signal', async () => {
        const abort = new AbortController()
        const start = clock.monotonic()
        const done = sleep(clock, 5, abort.signal).then(() => clock.monotonic())
        await pass(10)
        expect((await done) - start).toBeGreaterThanOrEqual(5)
        expect(getEventListeners(abort.signal, 'abort')).toHaveLength(0)
      })

      test('rejects with the reason of an abort, in the middle and beforehand', async () => {
        const abort = new AbortController()
        const reason = new Error('enough')
        const sleeping = sleep(clock, 60_000, abort.signal)
        clock.setTimer(2, () => abort.abort(reason))
        const caught = sleeping.catch((error: unknown) => error)
        await pass(10)
        expect(await caught).toBe(reason)
        await expect(sleep(clock, 60_000, abort.signal)).rejects.toBe(reason)
      })

      test('an abort after its end changes nothing', async () => {
        const abort = new AbortController()
        const sleeping = sleep(clock, 1, abort.signal)
        await pass(5)
        abort.abort(new Error('late'))
        await expect(sleeping).resolves.toBeUndefined()
      })
    })
  })
}
