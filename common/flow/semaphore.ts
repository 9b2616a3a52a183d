/** A counting semaphore with weights, served strictly in order of arrival, so that a large request is not starved. */
import { assert } from '../assert.js'

/** Held units; {@link Permit.release} may be called once. */
export interface Permit {
  release(): void
}

interface Waiter {
  readonly units: number
  readonly grant: (permit: Permit) => void
}

export class Semaphore {
  #available: number
  readonly #capacity: number
  readonly #waiters: Waiter[] = []

  constructor(capacity: number) {
    assert(capacity > 0, 'a semaphore of no capacity would hold nobody back')
    this.#available = capacity
    this.#capacity = capacity
  }

  get available(): number {
    return this.#available
  }

  get waiting(): number {
    return this.#waiters.length
  }

  /**
   * Waits until `units` are free. More than the whole capacity are taken as the whole capacity.
   * @throws `signal.reason` on abort; nothing is held then.
   */
  acquire(units = 1, signal?: AbortSignal): Promise<Permit> {
    const permit = this.tryAcquire(units)
    if (permit) return Promise.resolve(permit)
    return new Promise((resolve, reject) => {
      if (signal?.aborted) return reject(signal.reason as Error)
      const onAbort = (): void => {
        const index = this.#waiters.indexOf(waiter)
        if (index >= 0) this.#waiters.splice(index, 1)
        reject(signal?.reason as Error)
        this.#serve()
      }
      const waiter: Waiter = {
        units: Math.min(units, this.#capacity),
        grant: (granted) => {
          signal?.removeEventListener('abort', onAbort)
          resolve(granted)
        },
      }
      this.#waiters.push(waiter)
      signal?.addEventListener('abort', onAbort, { once: true })
    })
  }

  /** The units if they are free right now and nobody waits for them. */
  tryAcquire(units = 1): Permit | undefined {
    assert(units >= 0, 'units are counted from none')
    const wanted = Math.min(units, this.#capacity)
    if (this.#waiters.length > 0 || wanted > this.#available) return undefined
    return this.#hold(wanted)
  }

  async use<T>(work: () => Promise<T>, signal?: AbortSignal): Promise<T> {
    const permit = await this.acquire(1, signal)
    try {
      return await work()
    } finally {
      permit.release()
    }
  }

  #hold(units: number): Permit {
    this.#available -= units
    let held = true
    return {
      release: () => {
        assert(held, 'a permit is released once')
        held = false
        this.#available += units
        this.#serve()
      },
    }
  }

  #serve(): void {
    for (let next = this.#waiters[0]; next && next.units <= this.#available; next = this.#waiters[0]) {
      this.#waiters.shift()
      next.grant(this.#hold(next.units))
    }
  }
}
