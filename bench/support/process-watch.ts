/**
 * What processes cost, as the kernel counts it (`/proc`, Linux): CPU time, and resident memory over time. Figures of a
 * process that ends are those of the last look at it, at most one interval old.
 */
import { readFileSync } from 'node:fs'
import { MiB } from '../../common/units.js'
import { round } from './statistics.js'

/** USER_HZ: the unit of CPU times in `/proc`, 100 on every Linux that Node runs on. */
const TICKS_PER_SECOND = 100
const LOOK_EVERY_MS = 100
export const SAMPLES_MAX = 60

const fieldsOf = (file: string): string[] => {
  const text = readFileSync(file, 'utf8')
  // The process name may hold spaces and parentheses; the fields after it do not.
  return text.slice(text.lastIndexOf(')') + 2).split(' ')
}

/** User and system time of a process so far. */
export function cpuSeconds(pid: number): number {
  const fields = fieldsOf(`/proc/${pid}/stat`)
  return (Number(fields[11]) + Number(fields[12])) / TICKS_PER_SECOND
}

/** User and system time of this process's children that have ended. Exact, unlike a last look. */
export function endedChildrenCpuSeconds(): number {
  const fields = fieldsOf('/proc/self/stat')
  return (Number(fields[13]) + Number(fields[14])) / TICKS_PER_SECOND
}

/** Time that all cores together were busy so far, whoever with. */
export function machineBusySeconds(): number {
  const [user, nice, system, , , irq, softirq, steal] = (readFileSync('/proc/stat', 'utf8').split('\n')[0] as string)
    .split(/\s+/)
    .slice(1)
    .map(Number) as [number, number, number, number, number, number, number, number]
  return (user + nice + system + irq + softirq + steal) / TICKS_PER_SECOND
}

export interface MemoryFigures {
  /** The kernel's own high-water mark, since the process began. */
  readonly peakBytes: number
  readonly firstHalfMaxBytes: number
  readonly secondHalfMaxBytes: number
  /** Evenly spaced in time, in MiB to keep lines short; each is the highest of its span. */
  readonly samplesMiB: readonly number[]
}

interface Watched {
  readonly pid: number
  peakBytes: number
  readonly rssBytes: number[]
}

export class ProcessWatch implements Disposable {
  readonly #watched = new Map<string, Watched>()
  readonly #timer = setInterval(() => this.#look(), LOOK_EVERY_MS)

  watch(name: string, pid: number): void {
    this.#watched.set(name, { pid, peakBytes: 0, rssBytes: [] })
    this.#look()
  }

  #look(): void {
    for (const one of this.#watched.values()) {
      const status = statusOf(one.pid)
      if (!status) continue
      one.peakBytes = Math.max(one.peakBytes, status.peakBytes)
      one.rssBytes.push(status.rssBytes)
    }
  }

  /** By name. */
  figures(): Record<string, MemoryFigures> {
    return Object.fromEntries(
      [...this.#watched].map(([name, { peakBytes, rssBytes }]) => [name, memoryFigures(peakBytes, rssBytes)]),
    )
  }

  [Symbol.dispose](): void {
    clearInterval(this.#timer)
  }
}

/** Undefined once the process has ended. */
function statusOf(pid: number): { peakBytes: number; rssBytes: number } | undefined {
  let text: string
  try {
    text = readFileSync(`/proc/${pid}/status`, 'utf8')
  } catch {
    return undefined
  }
  const kibibytes = (field: string): number => Number(new RegExp(`^${field}:\\s+(\\d+) kB`, 'm').exec(text)?.[1] ?? NaN)
  const [peak, rss] = [kibibytes('VmHWM'), kibibytes('VmRSS')]
  // A zombie still has a status, without memory.
  return Number.isNaN(peak + rss) ? undefined : { peakBytes: peak * 1024, rssBytes: rss * 1024 }
}

export function memoryFigures(peakBytes: number, rssBytes: readonly number[]): MemoryFigures {
  const middle = Math.ceil(rssBytes.length / 2)
  const maxOf = (values: readonly number[]): number => values.reduce((max, value) => Math.max(max, value), 0)
  const count = Math.min(SAMPLES_MAX, rssBytes.length)
  const samples = Array.from({ length: count }, (_, index) =>
    maxOf(rssBytes.slice(Math.floor((index * rssBytes.length) / count), Math.floor(((index + 1) * rssBytes.length) / count))),
  )
  return {
    peakBytes,
    firstHalfMaxBytes: maxOf(rssBytes.slice(0, middle)),
    secondHalfMaxBytes: maxOf(rssBytes.slice(middle)),
    samplesMiB: samples.map((bytes) => round(bytes / MiB, 1)),
  }
}

export interface CpuSplit {
  readonly client: number
  readonly master: number
  readonly chunkservers: number
  readonly gateway: number
  /** Of all of the above. */
  readonly total: number
}

export const perGigabyte = (split: CpuSplit, bytes: number): CpuSplit => {
  const share = (seconds: number): number => round(seconds / (bytes / 1e9))
  return {
    client: share(split.client),
    master: share(split.master),
    chunkservers: share(split.chunkservers),
    gateway: share(split.gateway),
    total: share(split.total),
  }
}
