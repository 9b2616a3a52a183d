/** How many copies may be under way for a class of repair, by the speed that the operator has chosen. */
import type { RepairSpeed } from '../../common/protocol/cluster.js'
import type { MasterSettings, TransferLimit } from '../settings.js'
import { HealthClass } from '../store/schema.js'

/** `balanced` is what the settings say. What a server may send per second changes with the speed too: chunkserver/control/repair-budget.ts. */
const FACTOR: Readonly<Record<RepairSpeed, number>> = { gentle: 0.5, balanced: 1, fast: 4 }

export type LimitOf = (healthClass: number) => TransferLimit

export function limitsAt(speed: RepairSpeed, limits: MasterSettings['repairLimits']): LimitOf {
  const scaled = ({ into, outOf }: TransferLimit): TransferLimit => ({
    into: Math.max(1, into * FACTOR[speed]),
    outOf: Math.max(1, outOf * FACTOR[speed]),
  })
  // Nobody chooses to wait with the only copy.
  const lastCopy = speed === 'gentle' ? limits.lastCopy : scaled(limits.lastCopy)
  const belowGoal = scaled(limits.belowGoal)
  const background = scaled(limits.background)
  return (healthClass) =>
    healthClass === HealthClass.lastCopy ? lastCopy : healthClass === HealthClass.belowGoal ? belowGoal : background
}
