/** put, get, cat. */
import path from 'node:path'
import { InvalidArgumentError, type Command } from 'commander'
import type { ByteRange, CairnClient, FileInfo, UploadOptions } from '../../client/index.js'
import { SystemClock } from '../../common/clock/system-clock.js'
import { CairnError } from '../../common/errors/cairn-error.js'
import { formatDuration, formatSize, parseSize } from '../../common/units.js'
import { addGlobalOptions, print, withClient, type GlobalOptions } from '../context.js'
import { progressDisplay } from '../progress.js'

interface TransferFlags extends GlobalOptions {
  readonly recursive?: boolean
  readonly ifAbsent?: boolean
  readonly replicas?: number
  readonly chunkSize?: number
  readonly concurrency?: number
  readonly range?: string
}

const clock = new SystemClock()

/** For commander: a whole number within bounds. */
export const wholeNumber =
  (min: number, max: number) =>
  (text: string): number => {
    const value = /^\d{1,15}$/.test(text) ? Number(text) : NaN
    if (!(value >= min && value <= max)) throw new InvalidArgumentError(`a whole number from ${min} to ${max} is expected.`)
    return value
  }

export function registerTransfer(program: Command): void {
  addGlobalOptions(program.command('put <local> <path>'))
    .description('upload a file, or stdin with -; run again after an interruption to go on')
    .option('-r, --recursive', 'upload everything in a directory; files already there with the same content are skipped')
    .option('--if-absent', 'fail with exit code 4 when something is at the path')
    .option('--replicas <n>', 'copies of each chunk', wholeNumber(1, 16))
    .option('--chunk-size <size>', 'largest chunk, from 64KiB to 1GiB', parseSize)
    .option('--concurrency <n>', 'chunks in flight', wholeNumber(1, 64))
    .action((local: string, target: string, flags: TransferFlags) => put(local, target, flags))
  addGlobalOptions(program.command('get <path> <local>'))
    .description('download a file, verified; - is stdout; run again after an interruption to go on')
    .option('-r, --recursive', 'download everything under the path into a directory')
    .option('--range <a-b>', 'bytes a to b, both included, as in HTTP: 0-99, 100-, -100')
    .option('--concurrency <n>', 'chunks in flight', wholeNumber(1, 64))
    .action((source: string, local: string, flags: TransferFlags) => get(source, local, flags))
  addGlobalOptions(program.command('cat <path>'))
    .description('write a file to stdout')
    .option('--range <a-b>', 'bytes a to b, both included')
    .action((source: string, flags: TransferFlags) =>
      withClient(flags, (client, signal) => toStdout(client, source, flags, signal)),
    )
}

const summary = (file: Pick<FileInfo, 'path' | 'generation' | 'checksum'>, sizeBytes: number, startedMs: number) => ({
  path: file.path,
  generation: file.generation,
  sizeBytes,
  checksum: file.checksum,
  seconds: Math.round(clock.monotonic() - startedMs) / 1000,
})

const describe = (verb: string, result: ReturnType<typeof summary>): string =>
  `${verb} ${result.path}  generation ${result.generation}  ${formatSize(result.sizeBytes)}  in ${formatDuration(result.seconds * 1000)}` +
  (result.seconds > 0 ? `  (${formatSize(result.sizeBytes / result.seconds)}/s)` : '') +
  `\n${result.checksum}`

/** `put file /bucket/dir/` puts it under its own name. */
const targetPath = (local: string, target: string): string =>
  target.endsWith('/') && local !== '-' ? target + path.basename(local) : target

async function put(local: string, target: string, flags: TransferFlags): Promise<void> {
  if (flags.recursive) {
    const { putTree } = await import('./trees.js')
    return putTree(local, target, flags, uploadOptions(flags))
  }
  await withClient(flags, async (client, signal) => {
    const startedMs = clock.monotonic()
    const remote = targetPath(local, target)
    const display = progressDisplay(clock, path.posix.basename(remote), flags.json === true)
    const options = { ...uploadOptions(flags), signal, onProgress: display.onProgress, onNotice: display.onNotice }
    try {
      const file =
        local === '-'
          ? await client.uploadStream(process.stdin, remote, options)
          : await client.uploadFile(local, remote, options)
      display.stop()
      const result = summary(file, file.sizeBytes, startedMs)
      print(flags, result, () => describe('put', result))
    } finally {
      display.stop()
      // Whoever writes to it may be silent for ever; it must not keep us running.
      if (local === '-') process.stdin.destroy()
    }
  })
}

function uploadOptions(flags: TransferFlags): UploadOptions {
  return {
    chunkSizeBytes: flags.chunkSize,
    replicas: flags.replicas,
    concurrency: flags.concurrency,
    ...(flags.ifAbsent ? { precondition: { kind: 'absent' } } : {}),
  }
}

async function get(source: string, local: string, flags: TransferFlags): Promise<void> {
  if (flags.recursive) {
    const { getTree } = await import('./trees.js')
    return getTree(source, local, flags)
  }
  await withClient(flags, async (client, signal) => {
    if (local === '-') return toStdout(client, source, flags, signal)
    const startedMs = clock.monotonic()
    const target = await localTarget(source, local)
    const display = progressDisplay(clock, path.basename(target), flags.json === true)
    try {
      const found = await client.stat(source, signal)
      const range = flags.range === undefined ? undefined : parseRange(flags.range, found.sizeBytes)
      const file = await client.downloadFile(source, target, {
        range,
        signal,
        concurrency: flags.concurrency,
        onProgress: display.onProgress,
        onNotice: display.onNotice,
      })
      display.stop()
      const result = summary(file, range ? Math.min(range.end, file.sizeBytes) - range.start : file.sizeBytes, startedMs)
      print(flags, result, () => describe('got', result))
    } finally {
      display.stop()
    }
  })
}

/** `get /bucket/file dir` writes into the directory. */
async function localTarget(source: string, local: string): Promise<string> {
  const { NodeDisk } = await import('../../common/disk/node-disk.js')
  const stat = await new NodeDisk().stat(local)
  return stat?.kind === 'directory' ? path.join(local, path.posix.basename(source)) : local
}

async function toStdout(client: CairnClient, source: string, flags: TransferFlags, signal: AbortSignal): Promise<void> {
  const file = await client.stat(source, signal)
  const range = flags.range === undefined ? undefined : parseRange(flags.range, file.sizeBytes)
  for await (const piece of client.download(file, { range, signal })) await writeOut(piece)
}

/** The piece's memory is reused, so it must have left before the next one is asked for. */
function writeOut(piece: Uint8Array): Promise<void> {
  return new Promise((resolve, reject) => {
    process.stdout.write(piece, (error) => {
      if (!error) resolve()
      else reject(new CairnError('ABORTED', 'Whoever read stdout has stopped.', { cause: error }))
    })
  })
}

/** `a-b`, `a-` and `-n`, as in an HTTP Range header. @throws `USAGE`, `INVALID_RANGE` */
export function parseRange(text: string, sizeBytes: number): ByteRange {
  const match = /^(\d*)-(\d*)$/.exec(text.trim())
  const [, from = '', to = ''] = match ?? []
  if (!match || (from === '' && to === ''))
    throw new CairnError('USAGE', `"${text}" is not a range. Write it like 0-99, 100- or -100.`)
  if (from === '') return { start: Math.max(0, sizeBytes - Number(to)), end: sizeBytes }
  const start = Number(from)
  const end = to === '' ? sizeBytes : Number(to) + 1
  if (start >= sizeBytes || end <= start)
    throw new CairnError('INVALID_RANGE', `The file has ${sizeBytes} bytes; ${text} is no part of it.`)
  return { start, end: Math.min(end, sizeBytes) }
}
