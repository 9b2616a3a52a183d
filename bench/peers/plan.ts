/** What every system is put through in a round, in this order: later steps read what earlier ones stored. */
import { dropCaches, mayDropCaches, settle } from '../support/caches.js'
import { expectedSha256, type LoadResult, type LoadTask } from '../support/load-task.js'
import type { RunningSystem } from './system.js'

export interface PlanFiles {
  readonly large: { readonly file: string; readonly bytes: number; readonly sha256: string }
  /** Stored at once, each by a client of its own; all of the same content. */
  readonly atOnce: { readonly file: string; readonly bytes: number; readonly sha256: string; readonly clients: number }
  readonly small: { readonly files: number; readonly bytes: number; readonly connections: number }
  readonly metadata: { readonly files: number; readonly connections: number }
}

/** How a step's time and cost are taken. */
export interface Meter {
  /** @param variant another way into the same system */
  measure<T>(
    workload: WorkloadName,
    amount: number,
    work: () => Promise<T>,
    options?: { variant?: string; seconds?: (result: T) => number },
  ): Promise<T>
  absent(workload: WorkloadName, reason: string): void
}

/** One group of steps. What fails is reported, and the next group goes on. */
export interface Step {
  readonly name: string
  run(system: RunningSystem, files: PlanFiles, meter: Meter): Promise<void>
}

export const WORKLOADS = {
  'upload-one': { title: 'Upload, one file', unit: 'MB/s' },
  'download-cold': { title: 'Download, cold', unit: 'MB/s' },
  'download-hot': { title: 'Download, hot', unit: 'MB/s' },
  'upload-16': { title: 'Upload, many clients at once', unit: 'MB/s' },
  'small-put': { title: 'Small files: put', unit: '/s' },
  'small-stat': { title: 'Small files: stat', unit: '/s' },
  'small-get': { title: 'Small files: get', unit: '/s' },
  'metadata-create': { title: 'Empty files: create', unit: '/s' },
  'metadata-stat': { title: 'Empty files: stat', unit: '/s' },
} as const satisfies Record<string, { title: string; unit: 'MB/s' | '/s' }>

export type WorkloadName = keyof typeof WORKLOADS

const one: Step = {
  name: 'one',
  async run(system, { large }, meter) {
    await meter.measure('upload-one', large.bytes, () => system.upload(large.file, 'large'))
    settle()
    if (mayDropCaches()) {
      await system.freshClient?.()
      dropCaches()
      await meter.measure('download-cold', large.bytes, () => system.download('large'))
    } else {
      meter.absent('download-cold', 'caches are dropped by root only')
      await system.download('large')
    }
    await system.freshClient?.()
    await meter.measure('download-hot', large.bytes, () => system.download('large'))
    mustBe(await system.sha256Of('large'), large.sha256)
  },
}

const many: Step = {
  name: 'many',
  async run(system, { atOnce }, meter) {
    const names = Array.from({ length: atOnce.clients }, (_, index) => `at-once-${index}`)
    const sources = names.map(() => atOnce.file)
    {
      await using _clients = (await system.openClients?.(atOnce.clients)) ?? null
      await meter.measure('upload-16', atOnce.bytes * atOnce.clients, () => system.uploadAtOnce(sources, names))
    }
    mustBe(await system.sha256Of(names.at(-1) as string), atOnce.sha256)
  },
}

const small: Step = {
  name: 'small',
  run: (system, { small: { files, bytes, connections } }, meter) =>
    load(system, { prefix: 'small', files, bytes, seed: 3, connections }, meter, {
      put: 'small-put',
      stat: 'small-stat',
      get: 'small-get',
    }),
}

const metadata: Step = {
  name: 'metadata',
  run: (system, { metadata: { files, connections } }, meter) =>
    load(system, { prefix: 'empty', files, bytes: 0, seed: 4, connections }, meter, {
      put: 'metadata-create',
      stat: 'metadata-stat',
    }),
}

export const STEPS: readonly Step[] = [one, many, small, metadata]

/** A tenth of the work beforehand, on files of its own: programs that compile themselves as they run are warm then. */
const WARMUP_SHARE = 0.1

async function load(
  system: RunningSystem,
  task: Omit<LoadTask, 'kind'>,
  meter: Meter,
  workloads: Partial<Record<LoadTask['kind'], WorkloadName>>,
): Promise<void> {
  const kinds = Object.keys(workloads) as LoadTask['kind'][]
  const ways = [
    { variant: undefined, perform: system.load?.bind(system) },
    { variant: 'http', perform: system.loadOverHttp?.bind(system) },
  ]
  for (const { variant, perform } of ways) {
    if (!perform) continue
    const warmup = { ...task, prefix: `${task.prefix}-warmup`, files: Math.ceil(task.files * WARMUP_SHARE) }
    for (const kind of kinds) await perform({ ...warmup, kind })
    for (const kind of kinds) {
      const seconds = (result: LoadResult): number => result.seconds
      const options = variant === undefined ? { seconds } : { seconds, variant }
      const result = await meter.measure(workloads[kind] as WorkloadName, task.files, () => perform({ ...task, kind }), options)
      mustBe(result.sha256, expectedSha256({ ...task, kind }))
    }
  }
}

function mustBe(found: string, expected: string): void {
  if (found !== expected) throw new Error('what came back is not what was stored')
}
