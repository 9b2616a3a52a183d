/**
 * Question: how long does the master take to make a 100 GiB file visible, and to take in its chunks?
 *
 * Bound: the commit writes a constant number of rows and reads each of the 1600 chunks with its copies once, so the
 * master's CPU limits, at some microseconds per chunk, plus one sync of the disk. Reports write four rows per chunk:
 * JSON, receipts (three signatures per chunk) and SQLite, on one core. Allocations and reports come in batches as the
 * client sends them. Goal: commit, and reports and commit together, below one second.
 */
import { createHash } from 'node:crypto'
import { REPORT_BATCH_MAX } from '../../common/protocol/uploads.js'
import { SystemRandom } from '../../common/random/system-random.js'
import { HttpTransport } from '../../common/rpc/http/http-transport.js'
import { GiB } from '../../common/units.js'
import { BenchMaster } from '../support/bench-master.js'
import { cpuSeconds } from '../support/process-watch.js'
import { latencies, median, round, summary } from '../support/statistics.js'
import { CHUNK_BYTES, Master, SyntheticFile, type Timing } from '../support/synthetic-file.js'
import { SyntheticServers } from '../support/synthetic-servers.js'
import type { RunContext, Workload } from '../workload.js'

const COMMIT_SECONDS_GOAL = 1
const SERVERS = 6

export const commitMetadata: Workload = {
  name: 'commit-metadata',
  question: 'how long does the master take to make a large file visible, and to take in its chunks?',
  parameters: {
    bytes: { kind: 'bytes', smoke: 100 * GiB, full: 100 * GiB, help: 'size of the file, in chunks of 64 MiB' },
    runs: { kind: 'count', smoke: 1, full: 9, help: 'files, one after the other in one database' },
    batch: { kind: 'count', smoke: REPORT_BATCH_MAX, full: REPORT_BATCH_MAX, help: 'chunks per report' },
    seed: { kind: 'count', smoke: 1, full: 1, help: 'of the checksums' },
  },
  run: commitMetadataRun,
}

async function commitMetadataRun({ parameters, directory, say }: RunContext) {
  const bytes = parameters.number('bytes')
  await using server = await BenchMaster.start(directory)
  const { pid, target } = server
  const transport = new HttpTransport()
  try {
    const join = { master: target.url, token: server.serverToken, count: SERVERS }
    using servers = await SyntheticServers.start({ transport, random: new SystemRandom(), ...join })
    const cpuBefore = cpuSeconds(pid)
    const timings: Timing[] = []
    const files: string[] = []
    for (let run = 1; run <= parameters.number('runs'); run += 1) {
      const file = new SyntheticFile(new Master(transport, target), servers, parameters.number('seed') + run)
      const timing = await file.upload(`/bench/synthetic-${run}`, bytes, parameters.number('batch'))
      timings.push(timing)
      files.push(await file.readBack())
      say(`run ${run}: reports ${round(sum(timing.reportsMs), 0)} ms, commit ${round(timing.commitMs, 1)} ms`)
    }
    const cpuSecondsPerFile = round((cpuSeconds(pid) - cpuBefore) / timings.length)
    const sha256 = createHash('sha256').update(files.join()).digest('hex')
    const checksum = { sha256, readBackEqual: true }
    return { bytes, chunks: bytes / CHUNK_BYTES, ...figuresOf(timings), cpuSecondsPerFile, memory: server.memory(), checksum }
  } finally {
    await transport.close()
  }
}

const sum = (values: readonly number[]): number => values.reduce((total, value) => total + value, 0)

function figuresOf(timings: readonly Timing[]) {
  const seconds = (of: (timing: Timing) => number) =>
    summary(
      timings.map((timing) => of(timing) / 1000),
      4,
    )
  const reportAndCommit = (timing: Timing): number => sum(timing.reportsMs) + timing.commitMs
  const worstSeconds = Math.max(...timings.map(reportAndCommit)) / 1000
  return {
    runs: timings.length,
    openSeconds: seconds(({ openMs }) => openMs),
    allocateSeconds: seconds(({ allocationsMs }) => sum(allocationsMs)),
    reportSeconds: seconds(({ reportsMs }) => sum(reportsMs)),
    commitSeconds: seconds(({ commitMs }) => commitMs),
    reportAndCommitSeconds: seconds(reportAndCommit),
    allocationMs: latencies(timings.flatMap(({ allocationsMs }) => allocationsMs)),
    reportMs: latencies(timings.flatMap(({ reportsMs }) => reportsMs)),
    commitMs: latencies(timings.map(({ commitMs }) => commitMs)),
    goal: {
      reportAndCommitSeconds: COMMIT_SECONDS_GOAL,
      met: median(timings.map(reportAndCommit)) / 1000 < COMMIT_SECONDS_GOAL,
      worstSeconds: round(worstSeconds, 4),
    },
  }
}
