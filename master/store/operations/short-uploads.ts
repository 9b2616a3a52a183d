/**
 * An upload of few chunks in two transactions instead of four: opened with its chunks allocated, committed with its chunks
 * reported. Nothing is done here that the four do not do; a refusal of any part undoes the whole.
 */
import type { FileInfo } from '../../../common/protocol/files.js'
import type { Operation } from '../engine/statement.js'
import { commitRow, type CommitUploadArgs } from './commit.js'
import { once, type OperationContext, type RequestKey } from './context.js'
import {
  enterAllocations,
  enterReports,
  type AllocateChunksArgs,
  type AllocatedTargets,
  type ReportedChunk,
} from './upload-chunks.js'
import { openRow, ownUpload, toOpened, type OpenedUpload, type OpenUploadArgs } from './uploads.js'

export interface StartUploadArgs extends OpenUploadArgs {
  /** What placement has chosen for a session with so many copies of each chunk. */
  readonly placed: { readonly replicas: number; readonly chunks: AllocateChunksArgs['chunks'] }
}

export interface StartedUpload extends OpenedUpload {
  /** Undefined when the session goes on from earlier, or is of another shape than was assumed. */
  readonly chunks?: AllocatedTargets[]
}

/** @throws as `openUpload` */
export function* startUpload(ctx: OperationContext, args: StartUploadArgs): Operation<StartedUpload> {
  return yield* once(ctx, 'startUpload', args.request, start(ctx, args))
}

function* start(ctx: OperationContext, { request: _, placed, ...args }: StartUploadArgs): Operation<StartedUpload> {
  const { row, resumed } = yield* openRow(ctx, args)
  const opened = toOpened(row, resumed)
  const fits = placed.chunks.every(({ lengthBytes }) => lengthBytes >= 1 && lengthBytes <= opened.chunkSizeBytes)
  if (resumed || opened.replicas !== placed.replicas || !fits) return opened
  return { ...opened, chunks: yield* enterAllocations(ctx, row, placed.chunks) }
}

export interface FinishUploadArgs extends CommitUploadArgs {
  readonly chunks: readonly ReportedChunk[]
  readonly request?: RequestKey
}

/** @throws as `reportChunks` and `commitUpload`; on each the session stays open and none of the chunks is entered */
export function* finishUpload(ctx: OperationContext, args: FinishUploadArgs): Operation<FileInfo> {
  return yield* once(ctx, 'finishUpload', args.request, finish(ctx, args))
}

function* finish(ctx: OperationContext, { request: _, chunks, ...args }: FinishUploadArgs): Operation<FileInfo> {
  const upload = yield* ownUpload(args.uploadId, args.writerEpoch)
  return yield* commitRow(ctx, yield* enterReports(ctx, upload, chunks), args)
}
