/**
 * How long servers take for a leaf, as this client has seen of late: a replica that takes far longer than usual is given
 * up for another one, and asked last from then on. (Grey failures: a disk with 200 ms per operation answers everything.)
 */
import { slowOnes } from '../../common/flow/outliers.js'
import type { ServerId } from '../../common/ids.js'

/** Of all servers together, for the percentile. */
const SAMPLES_MAX = 256
/** Enough to speak of a percentile. */
const SAMPLES_MIN = 16
const PERCENTILE = 0.95
/** So many times the percentile is too long. */
const FACTOR = 3
const PATIENCE_MS_MIN = 250
/** Also while too little is known. */
const PATIENCE_MS_MAX = 2_000
/** Weight of the latest leaf in a server's average. */
const LATEST = 0.2

export class ServerPace {
  #samples: number[] = []
  readonly #averages = new Map<ServerId, number>()

  /** A leaf came after so long, or had not come by then. */
  note(serverId: ServerId, tookMs: number): void {
    this.#samples.push(tookMs)
    if (this.#samples.length > SAMPLES_MAX) this.#samples.shift()
    const average = this.#averages.get(serverId)
    this.#averages.set(serverId, average === undefined ? tookMs : average * (1 - LATEST) + tookMs * LATEST)
  }

  isSlow(serverId: ServerId): boolean {
    return slowOnes([...this.#averages.keys()], (id) => this.#averages.get(id)).has(serverId)
  }

  /** How long to wait for a leaf while another copy could be asked. */
  get patienceMs(): number {
    if (this.#samples.length < SAMPLES_MIN) return PATIENCE_MS_MAX
    const sorted = [...this.#samples].sort((one, other) => one - other)
    const percentile = sorted[Math.floor(sorted.length * PERCENTILE)] ?? 0
    return Math.min(PATIENCE_MS_MAX, Math.max(PATIENCE_MS_MIN, percentile * FACTOR))
  }
}
