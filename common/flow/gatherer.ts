/**
 * Small requests that are made at about the same time go as one: those of one turn of the event loop, and those that have
 * gathered while earlier ones were under way. Nobody waits for company longer than that.
 */
import type { Clock } from '../clock/clock.js'
import { untilAborted } from './abort.js'
import { deferred, type Deferred } from './deferred.js'

/** What became of one item. */
export type Outcome<Result> = { readonly ok: true; readonly value: Result } | { readonly ok: false; readonly error: unknown }

export interface GathererOptions<Item, Result> {
  readonly clock: Clock
  readonly underWayMax: number
  /** Items in one request, at most. */
  readonly countMax: number
  /** What the items of one request may weigh together; a single one may weigh more. */
  readonly weightMax?: number
  readonly weightOf?: (item: Item) => number
  /** Sends one request. @returns the outcomes in the order of the items @throws what then is the outcome of each of them */
  readonly send: (items: readonly Item[]) => Promise<readonly Outcome<Result>[]>
  /** Whether a request that failed so speaks for those that wait, too. */
  readonly failsAll?: (error: unknown) => boolean
}

interface Waiting<Item, Result> {
  readonly item: Item
  readonly signal: AbortSignal | undefined
  readonly done: Deferred<Result>
}

export class Gatherer<Item, Result> {
  readonly #options: GathererOptions<Item, Result>
  #queue: Waiting<Item, Result>[] = []
  #underWay = 0
  #isDue = false

  constructor(options: GathererOptions<Item, Result>) {
    this.#options = options
  }

  /** @throws the item's own error, or that of its request; the signal's reason, and then it may have been sent or not */
  add(item: Item, signal?: AbortSignal): Promise<Result> {
    if (signal?.aborted) return Promise.reject(signal.reason as Error)
    const done = deferred<Result>()
    this.#queue.push({ item, signal, done })
    this.#sendSoon()
    return untilAborted(done.promise, signal)
  }

  /** At the end of this turn: whoever has just been answered may have more to ask. */
  #sendSoon(): void {
    if (this.#isDue || this.#underWay >= this.#options.underWayMax) return
    this.#isDue = true
    this.#options.clock.setTimer(0, () => {
      this.#isDue = false
      void this.#sendNext()
    })
  }

  /** Never rejects: each item hears for itself. */
  async #sendNext(): Promise<void> {
    const batch = this.#take()
    if (batch.length === 0) return
    this.#underWay += 1
    if (this.#queue.length > 0) this.#sendSoon()
    try {
      const outcomes = await this.#options.send(batch.map(({ item }) => item))
      for (const [index, { done }] of batch.entries()) {
        const outcome = outcomes[index]
        if (outcome?.ok) done.resolve(outcome.value)
        else done.reject(outcome?.error ?? new Error('an item without an outcome'))
      }
    } catch (error) {
      for (const { done } of batch) done.reject(error)
      if (this.#options.failsAll?.(error)) for (const { done } of this.#queue.splice(0)) done.reject(error)
    }
    this.#underWay -= 1
    if (this.#queue.length > 0) this.#sendSoon()
  }

  /** What goes next, without those who have given up waiting. */
  #take(): Waiting<Item, Result>[] {
    const { countMax, weightMax = Infinity, weightOf = () => 0 } = this.#options
    const batch: Waiting<Item, Result>[] = []
    let weight = 0
    let taken = 0
    for (const waiting of this.#queue) {
      if (!waiting.signal?.aborted) {
        weight += weightOf(waiting.item)
        if (batch.length >= countMax || (weight > weightMax && batch.length > 0)) break
        batch.push(waiting)
      }
      taken += 1
    }
    this.#queue.splice(0, taken)
    return batch
  }
}
