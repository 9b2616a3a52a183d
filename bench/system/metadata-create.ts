/**
 * Question: how many files a second come into being, when it is the metadata alone that limits?
 *
 * Each is an empty file: an upload opened and committed, two requests, each of which is answered after its transaction is
 * synced (HDFS too needs two for it, create and complete). Bound: the syncs of the disk, which group commit shares among
 * the connections, and one core for the master's requests. Goal: five times HDFS's 490 a second.
 */
import { createHash } from 'node:crypto'
import { fileChecksum } from '../../common/checksum/tree.js'
import { SeededRandom } from '../../common/random/seeded-random.js'
import { bytesToHex } from '../../common/ids.js'
import { BenchMaster, perThousand } from '../support/bench-master.js'
import { drive, parsed, type LoadConnection, type LoadTarget } from '../support/http-load.js'
import { listAll } from '../support/listing.js'
import { latencies, median, round, summary } from '../support/statistics.js'
import type { RunContext, Workload } from '../workload.js'

const PER_SECOND_GOAL = 2450
const BUCKET = 'bench'

export const metadataCreate: Workload = {
  name: 'metadata-create',
  question: 'how many files a second come into being, when the metadata alone limits?',
  parameters: {
    files: { kind: 'count', smoke: 300, full: 20_000, help: 'empty files per run' },
    connections: { kind: 'count', smoke: 16, full: 16, help: 'connections, each with one request at a time' },
    runs: { kind: 'count', smoke: 1, full: 5, help: 'runs, one after the other in one database' },
    seed: { kind: 'count', smoke: 1, full: 1, help: 'of the names and request ids' },
  },
  run: metadataCreateRun,
}

async function metadataCreateRun({ parameters, directory, say }: RunContext) {
  const files = parameters.number('files')
  const random = new SeededRandom(parameters.number('seed'))
  await using master = await BenchMaster.start(directory)
  const rates: number[] = []
  const latenciesMs: number[] = []
  const spent = { master: 0, client: 0 }
  const created: string[] = []
  for (let run = 1; run <= parameters.number('runs'); run += 1) {
    const paths = Array.from({ length: files }, () => `/${BUCKET}/${bytesToHex(random.bytes(12))}`)
    const create = (connection: LoadConnection, index: number) =>
      createFile(connection, paths[index] as string, bytesToHex(random.bytes(16)))
    const { result, cpu } = await master.costOf(() => drive(master.target, parameters.number('connections'), files, create))
    rates.push(files / result.seconds)
    latenciesMs.push(...result.latenciesMs)
    spent.master += cpu.master
    spent.client += cpu.client
    created.push(...paths)
    say(`run ${run}: ${round(files / result.seconds, 0)} files/s`)
  }
  return {
    files,
    perSecond: summary(rates, 0),
    latencyMs: latencies(latenciesMs),
    cpuSecondsPer1000: perThousand(spent, created.length),
    memory: master.memory(),
    checksum: await readBack(master.target, created),
    goal: { perSecond: PER_SECOND_GOAL, met: median(rates) >= PER_SECOND_GOAL },
  }
}

/** Makes an empty file. */
export async function createFile(connection: LoadConnection, path: string, id: string): Promise<void> {
  const opening = { path, sizeBytes: 0, fingerprint: null, owner: 'bench', adoption: { kind: 'none' } }
  const opened = await connection.request('POST', '/v1/uploads', { json: opening, requestId: `${id}-open` })
  const { uploadId, writerEpoch } = parsed<{ uploadId: string; writerEpoch: number }>(opened)
  const json = { writerEpoch, sizeBytes: 0, chunkCount: 0, checksum: fileChecksum([]) }
  parsed(await connection.request('POST', `/v1/uploads/${uploadId}/commit`, { json, requestId: `${id}-commit` }))
}

/** @throws when other files are listed than were made */
async function readBack(target: LoadTarget, created: readonly string[]) {
  const listed = await listAll(target, `/${BUCKET}/`)
  const expected = [...created].sort()
  if (listed.join('\n') !== expected.join('\n'))
    throw new Error(`${created.length} files were created, ${listed.length} listed, or others`)
  return { sha256: createHash('sha256').update(expected.join('\n')).digest('hex'), readBackEqual: true }
}
