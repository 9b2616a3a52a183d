import { describe, expect, test } from '@jest/globals'
import { VirtualClock } from '../../../../common/clock/virtual-clock.js'
import { MINUTE_MS } from '../../../../common/units.js'
import { BY_URGENCY as ALL, RepairBrakes } from '../../../../master/repair/brakes.js'
import { HealthClass } from '../../../../master/store/schema.js'

const HELD = [HealthClass.lastCopy]

/** So many servers, from one on. */
const servers = (count: number, from = 1): number[] => Array.from({ length: count }, (_, index) => from + index)

async function started(): Promise<{ clock: VirtualClock; brakes: RepairBrakes }> {
  const clock = new VirtualClock()
  const brakes = new RepairBrakes(clock, { repairStartDelayMs: 30_000 })
  await clock.advance(30_000)
  return { clock, brakes }
}

describe('repair brakes', () => {
  test('nothing is repaired just after the start, and status says for how long', async () => {
    const clock = new VirtualClock()
    const brakes = new RepairBrakes(clock, { repairStartDelayMs: 30_000 })
    expect(brakes.allowed()).toEqual([])
    await clock.advance(29_500)
    expect(brakes.allowed()).toEqual([])
    expect(brakes.reason()).toContain('begins in 1 s')
    await clock.advance(500)
    expect(brakes.allowed()).toEqual(ALL)
    expect(brakes.reason()).toBeNull()
  })

  test.each([
    ['two of two', 2, 2, ALL],
    ['two of four', 2, 4, ALL],
    ['three of twelve, a quarter', 3, 12, ALL],
    ['three of eleven', 3, 11, HELD],
    ['all of three', 3, 3, HELD],
    ['250 of a thousand', 250, 1000, ALL],
    ['251 of a thousand', 251, 1000, HELD],
  ])('losing %s at once', async (_what, lost, total, allowed) => {
    const { brakes } = await started()
    brakes.serversLost(servers(lost), total)
    expect(brakes.allowed()).toEqual(allowed)
    expect(brakes.reason() === null).toBe(allowed === ALL)
  })

  test('losses within a minute add up, those further apart do not', async () => {
    const { clock, brakes } = await started()
    for (let lost = 0; lost < 4; lost += 1) {
      brakes.serversLost([lost], 8)
      await clock.advance(31_000)
    }
    expect(brakes.allowed()).toEqual(ALL)
    brakes.serversLost([4], 8)
    await clock.advance(10_000)
    brakes.serversLost([5], 8)
    expect(brakes.allowed()).toEqual(HELD)
  })

  test('the hold lapses ten minutes after the last loss', async () => {
    const { clock, brakes } = await started()
    brakes.serversLost(servers(5), 10)
    await clock.advance(10 * MINUTE_MS - 1)
    expect(brakes.allowed()).toEqual(HELD)
    await clock.advance(1)
    expect(brakes.allowed()).toEqual(ALL)
    expect(brakes.reason()).toBeNull()
  })

  test('the hold ends as soon as few enough are away', async () => {
    const { brakes } = await started()
    brakes.serversLost(servers(5), 10)
    brakes.serversBack(servers(3), 10)
    expect(brakes.allowed()).toEqual(HELD)
    brakes.serversBack(servers(2), 10)
    expect(brakes.allowed()).toEqual(ALL)
    brakes.serversLost([9], 12)
    expect(brakes.allowed()).toEqual(ALL)
  })

  test('one server that is lost three times is one server', async () => {
    const { clock, brakes } = await started()
    for (let lost = 0; lost < 3; lost += 1) {
      brakes.serversLost([1], 6)
      await clock.advance(5_000)
      brakes.serversBack([], 6)
    }
    expect(brakes.allowed()).toEqual(ALL)
  })

  test('servers that were dead long before do not keep the hold when those that vanished together are back', async () => {
    const { clock, brakes } = await started()
    brakes.serversLost([7, 8, 9], 20)
    await clock.advance(20 * MINUTE_MS)
    brakes.serversLost([1, 2, 3], 9)
    expect(brakes.allowed()).toEqual(HELD)
    brakes.serversBack([7, 8, 9], 9)
    expect(brakes.allowed()).toEqual(ALL)
  })
})
