/**
 * Question: does a master with a petabyte of metadata start, list and plan repairs as one with little does?
 *
 * 16 M chunks of 64 MiB with 48 M copies on 200 servers, in 10 M files. The rows are written by SQL into the master's own
 * schema (support/synthetic-chunks.ts), since by the API they would take hours; from then on all is the API and the real
 * protocol. Bound: nothing that is done at the start, for a page or for the first repair may look at all rows, so what
 * limits is a B-tree's depth, and for finding what a dead server held, 240 k look-ups. Goals: serving within 60 s of the
 * start, under 2 GiB, first page within 50 ms, first repair issued within 1 s of the server's death.
 */
import { createHash } from 'node:crypto'
import { statSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import { SystemClock } from '../../common/clock/system-clock.js'
import { endpoints } from '../../common/protocol/index.js'
import { SystemRandom } from '../../common/random/system-random.js'
import { HttpTransport } from '../../common/rpc/http/http-transport.js'
import { GiB } from '../../common/units.js'
import { sqliteConnection } from '../../master/index.js'
import { BenchMaster, databaseOf } from '../support/bench-master.js'
import { LoadConnection } from '../support/http-load.js'
import { listPage } from '../support/listing.js'
import { cpuSeconds } from '../support/process-watch.js'
import { RepairingServers } from '../support/repairing-servers.js'
import { latencies, round } from '../support/statistics.js'
import { chunkCountOf, fillChunks, SYNTHETIC_BUCKET, syntheticChunk } from '../support/synthetic-chunks.js'
import { Master } from '../support/synthetic-file.js'
import type { RunContext, Workload } from '../workload.js'

const GOALS = { startSeconds: 60, peakBytes: 2 * GiB, firstPageMs: 50, firstRepairSeconds: 1 }
const DEAD_AFTER_MS = 10_000
/** A server counts as dead soon, so that the run is about what comes after. Repair may begin half of that after the start. */
const TIMERS = ['--heartbeat-interval', '1s', '--suspect-after', '5s', '--dead-after', `${DEAD_AFTER_MS}ms`]
const COPY_MS = 250
const POLL_MS = 10
const PATIENCE_MS = 5 * 60_000

export const masterScale: Workload = {
  name: 'master-scale',
  question: 'does a master with a petabyte of metadata start, list and plan repairs as one with little does?',
  parameters: {
    files: { kind: 'count', smoke: 2_000, full: 10_000_000, help: 'files, 8 chunks in 5 of them; a multiple of 5' },
    servers: { kind: 'count', smoke: 10, full: 200, help: 'servers, each with the same share of the copies' },
    repairs: { kind: 'count', smoke: 100, full: 10_000, help: 'copies that are made before the run ends' },
    seed: { kind: 'count', smoke: 1, full: 1, help: 'without effect: the rows follow from the counts' },
  },
  run: masterScaleRun,
}

async function masterScaleRun({ parameters, directory, say }: RunContext) {
  const files = parameters.number('files')
  const count = parameters.number('servers')
  const transport = new HttpTransport()
  const file = databaseOf(directory)
  const servers = await joinedServers(directory, transport, count)
  const filling = performance.now()
  const connection = await sqliteConnection(file)
  fillChunks(connection, files, count, say)
  connection.close()
  const fillSeconds = round((performance.now() - filling) / 1000, 1)
  await using master = await BenchMaster.start(directory, TIMERS)
  say(`filled in ${fillSeconds} s, serving after ${round(master.startSeconds, 2)} s`)
  await using beating = servers
  servers.master = master.target.url
  servers.start()
  using connectionToMaster = await LoadConnection.open(master.target)
  const listing = await pages(connectionToMaster)
  const memoryAtRest = master.memory()['master']
  const repair = await repairAfterDeath(master, beating, new Master(transport, master.target), {
    connection: connectionToMaster,
    repairs: parameters.number('repairs'),
    say,
  })
  const memory = master.memory()
  await transport.close()
  const peakBytes = memory['master']?.peakBytes ?? NaN
  const { startSeconds } = master
  const reached = {
    startSeconds,
    peakBytes,
    firstPageMs: listing.firstRequestMs,
    firstRepairSeconds: repair.firstRepair.sinceRecordedSeconds,
  }
  const met = Object.entries(GOALS).every(([name, goal]) => reached[name as keyof typeof GOALS] < goal)
  return {
    files,
    chunks: chunkCountOf(files),
    copies: chunkCountOf(files) * 3,
    fillSeconds,
    databaseBytes: statSync(file).size,
    startSeconds: round(startSeconds, 2),
    ...listing,
    memoryAtRestBytes: memoryAtRest?.peakBytes,
    repair,
    memory,
    checksum: { sha256: createHash('sha256').update(listing.paths).digest('hex'), readBackEqual: true },
    goal: { ...GOALS, met },
    paths: undefined,
  }
}

/** Servers that a master knows, which has ended since: the rows name them. */
async function joinedServers(directory: string, transport: HttpTransport, count: number): Promise<RepairingServers> {
  await using master = await BenchMaster.start(directory, TIMERS)
  const servers = new RepairingServers({
    transport,
    clock: new SystemClock(),
    random: new SystemRandom(),
    token: master.serverToken,
    count,
    copyMs: COPY_MS,
    chunk: syntheticChunk,
  })
  servers.master = master.target.url
  await servers.join()
  return servers
}

async function pages(connection: LoadConnection) {
  const takenMs: number[] = []
  let paths = ''
  for (let page = 0; page < 50; page += 1) {
    const startedMs = performance.now()
    const { entries } = await listPage(connection, { prefix: `/${SYNTHETIC_BUCKET}/` })
    takenMs.push(performance.now() - startedMs)
    paths = entries.map(({ path }) => path).join('\n')
  }
  return { firstRequestMs: round(takenMs[0] as number, 1), firstPageMs: latencies(takenMs), paths }
}

interface Watching {
  readonly connection: LoadConnection
  readonly repairs: number
  readonly say: (line: string) => void
}

async function repairAfterDeath(
  master: BenchMaster,
  servers: RepairingServers,
  api: Master,
  { connection, repairs, say }: Watching,
) {
  const clock = new SystemClock()
  // No repair so soon after a start.
  await sleep(DEAD_AFTER_MS / 2 + 1_000)
  const { serverId, lastMs } = servers.kill(0)
  const recordedMs = await until(clock, async () => {
    const { servers: known } = await api.call(endpoints.listServers, { params: {}, query: { limit: 1000 } })
    return known.find(({ id }) => id === serverId)?.state === 'dead'
  })
  const cpuBefore = cpuSeconds(master.pid)
  await until(clock, async () => servers.firstCommandMs !== undefined)
  const firstMs = servers.firstCommandMs as number
  const firstRepair = {
    sinceRecordedSeconds: round(Math.max(0, firstMs - recordedMs) / 1000, 3),
    // Silence is looked at now and then only: this includes up to an interval of it.
    sinceDueSeconds: round((firstMs - lastMs - DEAD_AFTER_MS) / 1000, 3),
  }
  say(`dead ${round((recordedMs - lastMs) / 1000, 2)} s after its end, first repair ${firstRepair.sinceRecordedSeconds} s later`)
  servers.beatsMs.length = 0
  const pagesMs: number[] = []
  const before = servers.copies
  await until(clock, async () => {
    servers.check()
    const startedMs = performance.now()
    await listPage(connection, { prefix: `/${SYNTHETIC_BUCKET}/` })
    pagesMs.push(performance.now() - startedMs)
    return servers.copies - before >= repairs
  })
  const seconds = (clock.monotonic() - firstMs) / 1000
  const done = servers.copies - before
  say(`${done} copies in ${round(seconds, 1)} s`)
  return {
    firstRepair,
    copies: done,
    copiesPerSecond: round(done / seconds, 0),
    masterCpuSecondsPerSecond: round((cpuSeconds(master.pid) - cpuBefore) / seconds, 2),
    heartbeatMs: latencies(servers.beatsMs),
    firstPageMeanwhileMs: latencies(pagesMs),
  }
}

/** @returns when it held, by the clock */
async function until(clock: SystemClock, holds: () => Promise<boolean>): Promise<number> {
  const startedMs = clock.monotonic()
  while (!(await holds())) {
    if (clock.monotonic() - startedMs > PATIENCE_MS) throw new Error('it has not come about within five minutes')
    await sleep(POLL_MS)
  }
  return clock.monotonic()
}
