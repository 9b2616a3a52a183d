/** What many seeds came to, for one line of JSON. */
import type { SeedResult } from './run-seed.js'

export class Summary {
  readonly failures: { readonly seed: number; readonly what: string }[] = []
  readonly #commit: string
  readonly #startedMs = performance.now()
  readonly #faults: Record<string, number> = {}
  readonly #operations: Record<string, number> = {}
  #seeds = 0
  #virtualMs = 0
  #bytesVerified = 0
  #checks = 0
  #events = 0

  constructor(commit: string) {
    this.#commit = commit
  }

  add({ seed, violations, figures, virtualMs, events }: SeedResult): void {
    this.#seeds += 1
    this.#virtualMs += virtualMs
    this.#events += events
    this.#bytesVerified += figures.bytesVerified
    this.#checks += figures.checks
    addTo(this.#faults, figures.faults)
    addTo(this.#operations, figures.operations)
    if (violations.length > 0) this.failures.push({ seed, what: violations[0] ?? '' })
  }

  progress(): string {
    return `${this.#seeds} seeds, ${this.failures.length} failed, ${((performance.now() - this.#startedMs) / 1000).toFixed(0)} s`
  }

  toJSON() {
    return {
      sim: 'swarm',
      commit: this.#commit,
      seeds: this.#seeds,
      failures: this.failures,
      virtualSeconds: Math.round(this.#virtualMs / 1000),
      events: this.#events,
      faults: sorted(this.#faults),
      operations: sorted(this.#operations),
      bytesVerified: this.#bytesVerified,
      checks: this.#checks,
      wallSeconds: Math.round((performance.now() - this.#startedMs) / 100) / 10,
    }
  }
}

function addTo(sum: Record<string, number>, counts: Readonly<Record<string, number>>): void {
  for (const [name, count] of Object.entries(counts)) sum[name] = (sum[name] ?? 0) + count
}

const sorted = (counts: Readonly<Record<string, number>>): Record<string, number> =>
  Object.fromEntries(Object.entries(counts).sort(([one], [other]) => (one < other ? -1 : 1)))
