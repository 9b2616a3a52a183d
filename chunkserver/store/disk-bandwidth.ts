/** What a disk can move per second, learnt from what it moves while it is at work: waiting for work is not being slow. */
import type { DiskLatency } from './disk-latency.js'
import { MiB } from '../../common/units.js'

/** Taken until so much has been moved that it can be told. */
const ASSUMED_BYTES_PER_SECOND = 300 * MiB
const SAMPLE_BYTES = 64 * MiB
/** A new sample counts for so much, unless it is higher: what a disk has once done it can do. */
const NEW_SHARE = 0.1

export class DiskBandwidth {
  readonly #latency: DiskLatency
  #moved = 0
  #busyMs = 0
  #bytesPerSecond: number | undefined

  constructor(latency: DiskLatency) {
    this.#latency = latency
  }

  get bytesPerSecond(): number {
    return this.#bytesPerSecond ?? ASSUMED_BYTES_PER_SECOND
  }

  /** So many bytes have been read or written. */
  moved(bytes: number): void {
    this.#moved += bytes
    if (this.#moved < SAMPLE_BYTES) return
    const busyMs = this.#latency.busyMs
    const sample = (this.#moved * 1000) / Math.max(1, busyMs - this.#busyMs)
    const before = this.#bytesPerSecond
    this.#bytesPerSecond = before === undefined ? sample : Math.max(sample, before * (1 - NEW_SHARE) + sample * NEW_SHARE)
    this.#moved = 0
    this.#busyMs = busyMs
  }
}
