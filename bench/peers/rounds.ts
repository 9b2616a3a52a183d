/** Rounds: in each, every system is started, put through the plan and removed, one after the other, each time in another order. */
import { mkdirSync, rmSync } from 'node:fs'
import path from 'node:path'
import { MiB } from '../../common/units.js'
import { settle } from '../support/caches.js'
import { costOf } from '../support/cost.js'
import { ProcessWatch } from '../support/process-watch.js'
import { round as rounded } from '../support/statistics.js'
import { isEnding, treeOf } from './owned.js'
import { WORKLOADS, type Meter, type PlanFiles, type Step, type WorkloadName } from './plan.js'
import { rateOf } from './report.js'
import type { Lines, Sample } from './sample.js'
import type { Durability, Installed, RunningSystem, System } from './system.js'

export interface RoundOptions {
  readonly round: number
  readonly directory: string
  readonly cache: string
  readonly durability: Durability
  readonly files: PlanFiles
  readonly steps: readonly Step[]
  readonly lines: Lines
  readonly say: (line: string) => void
}

export interface Entrant {
  readonly system: System
  readonly installed: Installed
}

/** @param entrants in the order of the first round; each later one begins with the next */
export async function runRound(entrants: readonly Entrant[], options: RoundOptions): Promise<void> {
  const first = (options.round - 1) % entrants.length
  for (const entrant of [...entrants.slice(first), ...entrants.slice(0, first)]) await measureSystem(entrant, options)
}

async function measureSystem({ system, installed }: Entrant, options: RoundOptions): Promise<void> {
  const { round, cache, durability, lines, say } = options
  const directory = path.join(options.directory, system.name)
  const about = { round, system: system.name, title: system.title }
  const absent = (reason: string, workload?: string): void => {
    if (isEnding()) return
    say(`${system.title}: ${workload ?? 'all'} unavailable: ${reason}`)
    lines.add({ kind: 'unavailable', ...about, ...(workload === undefined ? {} : { workload }), reason })
  }
  mkdirSync(directory)
  try {
    settle()
    await using running = await installed.start({ directory, durability, cache })
    using watch = new ProcessWatch()
    const meter = new SystemMeter(system, running, watch, options, absent)
    for (const step of options.steps) {
      try {
        await step.run(running, options.files, meter)
      } catch (error) {
        absent((error as Error).message, step.name)
      }
    }
    const peakMiB = Object.fromEntries(
      Object.entries(watch.figures()).map(([name, { peakBytes }]) => [name, rounded(peakBytes / MiB, 0)]),
    )
    const { version } = installed
    lines.add({ kind: 'system', ...about, version, durability: system.durability(durability), peakMiB })
  } catch (error) {
    absent((error as Error).message)
  } finally {
    rmSync(directory, { recursive: true, force: true, maxRetries: 5 })
  }
}

class SystemMeter implements Meter {
  readonly absentSystem: (reason: string, workload?: string) => void
  readonly #system: System
  readonly #running: RunningSystem
  readonly #watch: ProcessWatch
  readonly #options: RoundOptions

  constructor(
    system: System,
    running: RunningSystem,
    watch: ProcessWatch,
    options: RoundOptions,
    absent: (reason: string, workload?: string) => void,
  ) {
    this.#system = system
    this.#running = running
    this.#watch = watch
    this.#options = options
    this.absentSystem = absent
  }

  async measure<T>(
    workload: WorkloadName,
    amount: number,
    work: () => Promise<T>,
    { variant, seconds: secondsOf }: { variant?: string; seconds?: (result: T) => number } = {},
  ): Promise<T> {
    for (const { name, pid } of this.#running.processes) this.#watch.watch(name, pid)
    const pids = (): number[] => [...new Set(this.#running.processes.flatMap(({ pid }) => treeOf(pid)))]
    const { result, cost } = await costOf(pids, work)
    const seconds = secondsOf?.(result) ?? cost.wallSeconds
    const sample: Sample = {
      kind: 'sample',
      round: this.#options.round,
      system: this.#system.name + (variant === undefined ? '' : `-${variant}`),
      workload,
      amount,
      seconds: rounded(seconds, 4),
      cpuSeconds: rounded(cost.cpuSeconds, 2),
      otherCpuShare: rounded(cost.otherCpuShare),
    }
    this.#options.lines.add(sample)
    this.#options.say(`${sample.system}: ${workload} ${rounded(rateOf(sample), 0)} ${WORKLOADS[workload].unit}`)
    return result
  }

  absent(workload: WorkloadName, reason: string): void {
    this.absentSystem(reason, workload)
  }
}
