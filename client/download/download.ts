/** A download: the chunks that cover a range, several at once, into a target that takes them in any order or in order. */
import { LEAF_BYTES, leafCount } from '../../common/checksum/tree.js'
import { CairnError } from '../../common/errors/cairn-error.js'
import { linkedAbort } from '../../common/flow/abort.js'
import type { FileInfo } from '../../common/protocol/files.js'
import type { MasterApi } from '../master-api.js'
import type { TransferContext, TransferOptions } from '../options.js'
import { ChunkFetcher } from './chunk-fetcher.js'
import { ChunkLocations, type LocatedChunk } from './locations.js'

export interface ByteRange {
  readonly start: number
  /** One past the last byte. */
  readonly end: number
}

export interface DownloadOptions extends TransferOptions {
  /** The whole file without. */
  readonly range?: ByteRange | undefined
}

/** One chunk's part in a download. */
export interface ChunkTask {
  readonly chunk: LocatedChunk
  readonly firstLeaf: number
  readonly endLeaf: number
}

export interface DownloadRun extends Disposable {
  readonly file: FileInfo
  readonly range: ByteRange
  readonly fetcher: ChunkFetcher
  readonly context: TransferContext
  readonly signal: AbortSignal
  readonly concurrency: number
  /** The tasks in order. Pull one at a time. */
  tasks(): AsyncGenerator<ChunkTask>
  /** Ends all work of this run with `error` as its reason. */
  fail(error: unknown): void
  /** Bytes have arrived, or (skipped) were found here already. */
  progress(bytes: number, skipped?: boolean): void
}

/** Checks the range against the file. @throws `INVALID_RANGE` */
export function resolveRange(file: Pick<FileInfo, 'path' | 'sizeBytes'>, range: ByteRange | undefined): ByteRange {
  if (!range) return { start: 0, end: file.sizeBytes }
  const isWhole = Number.isInteger(range.start) && (Number.isInteger(range.end) || range.end === Infinity)
  if (
    !isWhole ||
    range.start > file.sizeBytes ||
    range.start < 0 ||
    range.end < range.start ||
    (range.start === file.sizeBytes && file.sizeBytes > 0)
  ) {
    throw new CairnError(
      'INVALID_RANGE',
      `${file.path} has ${file.sizeBytes} bytes; the range ${range.start} to ${range.end} is no part of it.`,
      {
        data: { sizeBytes: file.sizeBytes },
      },
    )
  }
  return { start: range.start, end: Math.min(range.end, file.sizeBytes) }
}

/** Sets a download up. Whoever does so disposes of it at the end, however that comes. */
export function openRun(api: MasterApi, context: TransferContext, file: FileInfo, options: DownloadOptions): DownloadRun {
  const range = resolveRange(file, options.range)
  const abort = linkedAbort(options.signal)
  const locations = new ChunkLocations(api, file, abort.signal)
  const fetcher = new ChunkFetcher({
    api,
    context,
    locations,
    signal: abort.signal,
    onNotice: (notice) => options.onNotice?.(notice),
  })
  let doneBytes = 0
  let skippedBytes = 0
  return {
    file,
    range,
    fetcher,
    context,
    signal: abort.signal,
    concurrency: options.concurrency ?? context.concurrency,
    tasks: () => tasksOf(api, locations, file, range, abort.signal),
    fail: (error) => abort.abort(error),
    progress: (bytes, skipped = false) => {
      doneBytes += bytes
      if (skipped) skippedBytes += bytes
      options.onProgress?.({ doneBytes, totalBytes: range.end - range.start, skippedBytes })
    },
    [Symbol.dispose]: () => {
      abort.abort(new CairnError('ABORTED', 'The download is over.'))
      abort.dispose()
    },
  }
}

async function* tasksOf(
  api: MasterApi,
  locations: ChunkLocations,
  file: FileInfo,
  range: ByteRange,
  signal: AbortSignal,
): AsyncGenerator<ChunkTask> {
  if (range.start >= range.end) return
  const start =
    range.start === 0
      ? { index: 0 }
      : await api.call('findManifestChunk', { params: { manifestId: file.manifestId }, query: { offset: range.start }, signal })
  for (let index = start.index; index < file.chunkCount; index += 1) {
    const chunk = await locations.at(index)
    if (!chunk)
      throw new CairnError('PROTOCOL_ERROR', `The master lists ${index} of the ${file.chunkCount} chunks of ${file.path}.`)
    if (chunk.offset >= range.end) return
    const from = Math.max(0, range.start - chunk.offset)
    const to = Math.min(chunk.sizeBytes, range.end - chunk.offset)
    yield {
      chunk,
      firstLeaf: Math.floor(from / LEAF_BYTES),
      endLeaf: Math.min(leafCount(chunk.sizeBytes), Math.ceil(to / LEAF_BYTES)),
    }
  }
}

/** Runs `work` over all tasks, `concurrency` at once. The first failure ends the others and is thrown. */
export async function inParallel(run: DownloadRun, work: (task: ChunkTask) => Promise<void>): Promise<void> {
  const tasks = run.tasks()
  let pulling: Promise<unknown> = Promise.resolve()
  const pull = (): Promise<IteratorResult<ChunkTask>> => {
    const result = pulling.then(() => tasks.next())
    pulling = result.catch(() => undefined)
    return result
  }
  const worker = async (): Promise<void> => {
    for (let next = await pull(); !next.done; next = await pull()) {
      run.signal.throwIfAborted()
      await work(next.value)
    }
  }
  const workers = Array.from({ length: run.concurrency }, () =>
    worker().catch((error: unknown) => {
      run.fail(error)
      throw error
    }),
  )
  const outcomes = await Promise.allSettled(workers)
  if (outcomes.some((outcome) => outcome.status === 'rejected')) throw run.signal.reason
}
