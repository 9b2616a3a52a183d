/**
 * Question: how long does it take to copy a source tree in and out, without a mount?
 *
 * `cairn put -r`, then `get -r`, of files as they are in source trees: most of a few KiB, few large. Bound: the small files' rate (see
 * small-files), since bytes hardly count; the same tree is copied with `cp -r` on the same disk, and synced, beside it.
 * The tree that comes back is compared file by file.
 */
import { createHash } from 'node:crypto'
import { execFileSync } from 'node:child_process'
import { mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { SeededRandom } from '../../common/random/seeded-random.js'
import { KiB, MiB } from '../../common/units.js'
import { BenchCluster, type CommandFigures } from '../support/bench-cluster.js'
import { limitsSummary, measureLimits } from '../support/machine-limits.js'
import { ProcessWatch } from '../support/process-watch.js'
import { randomPieces } from '../support/random-data.js'
import { round, summary } from '../support/statistics.js'
import type { RunContext, Workload } from '../workload.js'

const FILES_PER_DIRECTORY = 20
/** Sizes double with half the probability each, from here: the median is 2 KiB, one in a thousand is 1 MiB or more. */
const SMALLEST_BYTES = 1 * KiB
const LARGEST_DOUBLINGS = 11
const LIMIT_BYTES = 256 * MiB

export const uploadTree: Workload = {
  name: 'upload-tree',
  question: 'how long does it take to copy a source tree in and out, without a mount?',
  parameters: {
    files: { kind: 'count', smoke: 60, full: 5_000, help: 'in directories of 20' },
    runs: { kind: 'count', smoke: 1, full: 5, help: 'copies in and out, each to another place' },
    seed: { kind: 'count', smoke: 1, full: 1, help: 'of sizes and contents' },
  },
  run: uploadTreeRun,
}

async function uploadTreeRun({ parameters, directory, say }: RunContext) {
  const files = parameters.number('files')
  const [source, back] = [path.join(directory, 'source'), path.join(directory, 'back')]
  const { paths, bytes, sha256 } = writeTree(source, files, parameters.number('seed'))
  const limits = [await measureLimits(directory, LIMIT_BYTES)]
  await using cluster = await BenchCluster.start(path.join(directory, 'cluster'))
  using watch = new ProcessWatch()
  cluster.watchServers(watch)
  const [puts, gets]: [CommandFigures[], CommandFigures[]] = [[], []]
  const plain: number[] = []
  for (let run = 1; run <= parameters.number('runs'); run += 1) {
    plain.push(plainCopySeconds(source, path.join(directory, 'plain')))
    puts.push(await cluster.run({ args: ['put', '-r', source, `/bench/tree-${run}`] }, watch))
    gets.push(await cluster.run({ args: ['get', '-r', `/bench/tree-${run}`, back] }, watch))
    if (treeSha256(back, paths) !== sha256) throw new Error(`run ${run}: what came back is not what was put`)
    rmSync(back, { recursive: true })
    const rates = [puts, gets].map((commands) => round(files / (commands.at(-1)?.wallSeconds ?? 0), 0))
    say(`run ${run}: ${rates[0]} files/s in, ${rates[1]} files/s out`)
  }
  return {
    files,
    bytes,
    limits: limitsSummary(limits),
    plainCopySeconds: summary(plain),
    put: figuresOf(puts, files),
    get: figuresOf(gets, files),
    memory: watch.figures(),
    checksum: { sha256, readBackEqual: true },
  }
}

function writeTree(root: string, files: number, seed: number) {
  const random = new SeededRandom(seed)
  const paths: string[] = []
  let bytes = 0
  for (let index = 0; index < files; index += 1) {
    const folder = path.join(root, `package-${Math.floor(index / FILES_PER_DIRECTORY)}`, 'src')
    if (index % FILES_PER_DIRECTORY === 0) mkdirSync(folder, { recursive: true })
    const sizeBytes = sizeOfNext(random)
    const file = path.join(folder, `file-${index}.ts`)
    writeFileSync(file, Buffer.concat([...randomPieces(sizeBytes, seed + index)]))
    paths.push(path.relative(root, file))
    bytes += sizeBytes
  }
  return { paths, bytes, sha256: treeSha256(root, paths) }
}

function sizeOfNext(random: SeededRandom): number {
  let doublings = 0
  while (doublings < LARGEST_DOUBLINGS && random.integer(2) === 1) doublings += 1
  return SMALLEST_BYTES * 2 ** doublings + random.integer(SMALLEST_BYTES * 2 ** doublings)
}

function treeSha256(root: string, paths: readonly string[]): string {
  const hash = createHash('sha256')
  for (const file of paths) hash.update(`${file}\n`).update(readFileSync(path.join(root, file)))
  return hash.digest('hex')
}

function plainCopySeconds(source: string, target: string): number {
  const startedMs = performance.now()
  execFileSync('cp', ['-r', source, target])
  execFileSync('sync', ['-f', target])
  const seconds = (performance.now() - startedMs) / 1000
  rmSync(target, { recursive: true })
  return seconds
}

const figuresOf = (commands: readonly CommandFigures[], files: number) => ({
  perSecond: summary(
    commands.map(({ wallSeconds }) => files / wallSeconds),
    0,
  ),
  seconds: summary(commands.map(({ wallSeconds }) => wallSeconds)),
  cpuSecondsPer1000: summary(
    commands.map(({ cpu }) => (cpu.total / files) * 1000),
    2,
  ),
  otherCpuShare: summary(commands.map(({ otherCpuShare }) => otherCpuShare)),
})
