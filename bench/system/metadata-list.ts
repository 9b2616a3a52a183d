/**
 * Question: how long does a page of a listing take in a bucket of a million files, and does the size of the bucket matter?
 *
 * Bound: a page of 1000 entries is one run along the B-tree of names, so it costs its own rows and its JSON, some
 * milliseconds of one core, whatever else the bucket holds. Goal: the first page within 50 ms, also as the first request
 * that a master serves. A bucket of one page beside it says what the size of the bucket adds. With a delimiter the files
 * fold into prefixes, past each of which the listing seeks. The files are written by SQL (support/synthetic-names.ts).
 */
import { createHash } from 'node:crypto'
import { SeededRandom } from '../../common/random/seeded-random.js'
import { LIST_PAGE_MAX } from '../../common/protocol/files.js'
import { BenchMaster, databaseOf, perThousand } from '../support/bench-master.js'
import { drive, LoadConnection, type LoadTarget } from '../support/http-load.js'
import { listAll, listPage, type PageOptions } from '../support/listing.js'
import { latencies, median, round, summary } from '../support/statistics.js'
import { fillBucket, syntheticPath } from '../support/synthetic-names.js'
import type { RunContext, Workload } from '../workload.js'

const FIRST_PAGE_MS_GOAL = 50
const [LARGE, SMALL] = ['bench', 'small']

export const metadataList: Workload = {
  name: 'metadata-list',
  question: 'how long does a page of a listing take, and does the size of the bucket matter?',
  parameters: {
    entries: { kind: 'count', smoke: 3_000, full: 1_000_000, help: 'files in the bucket (10000000 for the larger case)' },
    pages: { kind: 'count', smoke: 5, full: 200, help: 'pages of each kind, and per run of all connections together' },
    connections: { kind: 'count', smoke: 16, full: 16, help: 'connections, each with one request at a time' },
    runs: { kind: 'count', smoke: 1, full: 5, help: 'masters that are started, and runs' },
    seed: { kind: 'count', smoke: 1, full: 1, help: 'of where in the bucket pages begin' },
  },
  run: metadataListRun,
}

async function metadataListRun({ parameters, directory, say }: RunContext) {
  const entries = parameters.number('entries')
  const pages = parameters.number('pages')
  const random = new SeededRandom(parameters.number('seed'))
  await fillBucket(databaseOf(directory), LARGE, entries)
  await fillBucket(databaseOf(directory), SMALL, LIST_PAGE_MAX)
  const somewhere = (): PageOptions => ({ prefix: `/${LARGE}/`, after: syntheticPath(LARGE, random.integer(entries)) })
  const kinds: Record<string, () => PageOptions> = {
    firstPageMs: () => ({ prefix: `/${LARGE}/` }),
    pageAnywhereMs: somewhere,
    foldedPageMs: () => ({ prefix: `/${LARGE}/`, delimiter: '/' }),
    pageOfSmallBucketMs: () => ({ prefix: `/${SMALL}/` }),
  }
  const taken = Object.fromEntries(Object.keys(kinds).map((kind) => [kind, [] as number[]]))
  const coldMs: number[] = []
  const rates: number[] = []
  const spent = { master: 0, client: 0 }
  for (let run = 1; run <= parameters.number('runs'); run += 1) {
    await using master = await BenchMaster.start(directory)
    using connection = await LoadConnection.open(master.target)
    coldMs.push(await timed(connection, { prefix: `/${LARGE}/` }))
    for (let page = 0; page < pages; page += 1)
      for (const [kind, options] of Object.entries(kinds)) (taken[kind] as number[]).push(await timed(connection, options()))
    const list = async (one: LoadConnection): Promise<void> => void (await listPage(one, somewhere()))
    const { result, cpu } = await master.costOf(() => drive(master.target, parameters.number('connections'), pages, list))
    rates.push(pages / result.seconds)
    spent.master += cpu.master
    spent.client += cpu.client
    say(
      `run ${run}: first page ${round(coldMs.at(-1) as number, 1)} ms, all together ${round(rates.at(-1) as number, 0)} pages/s`,
    )
  }
  await using master = await BenchMaster.start(directory)
  const firstPage = median(taken['firstPageMs'] as number[])
  return {
    entries,
    firstRequestMs: summary(coldMs, 1),
    ...Object.fromEntries(Object.entries(taken).map(([kind, values]) => [kind, latencies(values)])),
    pagesPerSecond: summary(rates, 0),
    cpuSecondsPer1000: perThousand(spent, pages * rates.length),
    ...(await walk(master.target, entries)),
    memory: master.memory(),
    goal: { firstPageMs: FIRST_PAGE_MS_GOAL, met: Math.max(firstPage, median(coldMs)) < FIRST_PAGE_MS_GOAL },
  }
}

async function timed(connection: LoadConnection, options: PageOptions): Promise<number> {
  const startedMs = performance.now()
  await listPage(connection, options)
  return performance.now() - startedMs
}

/** Pages through the whole bucket. @throws when something is missing or out of order */
async function walk(target: LoadTarget, entries: number) {
  const startedMs = performance.now()
  const pagesMs: number[] = []
  const listed = await listAll(target, `/${LARGE}/`, (tookMs) => pagesMs.push(tookMs))
  const entriesPerSecond = Math.round((listed.length / (performance.now() - startedMs)) * 1000)
  const wrong = listed.findIndex((path, index) => path !== syntheticPath(LARGE, index))
  if (listed.length !== entries || wrong !== -1)
    throw new Error(`the listing has ${listed.length} files, the first wrong one at ${wrong}`)
  const hash = createHash('sha256')
  for (const path of listed) hash.update(path)
  return { walk: { entriesPerSecond, pageMs: latencies(pagesMs) }, checksum: { sha256: hash.digest('hex'), readBackEqual: true } }
}
