/** A background job that repeats: one run at a time, the next a pause after the last one's end, or at once when poked. */
import { linkedAbort } from './abort.js'
import type { Clock, Timer } from '../clock/clock.js'

export interface PeriodicOptions {
  readonly clock: Clock
  readonly intervalMs: () => number
  /** One run. `signal` aborts when the job is stopped. Rejections go to `onError`; the job goes on. */
  readonly run: (signal: AbortSignal) => Promise<void>
  readonly onError: (error: unknown) => void
}

export class Periodic implements AsyncDisposable {
  readonly #options: PeriodicOptions
  readonly #abort = linkedAbort()
  #timer: Timer | undefined
  #running: Promise<void> | undefined
  #poked = false

  constructor(options: PeriodicOptions) {
    this.#options = options
  }

  /** Starts with a run at once, or after one interval. */
  start(options: { readonly immediately: boolean }): this {
    this.#schedule(options.immediately ? 0 : this.#options.intervalMs())
    return this
  }

  /** Runs now, or right after the run that is under way. Several pokes meanwhile make one run. */
  poke(): void {
    if (this.#abort.signal.aborted) return
    if (this.#running) this.#poked = true
    else this.#schedule(0)
  }

  /** No more runs; the one under way sees its signal abort. For a run that ends its own job: to wait for itself would be for ever. */
  end(): void {
    this.#abort.abort(new Error('stopped'))
    this.#timer?.cancel()
  }

  /** Ends the job and waits for the run that is under way. Not from within a run: see {@link end}. */
  async stop(): Promise<void> {
    this.end()
    await this.#running
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop()
  }

  #schedule(delayMs: number): void {
    this.#timer?.cancel()
    if (this.#abort.signal.aborted) return
    this.#timer = this.#options.clock.setTimer(delayMs, () => {
      this.#running = this.#runOnce().finally(() => {
        this.#running = undefined
        const again = this.#poked
        this.#poked = false
        this.#schedule(again ? 0 : this.#options.intervalMs())
      })
    })
  }

  async #runOnce(): Promise<void> {
    try {
      await this.#options.run(this.#abort.signal)
    } catch (error) {
      if (!this.#abort.signal.aborted) this.#options.onError(error)
    }
  }
}
