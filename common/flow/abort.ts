/** Abort signals whose deadlines run on the {@link Clock}, so that they also hold in virtual time. */
import { setMaxListeners } from 'node:events'
import type { Clock } from '../clock/clock.js'
import { CairnError } from '../errors/cairn-error.js'

/** An abort controller that also follows parent signals; {@link LinkedAbort.dispose} lets go of them. */
export interface LinkedAbort extends Disposable {
  readonly signal: AbortSignal
  abort(reason: unknown): void
  dispose(): void
}

export function linkedAbort(...parents: readonly (AbortSignal | undefined)[]): LinkedAbort {
  const controller = new AbortController()
  // One transfer's signal has a listener per chunk in flight; Node would take more than ten for a leak.
  setMaxListeners(0, controller.signal)
  const unlink: (() => void)[] = []
  for (const parent of parents) {
    if (!parent) continue
    if (parent.aborted) {
      controller.abort(parent.reason)
      break
    }
    const onAbort = (): void => controller.abort(parent.reason)
    parent.addEventListener('abort', onAbort, { once: true })
    unlink.push(() => parent.removeEventListener('abort', onAbort))
  }
  const dispose = (): void => unlink.splice(0).forEach((undo) => undo())
  return { signal: controller.signal, abort: (reason) => controller.abort(reason), dispose, [Symbol.dispose]: dispose }
}

/**
 * Runs `work` with a signal that aborts after `timeoutMs`.
 * @throws `TIMEOUT` naming `what` when the time is over before `work` settles; `work` sees the abort, and is not waited for.
 */
export async function withDeadline<T>(
  clock: Clock,
  timeoutMs: number,
  what: string,
  work: (signal: AbortSignal) => Promise<T>,
  parent?: AbortSignal,
): Promise<T> {
  const abort = linkedAbort(parent)
  const timer = clock.setTimer(timeoutMs, () => {
    abort.abort(new CairnError('TIMEOUT', `${what} took longer than ${timeoutMs} ms.`))
  })
  try {
    return await untilAborted(work(abort.signal), abort.signal)
  } finally {
    timer.cancel()
    abort.dispose()
  }
}

/** The promise's outcome, or the abort's reason, whichever comes first. The loser's rejection is swallowed. */
export function untilAborted<T>(promise: Promise<T>, signal: AbortSignal | undefined): Promise<T> {
  if (!signal) return promise
  return new Promise<T>((resolve, reject) => {
    const onAbort = (): void => reject(signal.reason as Error)
    if (signal.aborted) onAbort()
    else signal.addEventListener('abort', onAbort, { once: true })
    promise.then(resolve, reject).finally(() => signal.removeEventListener('abort', onAbort))
  })
}

export const abortedError = (what: string): CairnError => new CairnError('ABORTED', `${what} was aborted.`)
