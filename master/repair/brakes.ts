/**
 * What holds repair back, so that it does not turn a passing trouble into a storm: a master that has just started does
 * not yet know who is alive, and servers that vanish many at once are more likely cut off than dead.
 * A chunk with a single live copy is never held back by the latter.
 */
import type { Clock } from '../../common/clock/clock.js'
import { MINUTE_MS } from '../../common/units.js'
import type { MasterSettings } from '../settings.js'
import { HealthClass } from '../store/schema.js'

const MASS_LOSS_WINDOW_MS = 1 * MINUTE_MS
const MASS_LOSS_SERVERS_MIN = 3
const MASS_LOSS_SHARE = 0.25
const MASS_LOSS_HOLD_MS = 10 * MINUTE_MS

/** Every class that copies are made for, most urgent first. */
export const BY_URGENCY: readonly number[] = [
  HealthClass.lastCopy,
  HealthClass.belowGoal,
  HealthClass.leaving,
  HealthClass.misplaced,
  HealthClass.rebalance,
]

const isMass = (servers: number, total: number): boolean => servers >= MASS_LOSS_SERVERS_MIN && servers > total * MASS_LOSS_SHARE

export class RepairBrakes {
  readonly #clock: Clock
  readonly #startedMs: number
  readonly #startDelayMs: number
  #losses: { readonly atMs: number; readonly servers: number }[] = []
  #massLossUntilMs = -Infinity

  constructor(clock: Clock, settings: Pick<MasterSettings, 'repairStartDelayMs'>) {
    this.#clock = clock
    this.#startedMs = clock.monotonic()
    this.#startDelayMs = settings.repairStartDelayMs
  }

  /** Servers have just been lost, of `total` that the cluster has. */
  serversLost(servers: number, total: number): void {
    const nowMs = this.#clock.monotonic()
    this.#losses = [...this.#losses.filter((loss) => nowMs - loss.atMs < MASS_LOSS_WINDOW_MS), { atMs: nowMs, servers }]
    const lost = this.#losses.reduce((sum, loss) => sum + loss.servers, 0)
    if (isMass(lost, total)) this.#massLossUntilMs = nowMs + MASS_LOSS_HOLD_MS
  }

  /** Servers have returned, and `missing` of `total` are still away. Few enough end the hold: what they lack is real. */
  serversBack(missing: number, total: number): void {
    if (isMass(missing, total)) return
    this.#losses = []
    this.#massLossUntilMs = -Infinity
  }

  /** The classes that may be repaired now, most urgent first. */
  allowed(): readonly number[] {
    if (this.#starting()) return []
    return this.#massLoss() ? [HealthClass.lastCopy] : BY_URGENCY
  }

  /** In words, for `status`; null when nothing holds repair back. */
  reason(): string | null {
    if (this.#starting())
      return `the master has just started: repair begins in ${Math.ceil((this.#startedMs + this.#startDelayMs - this.#clock.monotonic()) / 1000)} s`
    if (this.#massLoss())
      return 'many servers vanished at once: only chunks with a single copy are repaired until they return, or for 10 minutes'
    return null
  }

  #starting(): boolean {
    return this.#clock.monotonic() - this.#startedMs < this.#startDelayMs
  }

  #massLoss(): boolean {
    return this.#clock.monotonic() < this.#massLossUntilMs
  }
}
