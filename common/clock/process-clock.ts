/**
 * A virtual clock as one simulated process sees it. The process can be paused, as by SIGSTOP, and killed: paused, its
 * timers do not fire and whatever it asks of disk and network waits; killed, none of it ever happens any more. The other
 * seams of a simulated process ask {@link ProcessClock.gate} before they do anything for it.
 */
import { deferred, type Deferred } from '../flow/deferred.js'
import type { Clock, Timer } from './clock.js'

/** The wall clock of a machine: how far it is off. Processes of one machine share it, and it outlives them. */
export interface WallClock {
  offsetMs: number
}

export class ProcessClock implements Clock {
  readonly #base: Clock
  readonly #wall: WallClock
  /** Set while the process does not run. Never resolved once it is killed. */
  #stopped: Deferred<void> | undefined
  #killed = false
  #held: (() => void)[] = []

  constructor(base: Clock, wall: WallClock = { offsetMs: 0 }) {
    this.#base = base
    this.#wall = wall
  }

  get killed(): boolean {
    return this.#killed
  }

  get paused(): boolean {
    return this.#stopped !== undefined && !this.#killed
  }

  now(): number {
    return this.#base.now() + this.#wall.offsetMs
  }

  monotonic(): number {
    return this.#base.monotonic()
  }

  setTimer(delayMs: number, callback: () => void): Timer {
    if (this.#killed) return { cancel: () => undefined }
    let wanted = true
    const fire = (): void => {
      if (this.#killed) return
      if (this.#stopped) this.#held.push(fire)
      else if (wanted) callback()
    }
    const timer = this.#base.setTimer(delayMs, fire)
    return {
      cancel: () => {
        wanted = false
        timer.cancel()
      },
    }
  }

  /** Undefined while the process runs; else a promise for the moment when it goes on, which may never come. */
  gate(): Promise<void> | undefined {
    return this.#stopped?.promise
  }

  pause(): void {
    this.#stopped ??= deferred()
  }

  /** Goes on. What was due meanwhile happens now, in the order in which it was. */
  resume(): void {
    if (this.#killed || !this.#stopped) return
    const stopped = this.#stopped
    this.#stopped = undefined
    for (const fire of this.#held.splice(0)) this.#base.setTimer(0, fire)
    stopped.resolve()
  }

  kill(): void {
    this.#killed = true
    this.#stopped ??= deferred()
    this.#held = []
  }
}
