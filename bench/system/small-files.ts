/**
 * Question: how many small files a second are put, looked up and read, with three synced copies each?
 *
 * Bound: a put is a few requests to the master, one to each of three chunkservers, and synced writes on all four, which
 * many puts can share. With few cores the CPU limits: what one file costs each process is printed beside the rate. One
 * client process, so many files at once. Goals: four times MinIO and twice MooseFS where puts were compared (1600 a second),
 * twice MinIO for gets (5600 a second there).
 */
import { createHash } from 'node:crypto'
import { fork, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { cpus } from 'node:os'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { KiB } from '../../common/units.js'
import { BenchCluster } from '../support/bench-cluster.js'
import { cpuSeconds, machineBusySeconds, ProcessWatch, type CpuSplit } from '../support/process-watch.js'
import { randomPieces } from '../support/random-data.js'
import type { LoadResult, LoadTask } from '../support/load-task.js'
import { latencies, median, round, summary } from '../support/statistics.js'
import { syncedAppendsPerSecond } from '../support/sync-limit.js'
import type { RunContext, Workload } from '../workload.js'

const CLIENT = fileURLToPath(new URL('../support/small-files-client.js', import.meta.url))
const PHASES = ['put', 'stat', 'get'] as const
type Phase = (typeof PHASES)[number]
const SYNC_LIMIT_MS = 500
const PER_SECOND_GOAL = { put: 1600, get: 5600 }

export const smallFiles: Workload = {
  name: 'small-files',
  question: 'how many small files a second are put, looked up and read, with three synced copies each?',
  parameters: {
    files: { kind: 'count', smoke: 200, full: 10_000, help: 'per run' },
    bytes: { kind: 'bytes', smoke: 1 * KiB, full: 1 * KiB, help: 'size of a file' },
    connections: { kind: 'count', smoke: 16, full: 16, help: 'files at once' },
    runs: { kind: 'count', smoke: 1, full: 5, help: 'each puts, looks up and reads files of its own' },
    warmup: { kind: 'count', smoke: 20, full: 3_000, help: 'files before the first run' },
    packBelow: { kind: 'bytes', smoke: 32640, full: 32640, help: 'chunks up to this size share pack files' },
    seed: { kind: 'count', smoke: 1, full: 1, help: 'of the bytes' },
  },
  run: smallFilesRun,
}

interface PhaseFigures {
  readonly perSecond: number
  readonly tookMs: readonly number[]
  readonly cpu: CpuSplit
  readonly otherCpuShare: number
  readonly sha256: string
}

async function smallFilesRun({ parameters, directory, say }: RunContext) {
  const files = parameters.number('files')
  const bytes = parameters.number('bytes')
  const seed = parameters.number('seed')
  const connections = parameters.number('connections')
  await using cluster = await BenchCluster.start(path.join(directory, 'cluster'), {
    flags: ['--pack-below', parameters.text('packBelow')],
  })
  await using client = await SmallFilesClient.start(cluster)
  using watch = new ProcessWatch()
  cluster.watchServers(watch)
  watch.watch('client', client.pid)
  const base = { bytes, connections }
  for (const kind of PHASES)
    await client.measure({ ...base, kind, prefix: '/bench/warmup', files: parameters.number('warmup'), seed })
  const figures: Record<Phase, PhaseFigures[]> = { put: [], stat: [], get: [] }
  const syncs: number[] = []
  for (let run = 1; run <= parameters.number('runs'); run += 1) {
    syncs.push(syncedAppendsPerSecond(directory, SYNC_LIMIT_MS))
    const task = { ...base, prefix: `/bench/run-${run}`, files, seed: seed + run }
    for (const kind of PHASES) figures[kind].push(await client.measure({ ...task, kind }))
    checkReadBack(task, figures)
    const rates = PHASES.map((kind) => `${kind} ${round(figures[kind].at(-1)?.perSecond ?? 0, 0)}`)
    say(`run ${run}: ${rates.join(', ')} a second`)
  }
  const put = median(figures.put.map(({ perSecond }) => perSecond))
  const get = median(figures.get.map(({ perSecond }) => perSecond))
  const sha256 = createHash('sha256')
    .update(figures.get.map((one) => one.sha256).join())
    .digest('hex')
  return {
    files,
    bytes,
    limit: { syncedAppendsPerSecond: summary(syncs, 0) },
    put: phaseFigures(figures.put, files),
    stat: phaseFigures(figures.stat, files),
    get: phaseFigures(figures.get, files),
    goal: { perSecond: PER_SECOND_GOAL, met: put >= PER_SECOND_GOAL.put && get >= PER_SECOND_GOAL.get },
    memory: watch.figures(),
    checksum: { sha256, readBackEqual: true },
  }
}

function checkReadBack(task: { files: number; bytes: number; seed: number }, figures: Record<Phase, PhaseFigures[]>): void {
  const hash = createHash('sha256')
  for (const piece of randomPieces(task.files * task.bytes, task.seed)) hash.update(piece)
  const wanted = hash.digest('hex')
  if (figures.put.at(-1)?.sha256 !== wanted || figures.get.at(-1)?.sha256 !== wanted)
    throw new Error('what was read back is not what was put')
}

function phaseFigures(runs: readonly PhaseFigures[], files: number) {
  const cpuOf = (part: keyof CpuSplit): number => round((median(runs.map(({ cpu }) => cpu[part])) / files) * 1000)
  return {
    perSecond: summary(
      runs.map(({ perSecond }) => perSecond),
      0,
    ),
    ms: latencies(runs.flatMap(({ tookMs }) => tookMs)),
    cpuSecondsPer1000: {
      client: cpuOf('client'),
      master: cpuOf('master'),
      chunkservers: cpuOf('chunkservers'),
      gateway: cpuOf('gateway'),
      total: cpuOf('total'),
    },
    otherCpuShare: summary(runs.map(({ otherCpuShare }) => otherCpuShare)),
  }
}

/** The client's process. */
class SmallFilesClient implements AsyncDisposable {
  readonly #cluster: BenchCluster
  readonly #child: ChildProcess
  readonly #gone: Promise<unknown>

  private constructor(cluster: BenchCluster, child: ChildProcess) {
    this.#cluster = cluster
    this.#child = child
    this.#gone = once(child, 'exit')
  }

  static async start(cluster: BenchCluster): Promise<SmallFilesClient> {
    const child = fork(CLIENT, { env: { ...process.env, ...cluster.env }, stdio: ['ignore', 'ignore', 'inherit', 'ipc'] })
    await once(child, 'spawn')
    return new SmallFilesClient(cluster, child)
  }

  get pid(): number {
    return this.#child.pid as number
  }

  async measure(task: LoadTask): Promise<PhaseFigures> {
    const before = this.#counters()
    const answered = once(this.#child, 'message') as Promise<[LoadResult]>
    this.#child.send(task)
    const failed = this.#gone.then(() => Promise.reject(new Error('the client has ended: see above')))
    const [{ seconds, tookMs, sha256 }] = await Promise.race([answered, failed])
    const after = this.#counters()
    const cpu: CpuSplit = {
      client: after.client - before.client,
      master: after.master - before.master,
      chunkservers: after.chunkservers - before.chunkservers,
      gateway: after.gateway - before.gateway,
      total: after.total - before.total,
    }
    const others = after.machine - before.machine - cpu.total - (after.self - before.self)
    const otherCpuShare = Math.max(0, others / (seconds * cpus().length))
    return { perSecond: task.files / seconds, tookMs, cpu, otherCpuShare, sha256 }
  }

  #counters(): CpuSplit & { readonly machine: number; readonly self: number } {
    const of = (role: string): number =>
      this.#cluster.processes.filter((one) => one.role === role).reduce((sum, { pid }) => sum + cpuSeconds(pid), 0)
    const split = {
      client: cpuSeconds(this.pid),
      master: of('master'),
      chunkservers: of('chunkserver'),
      gateway: of('gateway'),
    }
    const total = split.client + split.master + split.chunkservers + split.gateway
    return { ...split, total, machine: machineBusySeconds(), self: cpuSeconds(process.pid) }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#child.connected) this.#child.send('end')
    await this.#gone
  }
}
