/** What goes wrong on the way between nodes: by chance with every message, and while there are partitions. */
import type { Fate, Flow } from '../../../common/rpc/memory-network.js'
import { SeededRandom } from '../../../common/random/seeded-random.js'
import { KiB } from '../../../common/units.js'
import type { SimCluster } from '../../support/sim-cluster.js'
import type { NetworkPlan, Plan } from './plan.js'
import type { Trace } from './trace.js'

/** As TCP: what was held up or lost is sent again after a while. */
const RETRANSMIT_MS = 250

export interface Cut {
  readonly from: ReadonlySet<string>
  readonly to: ReadonlySet<string>
}

export class NetworkFaults {
  readonly counts = { lost: 0, reset: 0, duplicated: 0, late: 0, held: 0 }
  readonly #plan: NetworkPlan
  readonly #random: SeededRandom
  readonly #trace: Trace
  readonly #cuts = new Set<Cut>()
  readonly #dark = new Set<string>()
  #calm = false

  constructor(plan: Plan, trace: Trace) {
    this.#plan = plan.network
    this.#random = new SeededRandom(plan.seed ^ 0x4444)
    this.#trace = trace
  }

  attach(cluster: SimCluster): void {
    const { network, clock } = cluster
    network.fate = (from, to) => this.#fate(from, to)
    network.flow = (from, to, bytes) => this.#flow(from, to, bytes)
    network.duplicate = () => this.#duplicate()
    network.onMessage = (from, to, what, bytes, fate) => {
      this.#trace.mixText(`${from} ${to} ${what} ${fate.kind}`)
      this.#trace.mix(bytes)
      if (this.#trace.isPrinted)
        this.#trace.print(
          clock.monotonic(),
          `    ${from} > ${to} ${what.replace('http://', '')} ${bytes || ''} ${describe(fate)}`,
        )
    }
  }

  /** From now on nothing gets from one side to the other. @returns what ends it */
  cut(cut: Cut): () => void {
    this.#cuts.add(cut)
    return () => void this.#cuts.delete(cut)
  }

  /** A machine without power does not even refuse. */
  powered(node: string, on: boolean): void {
    if (on) this.#dark.delete(node)
    else this.#dark.add(node)
  }

  /** No more trouble, but for machines without power. */
  calm(): void {
    this.#calm = true
    this.#cuts.clear()
  }

  #isCut(from: string, to: string): boolean {
    if (this.#dark.has(to) || this.#dark.has(from)) return true
    for (const cut of this.#cuts) if (cut.from.has(from) && cut.to.has(to)) return true
    return false
  }

  #chance(share: number): boolean {
    return !this.#calm && share > 0 && this.#random.fraction() < share
  }

  #fate(from: string, to: string): Fate {
    if (this.#isCut(from, to)) return this.#counted('held', { kind: 'lost' })
    const { lossShare, resetShare, lateShare, lateMs, delayMs } = this.#plan
    if (this.#chance(lossShare)) return this.#counted('lost', { kind: 'lost' })
    if (this.#chance(resetShare)) return this.#counted('reset', { kind: 'reset' })
    if (this.#chance(lateShare)) return this.#counted('late', { kind: 'delivered', delayMs: this.#random.fraction() * lateMs })
    return { kind: 'delivered', delayMs: this.#calm ? 0 : Math.round(this.#random.fraction() * delayMs) }
  }

  #flow(from: string, to: string, bytes: number): Flow {
    if (this.#isCut(from, to)) return { kind: 'stalls', retryMs: RETRANSMIT_MS }
    const { lossShare, bodyMs } = this.#plan
    const again = this.#chance(lossShare) ? RETRANSMIT_MS : 0
    const slow = this.#calm || bodyMs === 0 ? 0 : Math.round(this.#random.fraction() * bodyMs * (bytes / (64 * KiB)))
    return { kind: 'flows', delayMs: again + slow }
  }

  #duplicate(): number | undefined {
    if (!this.#chance(this.#plan.duplicateShare)) return undefined
    this.counts.duplicated += 1
    return Math.round(this.#random.fraction() ** 3 * this.#plan.lateMs)
  }

  #counted(what: keyof NetworkFaults['counts'], fate: Fate): Fate {
    this.counts[what] += 1
    return fate
  }
}

const describe = (fate: Fate): string =>
  fate.kind === 'delivered' ? (fate.delayMs > 0 ? `+${Math.round(fate.delayMs)}` : '') : fate.kind.toUpperCase()
