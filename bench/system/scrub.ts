/**
 * Question: how fast are all copies read from their disks and checked, when it is asked for?
 *
 * Bound: three servers read one disk past the page cache, so the disk's direct read rate; and a hash of every byte, by as many
 * cores as there are. `cairn verify --all` walks the files and has each copy of each chunk read where it lies; no byte
 * crosses the network. The scrub in the background does the same, spread over 30 days.
 */
import { rmSync } from 'node:fs'
import path from 'node:path'
import { GiB, MiB } from '../../common/units.js'
import { BenchCluster, type CommandFigures } from '../support/bench-cluster.js'
import { limitsSummary, measureLimits, type MachineLimits } from '../support/machine-limits.js'
import { ProcessWatch } from '../support/process-watch.js'
import { writeRandomFile } from '../support/random-data.js'
import { median, round, summary } from '../support/statistics.js'
import type { RunContext, Workload } from '../workload.js'
import { medianCpu } from './upload-stream.js'

const COPIES = 3

export const scrub: Workload = {
  name: 'scrub',
  question: 'how fast are all copies read from their disks and checked?',
  parameters: {
    bytes: { kind: 'bytes', smoke: 64 * MiB, full: 4 * GiB, help: 'size of the file, of which there are three copies' },
    runs: { kind: 'count', smoke: 1, full: 5, help: 'times that everything is checked' },
    seed: { kind: 'count', smoke: 1, full: 1, help: 'of the bytes' },
  },
  run: scrubRun,
}

async function scrubRun({ parameters, directory, say }: RunContext) {
  const bytes = parameters.number('bytes')
  const source = path.join(directory, 'source')
  const sha256 = await writeRandomFile(source, bytes, parameters.number('seed'))
  await using cluster = await BenchCluster.start(path.join(directory, 'cluster'))
  await cluster.run({ args: ['put', source, '/bench/source'] })
  rmSync(source)
  const limits: MachineLimits[] = []
  const commands: CommandFigures[] = []
  using watch = new ProcessWatch()
  cluster.watchServers(watch)
  for (let run = 1; run <= parameters.number('runs'); run += 1) {
    limits.push(await measureLimits(directory, Math.min(bytes, GiB)))
    const command = await cluster.run({ args: ['verify', '--all'] }, watch)
    if (command.json['good'] !== command.json['copies'])
      throw new Error(`not all copies are good: ${JSON.stringify(command.json)}`)
    commands.push(command)
    say(`run ${run}: ${round((bytes * COPIES) / command.wallSeconds / 1e6, 0)} MB/s`)
  }
  const rates = commands.map(({ wallSeconds }) => (bytes * COPIES) / wallSeconds)
  return {
    bytes,
    copies: commands.at(-1)?.json['copies'],
    limits: limitsSummary(limits),
    /** Of copies: three times the file. */
    bytesPerSecond: summary(rates, 0),
    ratioToDirectRead: round(median(rates) / median(limits.map((one) => one.directReadBytesPerSecond))),
    cpuSecondsPerGB: medianCpu(commands, bytes * COPIES),
    otherCpuShare: summary(commands.map(({ otherCpuShare }) => otherCpuShare)),
    memory: watch.figures(),
    checksum: { sha256, readBackEqual: true },
  }
}
