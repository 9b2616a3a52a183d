/**
 * Question: does memory stay small and flat while a large file is put, from a pipe and from a file?
 *
 * Bound: memory is a budget, not a share of the file. A client may hold 128 MiB of chunks (a pipe cannot be read twice,
 * so its chunks wait in memory until they are stored) and a chunkserver 80 MiB of blocks, each beside Node's own 60 to
 * 100 MiB. Goal: every process below 300 MiB, and no higher in the second half of the put than in the first.
 */
import { createHash } from 'node:crypto'
import { once } from 'node:events'
import { mkdirSync, rmSync } from 'node:fs'
import { statfs } from 'node:fs/promises'
import path from 'node:path'
import { formatSize, GiB, MiB } from '../../common/units.js'
import { BenchCluster, type Command } from '../support/bench-cluster.js'
import { perGigabyte, ProcessWatch, type MemoryFigures } from '../support/process-watch.js'
import { randomPieces, writeRandomFile } from '../support/random-data.js'
import { round } from '../support/statistics.js'
import type { RunContext, Workload } from '../workload.js'

const PEAK_BYTES_GOAL = 300 * MiB
/** The second half may end this much above the first: garbage that waits for its collection, not a leak per byte. */
const FLAT_TOLERANCE_BYTES = 24 * MiB
/** Kept free by the chunkservers. */
const RESERVE_BYTES = 2 * GiB

export const uploadMemory: Workload = {
  name: 'upload-memory',
  question: 'does memory stay small and flat while a large file is put?',
  parameters: {
    bytes: { kind: 'bytes', smoke: 256 * MiB, full: 10 * GiB, help: 'size of the file' },
    source: {
      kind: 'choice',
      choices: ['pipe', 'file', 'both'],
      smoke: 'pipe',
      full: 'both',
      help: 'what is put: pipe, file or both',
    },
    seed: { kind: 'count', smoke: 1, full: 1, help: 'of the bytes' },
  },
  run: uploadMemoryRun,
}

async function uploadMemoryRun({ parameters, directory, say }: RunContext) {
  const bytes = parameters.number('bytes')
  const chosen = parameters.text('source')
  const kinds = (['pipe', 'file'] as const).filter((kind) => chosen === kind || chosen === 'both')
  const results: Record<string, unknown> = {}
  let met = true
  for (const kind of kinds) {
    await requireSpace(directory, bytes * (kind === 'file' ? 4 : 3) + RESERVE_BYTES)
    const result = await measure(kind, bytes, parameters.number('seed'), path.join(directory, kind))
    rmSync(path.join(directory, kind), { recursive: true, force: true })
    const processes = judged(result.memory)
    met &&= processes.every((one) => one.belowGoal && one.flat)
    for (const one of processes) say(`${kind}: ${one.name} peak ${formatSize(one.peakBytes)}${one.flat ? '' : ', rising'}`)
    results[kind] = { ...result, flat: Object.fromEntries(processes.map(({ name, flat }) => [name, flat])) }
  }
  return { bytes, ...results, goal: { peakBytes: PEAK_BYTES_GOAL, met } }
}

async function requireSpace(directory: string, bytes: number): Promise<void> {
  const { bavail, bsize } = await statfs(directory)
  if (bavail * bsize < bytes)
    throw new Error(
      `${directory} has ${formatSize(bavail * bsize)} free, ${formatSize(bytes)} are needed. Give --dir or fewer --bytes.`,
    )
}

const judged = (memory: Record<string, MemoryFigures>) =>
  Object.entries(memory).map(([name, { peakBytes, firstHalfMaxBytes, secondHalfMaxBytes }]) => ({
    name,
    peakBytes,
    belowGoal: peakBytes < PEAK_BYTES_GOAL,
    flat: secondHalfMaxBytes <= firstHalfMaxBytes + FLAT_TOLERANCE_BYTES,
  }))

async function measure(kind: 'pipe' | 'file', bytes: number, seed: number, directory: string) {
  mkdirSync(directory)
  const hash = createHash('sha256')
  const source = path.join(directory, 'source')
  let sha256 = kind === 'file' ? await writeRandomFile(source, bytes, seed) : ''
  const command: Command =
    kind === 'file'
      ? { args: ['put', source, '/bench/big'] }
      : { args: ['put', '-', '/bench/big'], feed: (stdin) => feed(stdin, bytes, seed, (piece) => hash.update(piece)) }
  await using cluster = await BenchCluster.start(path.join(directory, 'cluster'))
  using watch = new ProcessWatch()
  cluster.watchServers(watch)
  const { wallSeconds, cpu } = await cluster.run(command, watch)
  const memory = watch.figures()
  if (kind === 'pipe') sha256 = hash.digest('hex')
  rmSync(source, { force: true })
  const back = createHash('sha256')
  await cluster.run({ args: ['get', '/bench/big', '-'], output: (piece) => back.update(piece) })
  if (back.digest('hex') !== sha256) throw new Error(`${kind}: what was read back is not what was put`)
  return {
    bytesPerSecond: round(bytes / wallSeconds, 0),
    seconds: round(wallSeconds),
    cpuSecondsPerGB: perGigabyte(cpu, bytes),
    memory,
    checksum: { sha256, readBackEqual: true },
  }
}

async function feed(stdin: NodeJS.WritableStream, bytes: number, seed: number, onPiece: (piece: Buffer) => void): Promise<void> {
  const closed = once(stdin, 'close').then(() => {
    throw new Error('the command has closed its input')
  })
  closed.catch(() => undefined)
  for (const piece of randomPieces(bytes, seed)) {
    onPiece(piece)
    if (!stdin.write(piece)) await Promise.race([once(stdin, 'drain'), closed])
  }
  stdin.end()
}
