/**
 * How fast this server sends copies for repair: a share of what its disks can do, and while clients are at work no more
 * than a small part of what they get, so that they keep at least nine tenths of their throughput. The only copy of a
 * chunk waits less.
 */
import { sleep, type Clock } from '../../common/clock/clock.js'
import { RateMeter } from '../../common/flow/rate-meter.js'
import type { RepairBudgetSettings, RepairSpeed } from '../../common/protocol/cluster.js'
import { MiB, SECOND_MS } from '../../common/units.js'

interface Share {
  /** Of the disks' bandwidth. */
  readonly ofDisks: number
  /**
   * Of the bytes that clients move at the moment; never less than {@link floorBytesPerSecond}. A repaired byte costs about
   * one and a half times what a copy of a written one does: it is read and verified too.
   */
  readonly ofClients: number
  readonly floorBytesPerSecond: number
}

const SHARES: Readonly<Record<RepairSpeed, Share>> = {
  gentle: { ofDisks: 0.2, ofClients: 0.03, floorBytesPerSecond: 1 * MiB },
  balanced: { ofDisks: 0.4, ofClients: 0.06, floorBytesPerSecond: 4 * MiB },
  fast: { ofDisks: 0.8, ofClients: 1, floorBytesPerSecond: 64 * MiB },
}
/** How many times faster an only copy leaves than others. */
const URGENT_FACTOR = 4
/** Clients that move less than this are not at work. */
const CLIENTS_IDLE_BYTES_PER_SECOND = 1 * MiB
const CLIENT_WINDOW_MS = 2 * SECOND_MS
/** Unused time is made up for by at most so much at once. */
const BURST_MS = 50

export interface RepairBudgetOptions {
  readonly clock: Clock
  readonly settings: () => RepairBudgetSettings
  /** What all disks of this server together can move, as far as is known. */
  readonly diskBytesPerSecond: () => number
}

export class RepairBudget {
  readonly #options: RepairBudgetOptions
  readonly #clients: RateMeter
  #nextMs = -Infinity

  constructor(options: RepairBudgetOptions) {
    this.#options = options
    this.#clients = new RateMeter(options.clock, CLIENT_WINDOW_MS)
  }

  /** Clients have moved so many bytes. */
  onClientBytes(bytes: number): void {
    this.#clients.add(bytes)
  }

  /** What may be sent per second now. */
  bytesPerSecond(): number {
    const { speed, bytesPerSecondMax } = this.#options.settings()
    const share = SHARES[speed]
    const byDisks = bytesPerSecondMax ?? Math.max(share.floorBytesPerSecond, share.ofDisks * this.#options.diskBytesPerSecond())
    const clients = this.#clients.perSecond()
    if (clients < CLIENTS_IDLE_BYTES_PER_SECOND) return byDisks
    return Math.min(byDisks, Math.max(share.floorBytesPerSecond, share.ofClients * clients))
  }

  /** Waits until `bytes` more may be sent. @throws `signal.reason` on abort */
  async take(bytes: number, urgent: boolean, signal: AbortSignal): Promise<void> {
    const { clock } = this.#options
    const nowMs = clock.monotonic()
    const dueMs = Math.max(this.#nextMs, nowMs - BURST_MS)
    this.#nextMs = dueMs + (bytes * 1000) / (this.bytesPerSecond() * (urgent ? URGENT_FACTOR : 1))
    if (dueMs > nowMs) await sleep(clock, dueMs - nowMs, signal)
    if (signal.aborted) throw signal.reason as Error
  }
}
