/**
 * Question: what does a thousand chunkservers' being alive cost a master, and does repair keep heartbeats waiting?
 *
 * The production master on a clock, network and database in memory, with a thousand servers that send a heartbeat a second
 * (support/repairing-servers.ts), all in this process: minutes of cluster time take as long as the CPU needs. One server
 * dies, and its chunks get new copies. Bound: one core. A CPU-second per second of cluster time would be the end: then
 * heartbeats wait for each other. What the servers' own side costs is found by letting a stub answer them for a while, and
 * taken off. The rows of the chunks are written by SQL (support/synthetic-chunks.ts).
 */
import { VirtualClock } from '../../common/clock/virtual-clock.js'
import { silentLogger } from '../../common/observe/logger.js'
import type { HeartbeatResult } from '../../common/protocol/cluster.js'
import { SeededRandom } from '../../common/random/seeded-random.js'
import { MemoryNetwork } from '../../common/rpc/memory-network.js'
import { routeHandler } from '../../common/rpc/routes.js'
import { Master, masterRoutes, openMemoryStore, sqliteConnection } from '../../master/index.js'
import { RepairingServers } from '../support/repairing-servers.js'
import { latencies, round } from '../support/statistics.js'
import { chunkCountOf, fillChunks, syntheticChunk } from '../support/synthetic-chunks.js'
import type { RunContext, Workload } from '../workload.js'

const TOKEN = 'bench'
const MASTER_URL = 'http://master:1'
const STUB_URL = 'http://stub:1'
/** 64 MiB at 100 MB/s. */
const COPY_MS = 650
/** Shorter than the silence after which a server counts as suspect. */
const STUB_SECONDS = 4
const CPU_SHARE_GOAL = 0.5
const PATIENCE_MS = 60 * 60_000

export const thousandServers: Workload = {
  name: 'thousand-servers',
  question: "what does a thousand chunkservers' being alive cost a master, and does repair keep heartbeats waiting?",
  parameters: {
    servers: { kind: 'count', smoke: 40, full: 1000, help: 'servers, in virtual time' },
    files: { kind: 'count', smoke: 1_000, full: 250_000, help: 'files, 8 chunks in 5 of them; a multiple of 5' },
    seconds: { kind: 'count', smoke: 5, full: 60, help: 'of cluster time in which nothing happens but heartbeats' },
    seed: { kind: 'count', smoke: 1, full: 1, help: 'of ids and choices' },
  },
  run: thousandServersRun,
}

async function thousandServersRun({ parameters, say }: RunContext) {
  const clock = new VirtualClock()
  const seed = parameters.number('seed')
  const connection = await sqliteConnection(':memory:')
  const store = await openMemoryStore(clock, new SeededRandom(seed), connection)
  const network = new MemoryNetwork(clock)
  const master = await Master.open({
    clock,
    random: new SeededRandom(seed + 1),
    log: silentLogger,
    store,
    settings: { repairStartDelayMs: 0 },
    tokens: [{ name: 'bench', token: TOKEN, scopes: ['admin'] }],
  })
  await network
    .transport('master')
    .listen({ host: 'master', port: 1 }, routeHandler(masterRoutes(master), master.routeServices()))
  const count = parameters.number('servers')
  const transport = network.transport('servers')
  const random = new SeededRandom(seed + 2)
  const servers = new RepairingServers({ transport, clock, random, token: TOKEN, count, copyMs: COPY_MS, chunk: syntheticChunk })
  servers.master = MASTER_URL
  await passing(clock, servers.join())
  fillChunks(connection, parameters.number('files'), count, say)
  servers.start()
  await clock.advance(2_000)

  const seconds = parameters.number('seconds')
  servers.beatsMs.length = 0
  const alive = await cpuOver(seconds, () => clock.advance(seconds * 1000))
  const beatMs = latencies(servers.beatsMs)
  await listenAsStub(network, servers.lastAnswer as HeartbeatResult)
  servers.master = STUB_URL
  const stub = await cpuOver(STUB_SECONDS, () => clock.advance(STUB_SECONDS * 1000))
  servers.master = MASTER_URL
  const idlePerSecond = alive.cpuPerSecond - stub.cpuPerSecond
  say(`${round(idlePerSecond, 3)} CPU-seconds of the master per second, ${round(stub.cpuPerSecond, 3)} of the servers`)

  const { serverId, lastMs } = servers.kill(0)
  await clock.until(() => master.cluster.views.byId(serverId)?.state === 'dead', PATIENCE_MS)
  const deadMs = clock.monotonic()
  servers.beatsMs.length = 0
  const cpu = process.cpuUsage()
  const isHealthy = async (): Promise<boolean> => {
    const health = await store.chunkHealth({})
    return health.healthy === health.total && health.sweeping === 0
  }
  while (!(await isHealthy())) {
    await clock.advance(500)
    servers.check()
    if (clock.monotonic() - deadMs > PATIENCE_MS) throw new Error('not repaired within an hour of cluster time')
  }
  const repairSeconds = (clock.monotonic() - deadMs) / 1000
  const used = process.cpuUsage(cpu)
  const repairPerSecond = (used.user + used.system) / 1e6 / repairSeconds - stub.cpuPerSecond
  const states = master.cluster.views.all().map(({ state }) => state)
  const others = states.filter((state) => state !== 'serving').length - 1
  await passing(clock, servers[Symbol.asyncDispose]())
  await passing(clock, master.close())
  say(`${servers.copies} copies in ${round(repairSeconds, 1)} s of cluster time`)
  const chunks = chunkCountOf(parameters.number('files'))
  return {
    servers: count,
    chunks,
    copies: chunks * 3,
    heartbeatsPerSecond: count,
    masterCpuSecondsPerSecond: { idle: round(idlePerSecond), repairing: round(repairPerSecond) },
    serversCpuSecondsPerSecond: round(stub.cpuPerSecond),
    heartbeatMs: { idle: beatMs, repairing: latencies(servers.beatsMs) },
    repair: {
      deadAfterSeconds: round((deadMs - lastMs) / 1000, 1),
      firstCommandSeconds: round(((servers.firstCommandMs ?? NaN) - deadMs) / 1000, 2),
      seconds: round(repairSeconds, 1),
      copies: servers.copies,
    },
    othersThatChangedState: others,
    memory: { peakBytes: process.resourceUsage().maxRSS * 1024, heapBytes: process.memoryUsage().heapUsed },
    goal: {
      masterCpuSecondsPerSecond: CPU_SHARE_GOAL,
      met: Math.max(idlePerSecond, repairPerSecond) < CPU_SHARE_GOAL && others === 0,
    },
  }
}

/** Lets time pass until the work is done. */
async function passing<T>(clock: VirtualClock, work: Promise<T>): Promise<T> {
  let settled = false
  const done = work.finally(() => (settled = true))
  done.catch(() => undefined)
  await clock.until(() => settled, PATIENCE_MS)
  return done
}

/** CPU time of this process per second of cluster time. */
async function cpuOver(seconds: number, work: () => Promise<unknown>): Promise<{ readonly cpuPerSecond: number }> {
  const before = process.cpuUsage()
  await work()
  const { user, system } = process.cpuUsage(before)
  return { cpuPerSecond: (user + system) / 1e6 / seconds }
}

/** Answers every heartbeat with what a master last answered, at no cost. */
async function listenAsStub(network: MemoryNetwork, answer: HeartbeatResult): Promise<void> {
  const body = new TextEncoder().encode(JSON.stringify({ ...answer, commands: [] }))
  const headers = { 'content-type': 'application/json' }
  await network.transport('stub').listen({ host: 'stub', port: 1 }, async () => ({ status: 200, headers, body }))
}
