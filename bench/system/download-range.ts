/**
 * Question: how many ranges a second can be read out of a large file, verified, and how long does one take?
 *
 * Bound: the unit of verification is a leaf of 1 MiB, so a range of 1 MiB that begins anywhere costs the disk, the hashes and
 * the network two leaves: half of the disk's direct read rate, or half of what the CPU's hashing and sending allow. One
 * client process, so many ranges at once. Every range is compared with the source.
 */
import { createHash } from 'node:crypto'
import { open, type FileHandle } from 'node:fs/promises'
import path from 'node:path'
import { openNodeClient, type CairnClient, type FileInfo } from '../../client/index.js'
import { SeededRandom } from '../../common/random/seeded-random.js'
import { GiB, MiB } from '../../common/units.js'
import { BenchCluster } from '../support/bench-cluster.js'
import { costOf, type Cost } from '../support/cost.js'
import { limitsSummary, measureLimits, type MachineLimits } from '../support/machine-limits.js'
import { cpuSeconds, ProcessWatch } from '../support/process-watch.js'
import { writeRandomFile } from '../support/random-data.js'
import { latencies, summary } from '../support/statistics.js'
import type { RunContext, Workload } from '../workload.js'

export const downloadRange: Workload = {
  name: 'download-range',
  question: 'how many ranges a second can be read out of a large file, and how long does one take?',
  parameters: {
    bytes: { kind: 'bytes', smoke: 64 * MiB, full: 4 * GiB, help: 'size of the file' },
    range: { kind: 'bytes', smoke: 1 * MiB, full: 1 * MiB, help: 'size of a range' },
    ranges: { kind: 'count', smoke: 40, full: 1_000, help: 'per run' },
    connections: { kind: 'count', smoke: 4, full: 16, help: 'ranges at once' },
    runs: { kind: 'count', smoke: 1, full: 5, help: 'each with ranges of its own' },
    seed: { kind: 'count', smoke: 1, full: 1, help: 'of the bytes and of where ranges begin' },
  },
  run: downloadRangeRun,
}

async function downloadRangeRun({ parameters, directory, say }: RunContext) {
  const [bytes, seed] = [parameters.number('bytes'), parameters.number('seed')]
  const source = path.join(directory, 'source')
  const sha256 = await writeRandomFile(source, bytes, seed)
  await using cluster = await BenchCluster.start(path.join(directory, 'cluster'))
  await cluster.run({ args: ['put', source, '/bench/source'] })
  const random = new SeededRandom(seed)
  const limits: MachineLimits[] = []
  const costs: Cost[] = []
  const tookMs: number[] = []
  const clientCpu: number[] = []
  const { master, token } = cluster.addresses
  const client = openNodeClient({ masters: [master], token })
  const handle = await open(source)
  using watch = new ProcessWatch()
  cluster.watchServers(watch)
  watch.watch('client', process.pid)
  try {
    const reader = new RangeReader(client, await client.stat('/bench/source'), handle, parameters.number('range'))
    for (let run = 1; run <= parameters.number('runs'); run += 1) {
      limits.push(await measureLimits(directory, Math.min(bytes, GiB)))
      const starts = Array.from({ length: parameters.number('ranges') }, () => random.integer(bytes - parameters.number('range')))
      const cpuBefore = cpuSeconds(process.pid)
      const { result, cost } = await costOf(
        () => cluster.processes.map(({ pid }) => pid),
        () => reader.readAll(starts, parameters.number('connections')),
      )
      clientCpu.push(cpuSeconds(process.pid) - cpuBefore)
      costs.push(cost)
      tookMs.push(...result)
      say(`run ${run}: ${Math.round(starts.length / cost.wallSeconds)} ranges/s`)
    }
  } finally {
    await client.close()
    await handle.close()
  }
  const moved = parameters.number('ranges') * parameters.number('range')
  return {
    bytes,
    limits: limitsSummary(limits),
    perSecond: summary(
      costs.map(({ wallSeconds }) => parameters.number('ranges') / wallSeconds),
      0,
    ),
    bytesPerSecond: summary(
      costs.map(({ wallSeconds }) => moved / wallSeconds),
      0,
    ),
    ms: latencies(tookMs),
    /** The client's share includes the comparison with the source. */
    cpuSecondsPerGB: {
      client: summary(
        clientCpu.map((seconds) => seconds / (moved / 1e9)),
        2,
      ),
      servers: summary(
        costs.map((cost) => cost.cpuSeconds / (moved / 1e9)),
        2,
      ),
    },
    memory: watch.figures(),
    checksum: { sha256, readBackEqual: true },
  }
}

class RangeReader {
  readonly #client: CairnClient
  readonly #file: FileInfo
  readonly #source: FileHandle
  readonly #rangeBytes: number

  constructor(client: CairnClient, file: FileInfo, source: FileHandle, rangeBytes: number) {
    this.#client = client
    this.#file = file
    this.#source = source
    this.#rangeBytes = rangeBytes
  }

  /** @returns how long each took, in milliseconds @throws when one is not what the source holds */
  async readAll(starts: readonly number[], atOnce: number): Promise<number[]> {
    const tookMs: number[] = []
    let next = 0
    const work = async (): Promise<void> => {
      while (next < starts.length) tookMs.push(await this.#read(starts[next++] as number))
    }
    await Promise.all(Array.from({ length: atOnce }, work))
    return tookMs
  }

  async #read(start: number): Promise<number> {
    const range = { start, end: start + this.#rangeBytes }
    const found = createHash('sha256')
    const startedMs = performance.now()
    for await (const piece of this.#client.download(this.#file, { range })) found.update(piece)
    const tookMs = performance.now() - startedMs
    const wanted = Buffer.alloc(this.#rangeBytes)
    await this.#source.read(wanted, 0, wanted.length, start)
    if (found.digest('hex') !== createHash('sha256').update(wanted).digest('hex'))
      throw new Error(`the range from ${start} is not what was put`)
    return tookMs
  }
}
