/**
 * Question: how fast does a file come back, verified, and what does that cost in CPU?
 *
 * Bound: chunkservers read past the page cache, so each byte comes from the disk once, crosses loopback once, is hashed
 * on both sides, and is written to the target file: one read and one write of the disk, about 1 CPU-second per GB.
 * `discard` leaves the target out (`get PATH -` to nowhere). `cold` drops the machine's caches first, which takes root;
 * it should differ from `hot` by little, since nothing relies on them.
 */
import { rmSync } from 'node:fs'
import path from 'node:path'
import { GiB, MiB } from '../../common/units.js'
import { BenchCluster, type Command, type CommandFigures } from '../support/bench-cluster.js'
import { dropCaches, mayDropCaches } from '../support/caches.js'
import { limitsSummary, measureLimits, type MachineLimits } from '../support/machine-limits.js'
import { ProcessWatch } from '../support/process-watch.js'
import { sha256OfFile, writeRandomFile } from '../support/random-data.js'
import { median, round, summary } from '../support/statistics.js'
import type { RunContext, Workload } from '../workload.js'
import { medianCpu } from './upload-stream.js'

export const downloadStream: Workload = {
  name: 'download-stream',
  question: 'how fast does a file come back, verified, and what does that cost in CPU?',
  parameters: {
    bytes: { kind: 'bytes', smoke: 256 * MiB, full: 4 * GiB, help: 'size of the file' },
    runs: { kind: 'count', smoke: 1, full: 3, help: 'gets of each kind' },
    seed: { kind: 'count', smoke: 1, full: 1, help: 'of the bytes' },
  },
  run: downloadStreamRun,
}

type Kind = 'hot' | 'cold' | 'discard'

async function downloadStreamRun({ parameters, directory, say }: RunContext) {
  const bytes = parameters.number('bytes')
  const source = path.join(directory, 'source')
  const target = path.join(directory, 'target')
  const sha256 = await writeRandomFile(source, bytes, parameters.number('seed'))
  await using cluster = await BenchCluster.start(path.join(directory, 'cluster'))
  await cluster.run({ args: ['put', source, '/bench/source'] })
  rmSync(source)
  using watch = new ProcessWatch()
  cluster.watchServers(watch)
  const found: Record<Kind, CommandFigures[]> = { hot: [], cold: [], discard: [] }
  const limits: MachineLimits[] = []
  const kinds: Kind[] = mayDropCaches() ? ['hot', 'cold', 'discard'] : ['hot', 'discard']
  for (let run = 1; run <= parameters.number('runs'); run += 1) {
    limits.push(await measureLimits(directory, Math.min(bytes, GiB)))
    for (const kind of kinds) {
      if (kind === 'cold') dropCaches()
      const discard = kind === 'discard'
      const get: Command = discard
        ? { args: ['get', '/bench/source', '-'], output: 'nowhere' }
        : { args: ['get', '/bench/source', target] }
      const command = await cluster.run(get, watch)
      found[kind].push(command)
      say(`run ${run}, ${kind}: ${round(bytes / command.wallSeconds / 1e6, 0)} MB/s`)
      if (!discard && (await sha256OfFile(target)) !== sha256)
        throw new Error(`run ${run}, ${kind}: what came back is not what was put`)
      rmSync(target, { force: true })
    }
  }
  const figures = Object.fromEntries(kinds.map((kind) => [kind, figuresOf(bytes, found[kind])]))
  return {
    bytes,
    runs: parameters.number('runs'),
    limits: limitsSummary(limits),
    ...figures,
    /** To what one direct reader gets from the same disk, which writes nothing. */
    discardToDirectRead: round(
      bytes /
        median(found.discard.map(({ wallSeconds }) => wallSeconds)) /
        median(limits.map((one) => one.directReadBytesPerSecond)),
    ),
    memory: watch.figures(),
    checksum: { sha256, readBackEqual: true },
  }
}

const figuresOf = (bytes: number, commands: readonly CommandFigures[]) => ({
  bytesPerSecond: summary(
    commands.map(({ wallSeconds }) => bytes / wallSeconds),
    0,
  ),
  seconds: summary(commands.map(({ wallSeconds }) => wallSeconds)),
  cpuSecondsPerGB: medianCpu(commands, bytes),
  otherCpuShare: summary(commands.map(({ otherCpuShare }) => otherCpuShare)),
})
