/**
 * What the machine's disk can take: three writers at once, each its own file, past the page cache, synced at the end.
 * That is the work of a put with three copies on this machine, without network, checksums or protocol.
 */
import { execFile } from 'node:child_process'
import { mkdirSync, rmSync } from 'node:fs'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { round } from './statistics.js'

const run = promisify(execFile)
const WRITERS = 3
const OWN_WRITER = fileURLToPath(new URL('direct-writer.js', import.meta.url))

export interface DiskLimit {
  /** All writers together. */
  readonly bytesPerSecond: number
}

export interface LimitTool {
  readonly name: string
  /** @param bytes written by each writer */
  measure(directory: string, bytes: number): Promise<DiskLimit>
}

/** fio where it is installed, else a writer of the same shape. */
export async function limitTool(): Promise<LimitTool> {
  const version = await run('fio', ['--version']).then(
    ({ stdout }) => stdout.trim(),
    () => undefined,
  )
  return version === undefined ? ownTool : fioTool(version)
}

/** One block in flight per writer was the fastest of depths 1, 4 and 16 where this was tried. */
const FIO = ['--name=limit', '--rw=write', '--bs=1M', '--direct=1', '--ioengine=psync', '--fallocate=none', '--end_fsync=1']

const fioTool = (version: string): LimitTool => ({
  name: `${version}: ${FIO.slice(1).join(' ')} --numjobs=${WRITERS}`,
  measure: (parent, bytes) =>
    inDirectory(parent, async (directory) => {
      const args = [
        `--directory=${directory}`,
        `--numjobs=${WRITERS}`,
        `--size=${bytes}`,
        '--group_reporting',
        '--output-format=json',
      ]
      const { stdout } = await run('fio', [...FIO, ...args])
      const report = JSON.parse(stdout) as { jobs: { write: { bw_bytes: number; io_bytes: number } }[] }
      const write = report.jobs[0]?.write
      if (write?.io_bytes !== bytes * WRITERS) throw new Error(`fio wrote ${write?.io_bytes} bytes instead of ${bytes * WRITERS}`)
      return { bytesPerSecond: round(write.bw_bytes, 0) }
    }),
})

const ownTool: LimitTool = {
  name: `own writer on Node: O_DIRECT, 1 MiB blocks, one in flight, fdatasync at the end, ${WRITERS} processes`,
  measure: (parent, bytes) =>
    inDirectory(parent, async (directory) => {
      const writers = Array.from({ length: WRITERS }, (_, index) =>
        run(process.execPath, [OWN_WRITER, path.join(directory, `limit-${index}`), String(bytes)]),
      )
      const spans = (await Promise.all(writers)).map(({ stdout }) => JSON.parse(stdout) as { startedMs: number; endedMs: number })
      const seconds = (Math.max(...spans.map((one) => one.endedMs)) - Math.min(...spans.map((one) => one.startedMs))) / 1000
      return { bytesPerSecond: round((bytes * WRITERS) / seconds, 0) }
    }),
}

async function inDirectory<T>(parent: string, work: (directory: string) => Promise<T>): Promise<T> {
  const directory = path.join(parent, 'limit')
  mkdirSync(directory)
  try {
    return await work(directory)
  } finally {
    rmSync(directory, { recursive: true, force: true })
  }
}
