/**
 * Question: how close does a put with three synced copies on one machine come to what its disk can take?
 *
 * Bound: three copies share one disk, so no system can store faster than a third of what three plain direct writers
 * reach together; that is measured in the same run, turn by turn with the puts. The bytes also cross loopback three
 * times and are hashed four times, which costs about 1.5 to 2 CPU-seconds per GB: with few cores and a fast disk the CPU
 * is the nearer bound, so CPU per GB is printed beside the ratio. The source is read from the same disk. Goal: half of
 * the limit.
 */
import { rmSync } from 'node:fs'
import path from 'node:path'
import { GiB, MiB } from '../../common/units.js'
import { BenchCluster, type CommandFigures } from '../support/bench-cluster.js'
import { limitTool } from '../support/disk-limit.js'
import { perGigabyte, ProcessWatch, type CpuSplit, type MemoryFigures } from '../support/process-watch.js'
import { sha256OfFile, writeRandomFile } from '../support/random-data.js'
import { median, round, summary } from '../support/statistics.js'
import type { RunContext, Workload } from '../workload.js'

export const RATIO_GOAL = 0.5

export interface PutFigures {
  readonly command: CommandFigures
  readonly memory: Record<string, MemoryFigures>
  readonly readBackSha256: string
}

export const uploadStream: Workload = {
  name: 'upload-stream',
  question: 'how close does a put with three synced copies come to what the disk can take?',
  parameters: {
    bytes: { kind: 'bytes', smoke: 256 * MiB, full: 4 * GiB, help: 'size of the file' },
    runs: { kind: 'count', smoke: 1, full: 3, help: 'puts, each after a measurement of the disk' },
    warmup: { kind: 'bytes', smoke: 16 * MiB, full: 256 * MiB, help: 'put before each measured put, into the fresh cluster' },
    seed: { kind: 'count', smoke: 1, full: 1, help: 'of the bytes' },
  },
  run: uploadStreamRun,
}

async function uploadStreamRun({ parameters, directory, say }: RunContext) {
  const bytes = parameters.number('bytes')
  const source = path.join(directory, 'source')
  const warmup = path.join(directory, 'warmup')
  const sha256 = await writeRandomFile(source, bytes, parameters.number('seed'))
  await writeRandomFile(warmup, parameters.number('warmup'), parameters.number('seed') + 1)
  const tool = await limitTool()
  const limits: number[] = []
  const puts: PutFigures[] = []
  for (let run = 1; run <= parameters.number('runs'); run += 1) {
    const limit = await tool.measure(directory, bytes)
    limits.push(limit.bytesPerSecond)
    const put = await measurePut({ directory, source, warmup })
    puts.push(put)
    if (put.readBackSha256 !== sha256) throw new Error(`run ${run}: what was read back is not what was put`)
    say(`run ${run}: limit ${perSecond(limit.bytesPerSecond / 3)}, put ${perSecond(bytes / put.command.wallSeconds)}`)
  }
  return { bytes, runs: puts.length, ...figuresOf(bytes, tool.name, limits, puts), checksum: { sha256, readBackEqual: true } }
}

const perSecond = (value: number): string => `${round(value / 1e6, 0)} MB/s`

/** A cluster of its own for each put: the next one's disk space is free again. */
async function measurePut(files: { directory: string; source: string; warmup: string }): Promise<PutFigures> {
  const directory = path.join(files.directory, 'cluster')
  const back = path.join(files.directory, 'back')
  try {
    await using cluster = await BenchCluster.start(directory)
    await cluster.run({ args: ['put', files.warmup, '/bench/warmup'] })
    const { command, memory } = await watchedPut(cluster, files.source)
    await cluster.run({ args: ['get', '/bench/source', back] })
    return { command, memory, readBackSha256: await sha256OfFile(back) }
  } finally {
    for (const one of [directory, back, `${directory}.log`]) rmSync(one, { recursive: true, force: true })
  }
}

async function watchedPut(cluster: BenchCluster, source: string): Promise<Omit<PutFigures, 'readBackSha256'>> {
  using watch = new ProcessWatch()
  cluster.watchServers(watch)
  const command = await cluster.run({ args: ['put', source, '/bench/source'] }, watch)
  return { command, memory: watch.figures() }
}

function figuresOf(bytes: number, tool: string, limits: readonly number[], puts: readonly PutFigures[]) {
  const rates = puts.map(({ command }) => bytes / command.wallSeconds)
  const perReplica = limits.map((limit) => limit / 3)
  const ratio = median(rates) / median(perReplica)
  const commands = puts.map(({ command }) => command)
  return {
    limit: { tool, bytesPerSecond: summary(limits, 0), perReplicaBytesPerSecond: summary(perReplica, 0) },
    put: {
      bytesPerSecond: summary(rates, 0),
      /** Of the whole command; `ownSeconds` is what it says itself, without the start of its process. */
      seconds: summary(commands.map(({ wallSeconds }) => wallSeconds)),
      ownSeconds: summary(commands.map(({ json }) => Number(json['seconds']))),
    },
    ratioToLimit: round(ratio),
    goal: { ratioToLimit: RATIO_GOAL, met: ratio >= RATIO_GOAL },
    cpuSecondsPerGB: medianCpu(commands, bytes),
    otherCpuShare: summary(commands.map(({ otherCpuShare }) => otherCpuShare)),
    memory: puts.at(-1)?.memory,
  }
}

export function medianCpu(commands: readonly CommandFigures[], bytes: number): CpuSplit {
  const of = (part: keyof CpuSplit): number => median(commands.map(({ cpu }) => cpu[part]))
  const split = {
    client: of('client'),
    master: of('master'),
    chunkservers: of('chunkservers'),
    gateway: of('gateway'),
    total: of('total'),
  }
  return perGigabyte(split, bytes)
}
