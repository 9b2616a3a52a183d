/**
 * The operations of one disk: so many at once, and none waited for without end.
 *
 * An operation that hangs in the kernel cannot be taken back. It keeps its slot and its thread until it returns, which
 * is why there are few slots; who waits for it is sent away after a while, and others are not let in meanwhile. Once it
 * has taken longer than any operation does, the disk is given up.
 */
import type { Block } from '../../common/bytes/block-pool.js'
import type { Clock, Timer } from '../../common/clock/clock.js'
import { CairnError, isCairnError } from '../../common/errors/cairn-error.js'
import { observed } from '../../common/flow/deferred.js'
import { linkedAbort } from '../../common/flow/abort.js'
import { Semaphore, type Permit } from '../../common/flow/semaphore.js'
import { SECOND_MS } from '../../common/units.js'
import { DiskLatency } from './disk-latency.js'

/** `look` is at names, sizes and free space: it says nothing about how fast the disk is. */
export type IoPurpose = 'read' | 'write' | 'sync' | 'look'

export interface DiskIoOptions {
  readonly clock: Clock
  readonly directory: string
  /** Operations at once. */
  readonly concurrency: number
  /** After this the disk is given up. */
  readonly timeoutMs: number
  readonly onTimeout: (error: CairnError) => void
}

/** How long a caller waits, be it for a slot or for the operation. Reads can go elsewhere; writes have come a long way. */
const PATIENCE_MS: Readonly<Record<IoPurpose, number>> = {
  read: 5 * SECOND_MS,
  look: 5 * SECOND_MS,
  write: 10 * SECOND_MS,
  sync: 10 * SECOND_MS,
}
/** While an operation hangs for longer than this no more are begun. */
const HANGING_MS = 5 * SECOND_MS

/** Operations that went on after their caller was sent away, by the error that it got. */
const ABANDONED = new WeakMap<CairnError, Promise<unknown>>()

/** Releases what an operation may still be writing to: at once, or when the operation that was given up returns, if it ever does. */
export function releaseAfter(error: unknown, held: { release(): void }): void {
  const operation = error instanceof CairnError ? ABANDONED.get(error) : undefined
  if (!operation) return held.release()
  const release = (): void => held.release()
  operation.then(release, release)
}

/** Runs `work` with a block, which goes back to its pool when nothing writes to it any more. */
export async function withBlock<T>(acquired: Promise<Block>, work: (block: Block) => Promise<T>): Promise<T> {
  const block = await acquired
  try {
    const result = await work(block)
    block.release()
    return result
  } catch (error) {
    releaseAfter(error, block)
    throw error
  }
}

export class DiskIo {
  readonly latency: DiskLatency
  readonly #options: DiskIoOptions
  readonly #slots: Semaphore

  constructor(options: DiskIoOptions) {
    this.#options = options
    this.latency = new DiskLatency(options.clock)
    this.#slots = new Semaphore(options.concurrency)
  }

  /** @throws `DISK_HANGS` when it takes too long; the operation may go on, see {@link releaseAfter} */
  async run<T>(purpose: IoPurpose, work: () => Promise<T>): Promise<T> {
    if (this.latency.hangingMs >= Math.min(HANGING_MS, this.#options.timeoutMs)) throw this.#hangs()
    const permit = await this.#acquire(purpose)
    const end = this.latency.begin(purpose !== 'look')
    const operation = observed(
      Promise.resolve()
        .then(work)
        .finally(() => {
          end()
          permit.release()
        }),
    )
    return this.#wait(purpose, operation)
  }

  async #acquire(purpose: IoPurpose): Promise<Permit> {
    const free = this.#slots.tryAcquire()
    if (free) return free
    using abort = linkedAbort()
    const timer = this.#options.clock.setTimer(PATIENCE_MS[purpose], () => abort.abort(this.#hangs()))
    try {
      return await this.#slots.acquire(1, abort.signal)
    } finally {
      timer.cancel()
    }
  }

  #wait<T>(purpose: IoPurpose, operation: Promise<T>): Promise<T> {
    const { clock, timeoutMs, directory, onTimeout } = this.#options
    const patienceMs = Math.min(PATIENCE_MS[purpose], timeoutMs)
    return new Promise<T>((resolve, reject) => {
      let timer: Timer = clock.setTimer(patienceMs, () => {
        const sentAway = this.#hangs()
        ABANDONED.set(sentAway, operation)
        reject(sentAway)
        timer = clock.setTimer(timeoutMs - patienceMs, () => {
          onTimeout(new CairnError('TIMEOUT', `an operation on ${directory} took longer than ${timeoutMs} ms.`))
        })
      })
      operation.then(resolve, reject).finally(() => timer.cancel())
    })
  }

  #hangs(): CairnError {
    return new CairnError(
      'DISK_HANGS',
      `The disk at ${this.#options.directory} does not answer. Read another copy, or write to another server.`,
    )
  }
}

export const isHanging = (error: unknown): error is CairnError => isCairnError(error, 'DISK_HANGS')
