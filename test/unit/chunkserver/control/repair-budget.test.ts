import { describe, expect, test } from '@jest/globals'
import { RepairBudget } from '../../../../chunkserver/control/repair-budget.js'
import { VirtualClock } from '../../../../common/clock/virtual-clock.js'
import type { RepairBudgetSettings } from '../../../../common/protocol/cluster.js'
import { MiB } from '../../../../common/units.js'

const DISKS = 500 * MiB

function budgetOf(settings: RepairBudgetSettings): { clock: VirtualClock; budget: RepairBudget; settings: RepairBudgetSettings } {
  const clock = new VirtualClock()
  const now = { ...settings }
  return { clock, settings: now, budget: new RepairBudget({ clock, settings: () => now, diskBytesPerSecond: () => DISKS }) }
}

/** Bytes that leave in `ms`, taken leaf by leaf. */
async function sentWithin(clock: VirtualClock, budget: RepairBudget, ms: number, urgent = false): Promise<number> {
  const abort = new AbortController()
  let sent = 0
  const sending = (async () => {
    while (!abort.signal.aborted) {
      await budget.take(MiB, urgent, abort.signal)
      sent += MiB
    }
  })().catch(() => undefined)
  await clock.advance(ms)
  abort.abort(new Error('enough'))
  await clock.advance(60_000)
  await sending
  return sent
}

describe('the budget of repair', () => {
  test.each([
    ['gentle', 0.2],
    ['balanced', 0.4],
    ['fast', 0.8],
  ] as const)('at speed %s it is %d of what the disks can do, while no client is at work', async (speed, share) => {
    const { clock, budget } = budgetOf({ speed, bytesPerSecondMax: null })
    expect(budget.bytesPerSecond()).toBe(share * DISKS)
    expect((await sentWithin(clock, budget, 10_000)) / (10 * share * DISKS)).toBeCloseTo(1, 1)
  })

  test('a cap that was set holds, however fast the disks are', async () => {
    const { clock, budget } = budgetOf({ speed: 'fast', bytesPerSecondMax: 10 * MiB })
    expect(Math.abs((await sentWithin(clock, budget, 10_000)) - 100 * MiB)).toBeLessThanOrEqual(2 * MiB)
  })

  test('while clients are at work it is a small part of what they get, and no less than a floor', () => {
    const { budget } = budgetOf({ speed: 'balanced', bytesPerSecondMax: null })
    budget.onClientBytes(200 * MiB)
    const perSecond = budget.bytesPerSecond()
    expect(perSecond).toBeLessThanOrEqual(25 * MiB)
    expect(perSecond).toBeGreaterThanOrEqual(4 * MiB)
    const { budget: slow } = budgetOf({ speed: 'balanced', bytesPerSecondMax: null })
    slow.onClientBytes(4 * MiB)
    expect(slow.bytesPerSecond()).toBe(4 * MiB)
  })

  test('it has its full share again as soon as the clients have stopped', async () => {
    const { clock, budget } = budgetOf({ speed: 'balanced', bytesPerSecondMax: null })
    budget.onClientBytes(200 * MiB)
    await clock.advance(5_000)
    expect(budget.bytesPerSecond()).toBe(0.4 * DISKS)
  })

  test('the only copy of a chunk leaves faster', async () => {
    const { clock, budget } = budgetOf({ speed: 'balanced', bytesPerSecondMax: 10 * MiB })
    expect((await sentWithin(clock, budget, 10_000, true)) / (400 * MiB)).toBeCloseTo(1, 1)
  })

  test('a change of speed is in effect with the next leaf', async () => {
    const { clock, budget, settings } = budgetOf({ speed: 'gentle', bytesPerSecondMax: null })
    const before = await sentWithin(clock, budget, 1_000)
    Object.assign(settings, { speed: 'fast' })
    const after = await sentWithin(clock, budget, 1_000)
    expect(after / before).toBeGreaterThan(3.5)
  })
})
