/** From samples to medians and ratios: as data, and as a table for people. */
import type { MachineLimits } from '../support/machine-limits.js'
import { median, round, summary } from '../support/statistics.js'
import { WORKLOADS, type WorkloadName } from './plan.js'
import type { Absence, Line, LimitsNote, RunNote, Sample, SystemNote } from './sample.js'

/** This project, by whichever way in. */
const OURS = /^cairn(-|$)/
const LEGEND =
  'Medians. In parentheses: CPU-seconds of all processes together, per GB or per 1000 files. Behind a colon: how many times as fast Cairn is.'
const WAYS: Readonly<Record<string, string>> = { 'cairn-http': 'Cairn over HTTP' }

export interface WorkloadReport {
  readonly title: string
  readonly unit: 'MB/s' | '/s'
  /** Bytes or operations of one run. */
  readonly amount: number
  readonly systems: Readonly<Record<string, SystemFigures>>
  /** How many times as fast as each peer, by medians: by each way into this project. */
  readonly ratios: Readonly<Record<string, Readonly<Record<string, number>>>>
  /** The fastest peer. */
  readonly bestPeer: string | null
}

export interface SystemFigures {
  /** In the workload's unit: the median, and what it was taken from. */
  readonly rate: { readonly p50: number; readonly runs: readonly number[] }
  /** Median, of all processes together: CPU-seconds per GB (10^9 bytes), or per 1000 operations. */
  readonly cpuSeconds: number
  /** The worst run's. */
  readonly otherCpuShare: number
}

export interface PeersReport {
  readonly bench: 'peers'
  readonly runs: readonly Omit<RunNote, 'kind'>[]
  readonly rounds: number
  readonly limits: Readonly<Record<string, number>>
  readonly systems: Readonly<Record<string, Pick<SystemNote, 'title' | 'version' | 'durability' | 'peakMiB'>>>
  readonly unavailable: readonly Omit<Absence, 'kind'>[]
  readonly workloads: Readonly<Partial<Record<WorkloadName, WorkloadReport>>>
}

/** In the unit of the sample's workload. */
export const rateOf = ({ workload, amount, seconds }: Sample): number =>
  amount / seconds / (WORKLOADS[workload].unit === 'MB/s' ? 1e6 : 1)

const ofKind = <K extends Line['kind']>(lines: readonly Line[], kind: K) =>
  lines.filter((line): line is Extract<Line, { kind: K }> => line.kind === kind)

const without = <T extends { kind: string }>({ kind: _, ...rest }: T): Omit<T, 'kind'> => rest

export function reportOf(lines: readonly Line[]): PeersReport {
  const samples = ofKind(lines, 'sample')
  const names = Object.keys(WORKLOADS) as WorkloadName[]
  const measured = names.filter((name) => samples.some(({ workload }) => workload === name))
  return {
    bench: 'peers',
    runs: ofKind(lines, 'run').map(without),
    rounds: Math.max(0, ...measured.map((name) => roundsOf(samples, name))),
    limits: limitsOf(ofKind(lines, 'limits')),
    systems: systemNotes(ofKind(lines, 'system')),
    unavailable: ofKind(lines, 'unavailable').map(without),
    workloads: Object.fromEntries(
      measured.map((name) => [
        name,
        workloadReport(
          name,
          samples.filter(({ workload }) => workload === name),
        ),
      ]),
    ),
  }
}

/** Of each system the last word, but the highest peak of every process. */
function systemNotes(notes: readonly SystemNote[]): PeersReport['systems'] {
  const systems: Record<string, PeersReport['systems'][string]> = {}
  for (const { system, title, version, durability, peakMiB } of notes) {
    const peaks = { ...systems[system]?.peakMiB }
    for (const [name, peak] of Object.entries(peakMiB)) peaks[name] = Math.max(peak, peaks[name] ?? 0)
    systems[system] = { title, version, durability, peakMiB: peaks }
  }
  return systems
}

/** Steps can be run apart from each other: what counts is how often each workload was measured. */
const roundsOf = (samples: readonly Sample[], name: WorkloadName): number =>
  new Set(samples.filter(({ workload }) => workload === name).map(({ round: number }) => number)).size

const LIMITS = {
  directWriteBytesPerSecond: 'three direct writers together',
  directReadBytesPerSecond: 'a direct reader',
  loopbackBytesPerSecond: 'TCP over loopback',
  localSocketBytesPerSecond: 'a Unix socket',
  hashBytesPerSecond: 'XXH64 on one core',
} as const satisfies Record<keyof MachineLimits, string>

function limitsOf(notes: readonly LimitsNote[]): Record<string, number> {
  const names = Object.keys(LIMITS) as (keyof MachineLimits)[]
  if (notes.length === 0) return {}
  return Object.fromEntries(names.map((name) => [name, median(notes.map((note) => note[name]))]))
}

function workloadReport(name: WorkloadName, samples: readonly Sample[]): WorkloadReport {
  const { title, unit } = WORKLOADS[name]
  const systems: Record<string, SystemFigures> = {}
  for (const system of new Set(samples.map((sample) => sample.system))) {
    const own = samples.filter((sample) => sample.system === system)
    const per = unit === 'MB/s' ? 1e9 : 1000
    systems[system] = {
      rate: summary(own.map(rateOf), 0),
      cpuSeconds: round(median(own.map(({ cpuSeconds, amount }) => cpuSeconds / (amount / per))), 2),
      otherCpuShare: Math.max(...own.map(({ otherCpuShare }) => otherCpuShare)),
    }
  }
  const rate = (system: string): number => systems[system]?.rate.p50 ?? 0
  const peers = Object.keys(systems)
    .filter((system) => !OURS.test(system))
    .sort((one, other) => rate(other) - rate(one))
  const ratiosOf = (way: string) => Object.fromEntries(peers.map((peer) => [peer, round(rate(way) / rate(peer), 2)]))
  const ways = Object.keys(systems).filter((system) => OURS.test(system))
  const ratios = Object.fromEntries(ways.map((way) => [way, ratiosOf(way)]))
  return { title, unit, amount: samples[0]?.amount ?? 0, systems, ratios, bestPeer: peers[0] ?? null }
}

/** What a column or a bar is called. */
export const titleOf = (report: PeersReport, system: string): string => report.systems[system]?.title ?? WAYS[system] ?? system

/** The systems of a report, this project first, in the order of their first sample. */
export function systemsOf(report: PeersReport): string[] {
  const found = new Set(Object.values(report.workloads).flatMap(({ systems }) => Object.keys(systems)))
  return [...found].sort((one, other) => Number(OURS.test(other)) - Number(OURS.test(one)))
}

/** A table in Markdown: medians, CPU beside them, and how many times as fast this project's library is. */
export function tableOf(report: PeersReport): string {
  const systems = systemsOf(report)
  const head = ['workload', ...systems.map((system) => titleOf(report, system))]
  const rows = Object.values(report.workloads).map(({ title, unit, systems: figures, ratios }) => {
    const cell = (system: string): string => {
      const found = figures[system]
      if (!found) return ''
      const ratio = ratios['cairn']?.[system]
      return `${grouped(found.rate.p50)} ${unit} (${found.cpuSeconds} s)${ratio === undefined ? '' : `: ${ratio}×`}`
    }
    return [title, ...systems.map(cell)]
  })
  const lines = [head, head.map(() => '---'), ...rows].map((cells) => `| ${cells.join(' | ')} |`)
  const absent = report.unavailable.map(
    ({ title, round: number, workload, reason }) =>
      `- ${title}${workload === undefined ? '' : `, ${workload}`}: unavailable in round ${number}: ${reason.replace(/\s+/g, ' ')}`,
  )
  const notes = Object.values(report.systems).map(({ title, version, durability }) => `- ${title} ${version}: ${durability}.`)
  return [lines.join('\n'), '', LEGEND, '', ...notes, ...machineNotes(report), ...absent].join('\n')
}

/** What the machine can do at all, and how much of it others had meanwhile. */
function machineNotes({ limits, workloads }: PeersReport): string[] {
  const shares = Object.values(workloads).flatMap(({ systems }) =>
    Object.values(systems).map(({ otherCpuShare }) => otherCpuShare),
  )
  const told = Object.entries(LIMITS).map(([name, words]) => `${words} ${grouped((limits[name] ?? 0) / 1e6)} MB/s`)
  return [
    ...(Object.keys(limits).length === 0 ? [] : [`- The machine itself: ${told.join(', ')}.`]),
    ...(shares.length === 0
      ? []
      : [`- Other programs, and the kernel on its own, had up to ${Math.round(Math.max(...shares) * 100)} % of its CPU time.`]),
  ]
}

/** 12345 as 12 345. */
export const grouped = (value: number): string => String(Math.round(value)).replace(/\B(?=(\d{3})+$)/g, ' ')
