/**
 * Question: what do clients keep of their throughput while a dead server's chunks are being rebuilt, at default settings?
 *
 * In each pair a file is put into the whole cluster, then a server falls silent for good, and while repair is under way the
 * same file is put again. Bound: 1, clients notice nothing. Goal: 0.9, as the median of the pairs. That repair was at work
 * during the whole put is checked; how much it moved meanwhile is printed beside.
 */
import { setTimeout as sleep } from 'node:timers/promises'
import path from 'node:path'
import { GiB, MiB } from '../../common/units.js'
import { BenchCluster } from '../support/bench-cluster.js'
import { writeRandomFile } from '../support/random-data.js'
import { median, round, summary } from '../support/statistics.js'
import type { RunContext, Workload } from '../workload.js'

const RATIO_GOAL = 0.9
const CHUNKSERVERS = 5
const POLL_MS = 100
const PATIENCE_MS = 10 * 60_000
const TIMERS = ['--heartbeat-interval', '250ms', '--suspect-after', '1s', '--dead-after', '3s', '--gc-grace', '1s']

export const repairImpact: Workload = {
  name: 'repair-impact',
  question: 'what do clients keep of their throughput while a dead server is repaired, at default settings?',
  parameters: {
    fill: { kind: 'bytes', smoke: 128 * MiB, full: 4 * GiB, help: 'what the cluster holds: repair must outlast the put' },
    bytes: { kind: 'bytes', smoke: 64 * MiB, full: 1 * GiB, help: 'size of the file that is put' },
    pairs: { kind: 'count', smoke: 1, full: 5, help: 'puts without and with repair' },
    speed: { kind: 'choice', choices: ['gentle', 'balanced', 'fast'], smoke: 'balanced', full: 'balanced', help: 'of repair' },
  },
  run: repairImpactRun,
}

interface Pair {
  readonly before: number
  readonly during: number
  /** What repair moved during the second put, and whether it was at work until its end. */
  readonly repairedBytes: number
  readonly outlasted: boolean
}

async function repairImpactRun({ parameters, directory, say }: RunContext) {
  const bytes = parameters.number('bytes')
  const fill = path.join(directory, 'fill')
  const source = path.join(directory, 'source')
  await writeRandomFile(fill, parameters.number('fill'), 1)
  await writeRandomFile(source, bytes, 2)
  await using cluster = await BenchCluster.start(path.join(directory, 'cluster'), { chunkservers: CHUNKSERVERS, flags: TIMERS })
  await cluster.perform(['repair', 'speed', parameters.text('speed')])
  await cluster.perform(['put', fill, '/bench/fill', '--chunk-size', String(16 * MiB)])
  const pairs: Pair[] = []
  for (let index = 0; index < parameters.number('pairs'); index += 1) {
    const pair = await onePair(cluster, source, index)
    pairs.push(pair)
    say(`pair ${index + 1}: ${round(bytes / pair.before / 1e6, 0)} MB/s, with repair ${round(bytes / pair.during / 1e6, 0)} MB/s`)
  }
  const ratios = pairs.map(({ before, during }) => before / during)
  return {
    bytesPerSecond: {
      before: summary(
        pairs.map(({ before }) => bytes / before),
        0,
      ),
      duringRepair: summary(
        pairs.map(({ during }) => bytes / during),
        0,
      ),
    },
    repairedBytesPerSecond: summary(
      pairs.map((pair) => pair.repairedBytes / pair.during),
      0,
    ),
    repairOutlastedPuts: pairs.every(({ outlasted }) => outlasted),
    ratios: ratios.map((ratio) => round(ratio)),
    ratio: round(median(ratios)),
    goal: { ratio: RATIO_GOAL, met: median(ratios) >= RATIO_GOAL },
  }
}

async function onePair(cluster: BenchCluster, source: string, index: number): Promise<Pair> {
  const put = async (): Promise<number> => {
    const json = await cluster.perform(['put', source, '/bench/source'])
    await cluster.perform(['rm', '--purge', '/bench/source'])
    return Number(json['seconds'])
  }
  const before = await put()
  const victim = cluster.processes.filter((one) => one.role === 'chunkserver')[index % CHUNKSERVERS]
  if (!victim) throw new Error('the cluster has no chunkservers')
  process.kill(victim.pid, 'SIGSTOP')
  try {
    // Not while it is only silent: the put would wait for the answer of a server that hangs, which is another question.
    await until(
      cluster,
      ({ repair, servers }) => repair.classes.belowGoal > 0 && repair.active > 0 && servers.some(({ state }) => state === 'dead'),
    )
    const copiedBefore = (await cluster.status()).repair.progress.copiedBytes
    const during = await put()
    const { repair } = await cluster.status()
    const repairedBytes = Math.max(0, repair.progress.copiedBytes - copiedBefore)
    return { before, during, repairedBytes, outlasted: repair.queued + repair.active > 0 }
  } finally {
    process.kill(victim.pid, 'SIGCONT')
    await until(cluster, ({ chunks, repair, servers }) => {
      const { belowGoal, waiting, surplus } = repair.classes
      return (
        chunks.healthy === chunks.total &&
        repair.active === 0 &&
        belowGoal + waiting + surplus === 0 &&
        servers.every(({ state }) => state === 'serving')
      )
    })
  }
}

async function until(
  cluster: BenchCluster,
  condition: (status: Awaited<ReturnType<BenchCluster['status']>>) => boolean,
): Promise<void> {
  const startedMs = performance.now()
  while (!condition(await cluster.status())) {
    if (performance.now() - startedMs > PATIENCE_MS) throw new Error(`not within ${PATIENCE_MS / 60_000} minutes`)
    await sleep(POLL_MS)
  }
}
