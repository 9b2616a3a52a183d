/**
 * Keeps the lease of the one master that acts. It counts as held only while its time, from when it was last asked for, is not
 * over by this machine's own monotonic clock: a process that stood still finds it over before it does anything else. That is
 * for what leaves the process; what it writes is refused by the database itself once another holds the lease.
 */
import type { Clock } from '../common/clock/clock.js'
import { CairnError } from '../common/errors/cairn-error.js'
import { Periodic } from '../common/flow/periodic.js'
import type { Logger } from '../common/observe/logger.js'
import type { MetadataStore } from './store/metadata-store.js'
import type { LeaseKey, LeaseState } from './store/operations/leases.js'

const NAME = 'active-master'
/** It is asked for so many times within its time. */
const ASKED_PER_TTL = 4

export interface ActiveLeaseOptions {
  readonly clock: Clock
  readonly log: Logger
  readonly store: Pick<MetadataStore, 'takeLease' | 'releaseLease'>
  /** This master, whichever process of it, and how others reach it. */
  readonly holder: string
  readonly address: string
  readonly ttlMs: number
  /** It is ours, for the first time. What this throws is logged, and it is tried again. */
  readonly onActive: (lease: LeaseKey) => Promise<void>
  /** It was ours and is another's now. Nothing that this process has in memory can be gone on with. */
  readonly onLost: (error: CairnError) => void
}

export class ActiveLease {
  readonly #options: ActiveLeaseOptions
  readonly #asking: Periodic
  #term: number | undefined
  #begun = false
  #validUntilMs = -Infinity
  #other: LeaseState | undefined

  constructor(options: ActiveLeaseOptions) {
    this.#options = options
    this.#asking = new Periodic({
      clock: options.clock,
      intervalMs: () => options.ttlMs / ASKED_PER_TTL,
      run: () => this.#ask(),
      onError: (error) => options.log.warn({ error }, 'the lease of the active master could not be asked for'),
    })
  }

  start(): void {
    this.#asking.start({ immediately: true })
  }

  /** Whether it is held at this moment, as far as this process can know. */
  get held(): boolean {
    return this.#begun && this.#options.clock.monotonic() < this.#validUntilMs
  }

  /** What those are told who ask this master meanwhile. */
  refusal(): CairnError {
    const address = this.#other?.address
    return new CairnError(
      'NOT_ACTIVE',
      address
        ? `This master stands by; ${address} is active. Ask there.`
        : 'This master stands by, and no other is known to be active yet.',
      address ? { data: { active: address } } : {},
    )
  }

  /** Stops asking, and gives it up. */
  async stop(): Promise<void> {
    await this.#asking.stop()
    this.#validUntilMs = -Infinity
    const { store, holder } = this.#options
    if (this.#term !== undefined) await store.releaseLease({ name: NAME, holder, term: this.#term }).catch(() => undefined)
  }

  async #ask(): Promise<void> {
    const { clock, store, holder, address, ttlMs, log } = this.#options
    const askedMs = clock.monotonic()
    const state = await store.takeLease({ name: NAME, holder, address, ttlMs, anew: this.#term === undefined })
    if (!state.held || (this.#term !== undefined && state.term !== this.#term)) {
      this.#other = state
      if (this.#term === undefined) return
      this.#validUntilMs = -Infinity
      this.#asking.end()
      this.#options.onLost(new CairnError('NOT_ACTIVE', `Another master is active since term ${state.term}: ${state.address}.`))
      return
    }
    this.#validUntilMs = askedMs + ttlMs
    this.#term = state.term
    if (this.#begun) return
    log.info({ term: state.term, address }, 'this master is the active one')
    await this.#options.onActive({ name: NAME, term: state.term })
    this.#begun = true
  }
}
