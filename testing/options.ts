/** How a cluster under test is set up. */

/** In milliseconds. What is not given is quick, so that a test need not wait a minute for a death. */
export interface TestTimers {
  /** Default 200. */
  readonly heartbeatIntervalMs?: number
  /** Silence after which a chunkserver gets no new writes. Default 1000. */
  readonly suspectAfterMs?: number
  /** Silence after which its chunks are rebuilt elsewhere. Default 3000. */
  readonly deadAfterMs?: number
  /** How long unreferenced chunks are kept; the commands' default of 45 minutes without. */
  readonly garbageGraceMs?: number
}

export interface TestClusterOptions {
  /** How many. Default 3. */
  readonly chunkservers?: number
  /** Failure domains: a number, or their names. Chunkserver *i* is in the *i*-th, from the start again after the last. */
  readonly zones?: number | readonly string[]
  /** Data directories per chunkserver, as if each were a disk. Default 1. */
  readonly disks?: number
  /** Most that chunks may take per data directory. */
  readonly capacityBytes?: number
  /** Whether a gateway runs too. Default false. */
  readonly gateway?: boolean
  /** Where everything lives; data that is there is gone on with, and kept. Default: a temporary one, removed at the end. */
  readonly directory?: string
  /** Keeps a temporary directory, to look at what a test has left. Default false. */
  readonly keepDirectory?: boolean
  readonly timers?: TestTimers
  /** Of the processes' logs. Default `info`. */
  readonly logLevel?: 'debug' | 'info' | 'warn' | 'error'
  /**
   * Further flags of `cairn master` and `cairn chunkserver`. Chunkservers give every chunk a file of its own, so that any copy
   * can be damaged, unless `--pack-below` says otherwise here.
   */
  readonly masterFlags?: readonly string[]
  readonly chunkserverFlags?: readonly string[]
}

const QUICK = { heartbeatIntervalMs: 200, suspectAfterMs: 1_000, deadAfterMs: 3_000 }

export function timerFlags(timers: TestTimers): string[] {
  const { heartbeatIntervalMs, suspectAfterMs, deadAfterMs, garbageGraceMs } = { ...QUICK, ...timers }
  const flags = ['--heartbeat-interval', `${heartbeatIntervalMs}ms`, '--suspect-after', `${suspectAfterMs}ms`]
  flags.push('--dead-after', `${deadAfterMs}ms`)
  return garbageGraceMs === undefined ? flags : [...flags, '--gc-grace', `${garbageGraceMs}ms`]
}

/** The zone of each of `count` chunkservers; empty names without zones. */
export function zonesOf(count: number, zones: TestClusterOptions['zones']): string[] {
  const names = typeof zones === 'number' ? Array.from({ length: zones }, (_, index) => `zone-${index + 1}`) : (zones ?? [])
  return Array.from({ length: count }, (_, index) => names[index % names.length] ?? '')
}
