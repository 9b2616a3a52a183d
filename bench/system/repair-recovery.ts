/**
 * Question: how much of the bandwidth that repair is allowed does it use, and in which order does it work?
 *
 * Servers are killed under a filled cluster whose repair is capped (`--repair-bandwidth`). Bound: the cap times the
 * servers that are left, since each sends at most so much. GFS reports 440 MB/s of 1.56 GB/s allowed for one lost server,
 * and 77 % in its own terms; the goal is 77 %. With two servers lost at once, every chunk with a single copy must have a
 * second one within a tenth of the whole time, and before any other chunk gets its third.
 */
import { setTimeout as sleep } from 'node:timers/promises'
import { rmSync } from 'node:fs'
import path from 'node:path'
import { GiB, MiB } from '../../common/units.js'
import { BenchCluster } from '../support/bench-cluster.js'
import { sha256OfFile, writeRandomFile } from '../support/random-data.js'
import { median, round, summary } from '../support/statistics.js'
import type { RunContext, Workload } from '../workload.js'

const RATIO_GOAL = 0.77
const LAST_COPY_SHARE_GOAL = 0.1
const POLL_MS = 50
const PATIENCE_MS = 20 * 60_000
/** Silence is noticed quickly, so that the run is about copying; the order of the two deadlines is the usual one. */
const TIMERS = ['--heartbeat-interval', '250ms', '--suspect-after', '1s', '--dead-after', '4s']

export const repairRecovery: Workload = {
  name: 'repair-recovery',
  question: 'how much of what repair is allowed does it use, and do last copies come first?',
  parameters: {
    bytes: { kind: 'bytes', smoke: 64 * MiB, full: 2 * GiB, help: 'size of the file' },
    chunk: { kind: 'bytes', smoke: 1 * MiB, full: 8 * MiB, help: 'size of a chunk' },
    cap: { kind: 'bytes', smoke: 16 * MiB, full: 24 * MiB, help: 'what a server may send per second for repair' },
    servers: { kind: 'count', smoke: 5, full: 5, help: 'chunkservers; with more of them fewer chunks lose two copies' },
    lost: { kind: 'count', smoke: 1, full: 1, help: 'servers killed at once: 1 or 2' },
    runs: { kind: 'count', smoke: 1, full: 3, help: 'clusters that lose servers' },
  },
  run: repairRecoveryRun,
}

interface Recovery {
  readonly bytes: number
  /** From when copies are first under way until every chunk has its own. */
  readonly seconds: number
  /** From the kill until every chunk has its copies, and until none has a single one. */
  readonly totalSeconds: number
  readonly lastCopySeconds: number
  /** The most chunks with a single copy that were seen at once. */
  readonly lastCopies: number
}

async function repairRecoveryRun({ parameters, directory, say }: RunContext) {
  const bytes = parameters.number('bytes')
  const cap = parameters.number('cap')
  const lost = parameters.number('lost')
  const servers = parameters.number('servers')
  const source = path.join(directory, 'source')
  const sha256 = await writeRandomFile(source, bytes, 1)
  const recoveries: Recovery[] = []
  for (let run = 1; run <= parameters.number('runs'); run += 1) {
    const recovery = await recover(directory, source, sha256, { cap, lost, servers, chunk: parameters.number('chunk') })
    recoveries.push(recovery)
    say(
      `run ${run}: ${round(recovery.bytes / recovery.seconds / 1e6, 1)} MB/s, all copies back after ${round(recovery.totalSeconds, 1)} s`,
    )
  }
  const allowed = cap * (servers - lost)
  const rates = recoveries.map((one) => one.bytes / one.seconds)
  const shares = recoveries.map((one) => one.lastCopySeconds / one.totalSeconds)
  const ratio = median(rates) / allowed
  return {
    lost,
    allowedBytesPerSecond: allowed,
    bytesPerSecond: summary(rates, 0),
    ratioToAllowed: round(ratio),
    copiedBytes: summary(
      recoveries.map((one) => one.bytes),
      0,
    ),
    secondsFromKillToHealthy: summary(recoveries.map((one) => one.totalSeconds)),
    ...(lost > 1
      ? {
          singleCopyChunks: recoveries.map((one) => one.lastCopies),
          secondsFromKillToNoSingleCopy: summary(recoveries.map((one) => one.lastCopySeconds)),
          lastCopyShareOfTime: round(median(shares)),
        }
      : {}),
    // With two lost, repair begins when they are suspect and goes on when they are dead: its rate over all says nothing.
    goal:
      lost > 1
        ? { lastCopyShareOfTime: LAST_COPY_SHARE_GOAL, met: median(shares) <= LAST_COPY_SHARE_GOAL }
        : { ratioToAllowed: RATIO_GOAL, met: ratio >= RATIO_GOAL },
  }
}

async function recover(
  directory: string,
  source: string,
  sha256: string,
  { cap, lost, servers, chunk }: { cap: number; lost: number; servers: number; chunk: number },
): Promise<Recovery> {
  const home = path.join(directory, 'cluster')
  const back = path.join(directory, 'back')
  try {
    await using cluster = await BenchCluster.start(home, {
      chunkservers: servers,
      flags: [...TIMERS, '--repair-bandwidth', String(cap)],
    })
    await cluster.run({ args: ['put', source, '/bench/source', '--chunk-size', String(chunk)] })
    const victims = cluster.processes.filter((one) => one.role === 'chunkserver').slice(0, lost)
    for (const { pid } of victims) process.kill(pid, 'SIGKILL')
    const recovery = await watchRecovery(cluster, performance.now())
    await cluster.perform(['get', '/bench/source', back])
    if ((await sha256OfFile(back)) !== sha256) throw new Error('what was read back is not what was put')
    return recovery
  } finally {
    for (const one of [home, back, `${home}.log`]) rmSync(one, { recursive: true, force: true })
  }
}

async function watchRecovery(cluster: BenchCluster, killedMs: number): Promise<Recovery> {
  let firstMs: number | undefined
  let bytes = 0
  let lastCopies = 0
  let lastCopyMs = killedMs
  for (;;) {
    const status = await cluster.status()
    const nowMs = performance.now()
    const { progress, classes } = status.repair
    if (status.repair.active > 0) firstMs ??= nowMs
    bytes = Math.max(bytes, progress.copiedBytes)
    lastCopies = Math.max(lastCopies, classes.lastCopy)
    if (classes.lastCopy > 0 || lastCopies === 0) lastCopyMs = nowMs
    const { total, healthy, unavailable } = status.chunks
    if (firstMs !== undefined && total > 0 && healthy + unavailable === total) {
      const seconds = (nowMs - firstMs) / 1000
      const since = (atMs: number): number => (atMs - killedMs) / 1000
      return { bytes, seconds, totalSeconds: since(nowMs), lastCopySeconds: since(lastCopyMs), lastCopies }
    }
    if (nowMs - killedMs > PATIENCE_MS)
      throw new Error(`not repaired within ${PATIENCE_MS / 60_000} minutes: ${JSON.stringify(status)}`)
    await sleep(POLL_MS)
  }
}
