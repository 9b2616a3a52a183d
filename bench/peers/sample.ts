/** What is measured, one line of JSON each, so that a run can be done in pieces and looked at again. */
import { appendFileSync, existsSync, readFileSync } from 'node:fs'
import type { MachineLimits } from '../support/machine-limits.js'
import type { machine } from '../support/machine.js'
import type { WorkloadName } from './plan.js'

/** What one system did once. */
export interface Sample {
  readonly kind: 'sample'
  readonly round: number
  /** By name; a variant of it, such as another way in, has a name of its own. */
  readonly system: string
  readonly workload: WorkloadName
  /** Of the work: bytes or operations in so many seconds. */
  readonly amount: number
  readonly seconds: number
  /** Of all processes of the system together, client and servers. */
  readonly cpuSeconds: number
  /** Part of the machine's CPU time that neither the system nor this benchmark used. */
  readonly otherCpuShare: number
}

/** How a system was set up in a round, and what its processes held at most. */
export interface SystemNote {
  readonly kind: 'system'
  readonly round: number
  readonly system: string
  readonly title: string
  readonly version: string
  readonly durability: string
  readonly peakMiB: Readonly<Record<string, number>>
}

/** A system, or one of its workloads, that could not be measured, and why. */
export interface Absence {
  readonly kind: 'unavailable'
  readonly round: number
  readonly system: string
  readonly title: string
  readonly workload?: string
  readonly reason: string
}

export interface LimitsNote extends MachineLimits {
  readonly kind: 'limits'
  readonly round: number
}

/** What was run where: one per call of the command. */
export interface RunNote {
  readonly kind: 'run'
  readonly round: number
  readonly date: string
  readonly command: string
  readonly commit: string
  readonly machine: ReturnType<typeof machine>
  readonly parameters: Readonly<Record<string, unknown>>
}

export type Line = Sample | SystemNote | Absence | LimitsNote | RunNote

/** What was written to a file before, if anything was. */
export const readLines = (file: string): Line[] =>
  existsSync(file)
    ? readFileSync(file, 'utf8')
        .split('\n')
        .filter((line) => line !== '')
        .map((line) => JSON.parse(line) as Line)
    : []

/** Keeps lines, also on disk where a file is named. */
export class Lines {
  readonly all: Line[]
  readonly #file: string | undefined

  constructor(file: string | undefined) {
    this.#file = file
    this.all = file === undefined ? [] : readLines(file)
  }

  add(line: Line): void {
    this.all.push(line)
    if (this.#file !== undefined) appendFileSync(this.#file, `${JSON.stringify(line)}\n`)
  }

  /** The next round that is not there yet, from 1. */
  get nextRound(): number {
    return 1 + this.all.reduce((last, { round }) => Math.max(last, round), 0)
  }
}
