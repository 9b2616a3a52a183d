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
  /** When each server that has been lost of late was, those that are back left out. */
  readonly #lostMs = new Map<number, number>()
  #massLossUntilMs = -Infinity

  constructor(clock: Clock, settings: Pick<MasterSettings, 'repairStartDelayMs'>) {
    this.#clock = clock
    this.#startedMs = clock.monotonic()
    this.#startDelayMs = settings.repairStartDelayMs
  }

  /** These servers have just been lost, of `total` that the cluster has. One that is lost again and again is one server. */
  serversLost(servers: readonly number[], total: number): void {
    const nowMs = this.#clock.monotonic()
    if (!this.#massLoss()) this.#forget((lostMs) => nowMs - lostMs >= MASS_LOSS_WINDOW_MS)
    for (const server of servers) this.#lostMs.set(server, nowMs)
    if (isMass(this.#lostMs.size, total)) this.#massLossUntilMs = nowMs + MASS_LOSS_HOLD_MS
  }

  /**
   * Servers have returned, and these of `total` are still away. When few enough of those that vanished together are, the
   * hold ends: what they lack is real. Who was away before that does not count.
   */
  serversBack(away: readonly number[], total: number): void {
    this.#forget((_lostMs, server) => !away.includes(server))
    if (isMass(this.#lostMs.size, total)) return
    this.#massLossUntilMs = -Infinity
  }

  #forget(which: (lostMs: number, server: number) => boolean): void {
    for (const [server, lostMs] of this.#lostMs) if (which(lostMs, server)) this.#lostMs.delete(server)
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
