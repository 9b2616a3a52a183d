import { describe, expect, jest, test } from '@jest/globals'
import fc from 'fast-check'
import { sleep } from '../../common/clock/clock.js'
import { SystemClock } from '../../common/clock/system-clock.js'
import { VirtualClock } from '../../common/clock/virtual-clock.js'
import { DAY_MS } from '../../common/units.js'
import { clockSuite } from './clock.suite.js'

/** Real time needs slack: a pause of n ms may end before a timer of n ms that was set after it. */
const SLACK_MS = 15

clockSuite('the machine', () => ({
  clock: new SystemClock(),
  pass: (forMs) => new Promise((resolve) => setTimeout(resolve, forMs + SLACK_MS)),
}))

clockSuite('virtual', () => {
  const clock = new VirtualClock()
  return { clock, pass: (forMs) => clock.advance(forMs) }
})

describe('the system clock', () => {
  test('a timer of 100 days fires after 100 days, though setTimeout holds only 24', () => {
    jest.useFakeTimers()
    try {
      const clock = new SystemClock()
      let fired = 0
      clock.setTimer(100 * DAY_MS, () => (fired += 1))
      jest.advanceTimersByTime(100 * DAY_MS - 1)
      expect(fired).toBe(0)
      jest.advanceTimersByTime(2)
      expect(fired).toBe(1)
      expect(jest.getTimerCount()).toBe(0)
      clock.setTimer(100 * DAY_MS, () => (fired += 1)).cancel()
      const other = clock.setTimer(100 * DAY_MS, () => (fired += 1))
      jest.advanceTimersByTime(50 * DAY_MS)
      other.cancel()
      expect(jest.getTimerCount()).toBe(0)
    } finally {
      jest.useRealTimers()
    }
  })
})

describe('the virtual clock', () => {
  test('stands still until it is moved, and by exactly as much', async () => {
    const clock = new VirtualClock(1_000_000)
    await new Promise((resolve) => setTimeout(resolve, 3))
    expect([clock.now(), clock.monotonic()]).toEqual([1_000_000, 0])
    await clock.advance(1500)
    expect([clock.now(), clock.monotonic()]).toEqual([1_001_500, 1500])
  })

  test('shows each timer its own due time, in a stable order, for any set of timers', async () => {
    const delays = fc.array(fc.nat({ max: 50 }), { maxLength: 40 })
    await fc.assert(
      fc.asyncProperty(delays, async (delaysMs) => {
        const clock = new VirtualClock(0, async () => undefined)
        const fired: [number, number][] = []
        delaysMs.forEach((delayMs, index) => clock.setTimer(delayMs, () => fired.push([clock.monotonic(), index])))
        await clock.advance(50)
        const expected = delaysMs.map((delayMs, index): [number, number] => [delayMs, index])
        expect(fired).toEqual(expected.sort((one, other) => one[0] - other[0] || one[1] - other[1]))
      }),
    )
  })

  test('promise work that a timer caused is done before the next timer fires', async () => {
    const clock = new VirtualClock()
    const order: string[] = []
    void (async () => {
      await sleep(clock, 10)
      for (let turn = 0; turn < 50; turn += 1) await Promise.resolve()
      order.push('work of the first')
    })()
    clock.setTimer(10, () => order.push('second timer'))
    await clock.advance(10)
    expect(order).toEqual(['work of the first', 'second timer'])
  })

  test('until stops at the moment its condition holds, and says so when it never does', async () => {
    const clock = new VirtualClock()
    let ticks = 0
    const tick = (): void => {
      ticks += 1
      clock.setTimer(10, tick)
    }
    tick()
    await clock.until(() => ticks === 4, 1000)
    expect(clock.monotonic()).toBe(30)
    await expect(clock.until(() => false, 100)).rejects.toThrow('100 ms')
    expect(clock.monotonic()).toBe(130)
  })

  test('a jump of the wall clock moves neither timers nor monotonic time', async () => {
    const clock = new VirtualClock(DAY_MS)
    let fired = false
    clock.setTimer(100, () => (fired = true))
    clock.jumpWallClock(-3_600_000)
    expect([clock.now(), clock.monotonic()]).toEqual([DAY_MS - 3_600_000, 0])
    await clock.advance(99)
    expect(fired).toBe(false)
    await clock.advance(1)
    expect(fired).toBe(true)
  })
})
