/**
 * Question: do sixteen clients together get at least what one gets alone?
 *
 * Bound: that of one client, a third of what three direct writers reach together; more clients cannot be faster than the
 * disk and the CPU, but nothing should make them slower. One client puts a file; then sixteen put a sixteenth of it each,
 * turn by turn. All clients run before the time begins. Goal: the sixteen's aggregate not below the one's.
 */
import { createHash } from 'node:crypto'
import { rmSync } from 'node:fs'
import path from 'node:path'
import { GiB, MiB } from '../../common/units.js'
import { BenchCluster } from '../support/bench-cluster.js'
import { costOf, type Cost } from '../support/cost.js'
import { limitsSummary, measureLimits, type MachineLimits } from '../support/machine-limits.js'
import { ProcessWatch } from '../support/process-watch.js'
import { writeRandomFile } from '../support/random-data.js'
import { median, round, summary } from '../support/statistics.js'
import { TransferClients } from '../support/transfer-clients.js'
import type { RunContext, Workload } from '../workload.js'

const RATIO_GOAL = 1

export const uploadClients: Workload = {
  name: 'upload-16-clients',
  question: 'do sixteen clients together get at least what one gets alone?',
  parameters: {
    bytes: { kind: 'bytes', smoke: 64 * MiB, full: 4 * GiB, help: 'put by one client, and by all together' },
    clients: { kind: 'count', smoke: 4, full: 16, help: 'at once' },
    runs: { kind: 'count', smoke: 1, full: 5, help: 'pairs of one and many' },
    seed: { kind: 'count', smoke: 1, full: 1, help: 'of the bytes' },
  },
  run: uploadClientsRun,
}

async function uploadClientsRun({ parameters, directory, say }: RunContext) {
  const clients = parameters.number('clients')
  const shareBytes = Math.floor(parameters.number('bytes') / clients)
  const bytes = shareBytes * clients
  const [whole, share] = [path.join(directory, 'whole'), path.join(directory, 'share')]
  const sources = [
    { source: whole, sha256: await writeRandomFile(whole, bytes, parameters.number('seed')) },
    { source: share, sha256: await writeRandomFile(share, shareBytes, parameters.number('seed') + 1) },
  ] as const
  const limits: MachineLimits[] = []
  const [alone, together]: [Cost[], Cost[]] = [[], []]
  using watch = new ProcessWatch()
  for (let run = 1; run <= parameters.number('runs'); run += 1) {
    limits.push(await measureLimits(directory, shareBytes))
    alone.push(await measure(directory, 1, sources[0], watch))
    together.push(await measure(directory, clients, sources[1], watch))
    const rates = [alone, together].map((costs) => round(bytes / (costs.at(-1)?.wallSeconds ?? 0) / 1e6, 0))
    say(`run ${run}: one client ${rates[0]} MB/s, ${clients} clients ${rates[1]} MB/s`)
  }
  const ratio = median(alone.map((one) => one.wallSeconds)) / median(together.map((all) => all.wallSeconds))
  const sha256 = createHash('sha256')
    .update(sources.map((one) => one.sha256).join())
    .digest('hex')
  return {
    bytes,
    limits: limitsSummary(limits),
    one: figuresOf(bytes, alone),
    many: figuresOf(bytes, together),
    ratio: round(ratio),
    goal: { ratio: RATIO_GOAL, met: ratio >= RATIO_GOAL },
    memory: watch.figures(),
    checksum: { sha256, readBackEqual: true },
  }
}

/** In a cluster of its own, so that the next one's disk space is free again. @throws when something else can be read back */
async function measure(
  directory: string,
  count: number,
  { source, sha256 }: { source: string; sha256: string },
  watch: ProcessWatch,
): Promise<Cost> {
  const home = path.join(directory, 'cluster')
  try {
    await using cluster = await BenchCluster.start(home)
    cluster.watchServers(watch)
    const cost = await putAtOnce(cluster, count, source, watch)
    for (const target of new Set([targetOf(0), targetOf(count - 1)])) {
      const back = createHash('sha256')
      await cluster.run({ args: ['get', target, '-'], output: (piece) => back.update(piece) })
      if (back.digest('hex') !== sha256) throw new Error(`${target}: what was read back is not what was put`)
    }
    return cost
  } finally {
    for (const one of [home, `${home}.log`]) rmSync(one, { recursive: true, force: true })
  }
}

async function putAtOnce(cluster: BenchCluster, count: number, source: string, watch: ProcessWatch): Promise<Cost> {
  await using clients = await TransferClients.start(count, cluster.env)
  clients.pids.forEach((pid, index) => watch.watch(`client-${index + 1}-of-${count}`, pid))
  const pids = () => [...cluster.processes.map(({ pid }) => pid), ...clients.pids]
  const transfers = Array.from({ length: count }, (_, index) => ({ source, target: targetOf(index) }))
  return (await costOf(pids, () => clients.put(transfers))).cost
}

const targetOf = (index: number): string => `/bench/client-${index + 1}`

const figuresOf = (bytes: number, costs: readonly Cost[]) => ({
  bytesPerSecond: summary(
    costs.map(({ wallSeconds }) => bytes / wallSeconds),
    0,
  ),
  cpuSecondsPerGB: summary(
    costs.map(({ cpuSeconds }) => cpuSeconds / (bytes / 1e9)),
    2,
  ),
  otherCpuShare: summary(costs.map(({ otherCpuShare }) => otherCpuShare)),
})
