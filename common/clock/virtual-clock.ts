/**
 * A clock that moves only when told to, for simulations and tests: timers fire in order of their due time, equal ones
 * in the order they were set. Between two timers all promise work that they caused is let run to its end.
 */
import type { Clock, Timer } from './clock.js'
import { ProcessClock, type WallClock } from './process-clock.js'

interface Entry {
  readonly dueMs: number
  readonly sequence: number
  /** Undefined once it is cancelled: it then only waits for its turn to be thrown away. */
  callback: (() => void) | undefined
}

export class VirtualClock implements Clock {
  /** Told of each timer as it fires: for traces. */
  onFire: ((atMs: number, sequence: number) => void) | undefined
  #elapsedMs = 0
  #offsetMs: number
  #sequence = 0
  /** A binary heap: each entry is due no earlier than the one at half its index. */
  readonly #heap: Entry[] = []
  readonly #settle: () => Promise<void>

  /**
   * @param startMs what {@link now} shows at first.
   * @param settle waits until promise work is done; the default gives the event loop a turn.
   */
  constructor(startMs = Date.UTC(2026, 0, 1), settle: () => Promise<void> = settleEventLoop) {
    this.#offsetMs = startMs
    this.#settle = settle
  }

  now(): number {
    return Math.floor(this.#offsetMs + this.#elapsedMs)
  }

  monotonic(): number {
    return this.#elapsedMs
  }

  setTimer(delayMs: number, callback: () => void): Timer {
    const entry: Entry = { dueMs: this.#elapsedMs + Math.max(0, delayMs), sequence: this.#sequence++, callback }
    this.#push(entry)
    return { cancel: () => void (entry.callback = undefined) }
  }

  /** Moves the wall clock alone, as an operator or NTP would; timers and {@link monotonic} are not touched. */
  jumpWallClock(byMs: number): void {
    this.#offsetMs += byMs
  }

  /** The clock as one process sees it, which can be paused and killed. @param wall the wall clock of its machine */
  process(wall?: WallClock): ProcessClock {
    return new ProcessClock(this, wall)
  }

  /** Runs everything due in the next `byMs`, then stands there. */
  async advance(byMs: number): Promise<void> {
    await this.#runUntil(this.#elapsedMs + byMs, () => false)
  }

  /**
   * Runs until `condition` holds.
   * @throws Error when it does not within `withinMs` of virtual time.
   */
  async until(condition: () => boolean | Promise<boolean>, withinMs: number): Promise<void> {
    const met = await this.#runUntil(this.#elapsedMs + withinMs, condition)
    if (!met) throw new Error(`condition not met within ${withinMs} ms of virtual time`)
  }

  async #runUntil(endMs: number, condition: () => boolean | Promise<boolean>): Promise<boolean> {
    for (;;) {
      await this.#settle()
      const met = condition()
      if (met === true || (met !== false && (await met))) return true
      const next = this.#next()
      if (next === undefined || next.dueMs > endMs) break
      this.#pop()
      this.#elapsedMs = Math.max(this.#elapsedMs, next.dueMs)
      this.onFire?.(this.#elapsedMs, next.sequence)
      next.callback?.()
    }
    this.#elapsedMs = Math.max(this.#elapsedMs, endMs)
    return condition()
  }

  #next(): Entry | undefined {
    while (this.#heap[0] && !this.#heap[0].callback) this.#pop()
    return this.#heap[0]
  }

  #push(entry: Entry): void {
    const heap = this.#heap
    let at = heap.push(entry) - 1
    while (at > 0) {
      const parent = (at - 1) >> 1
      if (!isBefore(entry, heap[parent] as Entry)) break
      heap[at] = heap[parent] as Entry
      at = parent
    }
    heap[at] = entry
  }

  #pop(): void {
    const heap = this.#heap
    const last = heap.pop()
    if (!last || heap.length === 0) return
    let at = 0
    for (;;) {
      let child = 2 * at + 1
      if (child >= heap.length) break
      if (child + 1 < heap.length && isBefore(heap[child + 1] as Entry, heap[child] as Entry)) child += 1
      if (!isBefore(heap[child] as Entry, last)) break
      heap[at] = heap[child] as Entry
      at = child
    }
    heap[at] = last
  }
}

const isBefore = (one: Entry, other: Entry): boolean =>
  one.dueMs < other.dueMs || (one.dueMs === other.dueMs && one.sequence < other.sequence)

/**
 * One turn of the event loop: everything that waits on promises alone, however long the chain, runs before the next turn
 * begins. Nothing behind the simulated disk and network waits on real I/O, so one is enough.
 */
function settleEventLoop(): Promise<void> {
  // eslint-disable-next-line no-restricted-syntax -- this is a clock: below the seam
  return new Promise<void>((resolve) => setImmediate(resolve))
}
