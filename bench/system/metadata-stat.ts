/**
 * Question: how many files a second can be asked for, in a large bucket?
 *
 * Each request is `GET /v1/files/...` of one of a million files, drawn at random. Bound: one core of the master: it reads
 * on the thread that answers, three pages of a B-tree each. Goal: three times HDFS's 3.9 k a second. The files are
 * written by SQL beforehand (support/synthetic-names.ts); everything that is measured goes through the API.
 */
import { createHash } from 'node:crypto'
import type { FileInfo } from '../../common/protocol/files.js'
import { SeededRandom } from '../../common/random/seeded-random.js'
import { BenchMaster, databaseOf, perThousand } from '../support/bench-master.js'
import { drive, parsed, type LoadConnection } from '../support/http-load.js'
import { latencies, median, round, summary } from '../support/statistics.js'
import { fillBucket, syntheticPath } from '../support/synthetic-names.js'
import type { RunContext, Workload } from '../workload.js'

const PER_SECOND_GOAL = 11_700
const BUCKET = 'bench'

export const metadataStat: Workload = {
  name: 'metadata-stat',
  question: 'how many files a second can be asked for, in a large bucket?',
  parameters: {
    entries: { kind: 'count', smoke: 2_000, full: 1_000_000, help: 'files in the bucket' },
    requests: { kind: 'count', smoke: 1_000, full: 100_000, help: 'requests per run' },
    connections: { kind: 'count', smoke: 16, full: 16, help: 'connections, each with one request at a time' },
    runs: { kind: 'count', smoke: 1, full: 5, help: 'runs, one after the other on one master' },
    seed: { kind: 'count', smoke: 1, full: 1, help: 'of which files are asked for' },
  },
  run: metadataStatRun,
}

async function metadataStatRun({ parameters, directory, say }: RunContext) {
  const entries = parameters.number('entries')
  const requests = parameters.number('requests')
  await fillBucket(databaseOf(directory), BUCKET, entries)
  await using master = await BenchMaster.start(directory)
  const random = new SeededRandom(parameters.number('seed'))
  const hash = createHash('sha256')
  const rates: number[] = []
  const latenciesMs: number[] = []
  const spent = { master: 0, client: 0 }
  for (let run = 1; run <= parameters.number('runs'); run += 1) {
    const paths = Array.from({ length: requests }, () => syntheticPath(BUCKET, random.integer(entries)))
    const stat = async (connection: LoadConnection, index: number): Promise<void> => {
      const path = paths[index] as string
      const file = parsed<FileInfo>(await connection.request('GET', `/v1/files${path}`))
      if (file.path !== path) throw new Error(`${file.path} was answered for ${path}`)
    }
    const { result, cpu } = await master.costOf(() => drive(master.target, parameters.number('connections'), requests, stat))
    for (const path of paths) hash.update(path)
    rates.push(requests / result.seconds)
    latenciesMs.push(...result.latenciesMs)
    spent.master += cpu.master
    spent.client += cpu.client
    say(`run ${run}: ${round(requests / result.seconds, 0)} requests/s`)
  }
  return {
    entries,
    perSecond: summary(rates, 0),
    latencyMs: latencies(latenciesMs),
    cpuSecondsPer1000: perThousand(spent, latenciesMs.length),
    memory: master.memory(),
    checksum: { sha256: hash.digest('hex'), readBackEqual: true },
    goal: { perSecond: PER_SECOND_GOAL, met: median(rates) >= PER_SECOND_GOAL },
  }
}
