/** The chunks of an open upload: allocated before they are written, reported once they are, visible only by the commit. */
import { sql } from 'kysely'
import { CairnError } from '../../../common/errors/cairn-error.js'
import { storedChunkBytes } from '../../../common/protocol/stored-size.js'
import type { CompletedChunk } from '../../../common/protocol/uploads.js'
import { toBytes, toHex } from '../codec.js'
import { all, one, send, statement, type Operation } from '../engine/statement.js'
import { ChunkState, ReplicaState, type ChunkTable, type ManifestChunkTable, type UploadTable } from '../schema.js'
import { count, once, type OperationContext, type RequestKey } from './context.js'
import { isSpread, spreadRule } from './failure-domains.js'
import { condemnChunk } from './garbage.js'
import { reassess } from './health.js'
import { enterCopy, isCurrent, type ServerReceipt } from './replicas.js'
import { findUpload, useUpload } from './uploads.js'

const findChunk = statement((db, p: { chunk: Uint8Array }) => db.selectFrom('chunks').selectAll().where('chunk_id', '=', p.chunk))
const insertChunk = statement((db, p: ChunkTable) =>
  db.insertInto('chunks').values({
    chunk_id: p.chunk_id,
    upload_id: p.upload_id,
    chunk_index: p.chunk_index,
    length_bytes: p.length_bytes,
    root: null,
    state: ChunkState.allocated,
    wanted: p.wanted,
    changed_ms: p.changed_ms,
  }),
)
const makeLive = statement((db, p: { chunk: Uint8Array; root: Uint8Array; now: number }) =>
  db.updateTable('chunks').set({ state: ChunkState.live, root: p.root, changed_ms: p.now }).where('chunk_id', '=', p.chunk),
)
const dropCopies = statement((db, p: { chunk: Uint8Array }) =>
  db.deleteFrom('replicas').where('chunk_id', '=', p.chunk).where('state', '=', ReplicaState.good),
)
const findEntry = statement((db, p: { manifest: Uint8Array; index: number }) =>
  db.selectFrom('manifest_chunks').selectAll().where('manifest_id', '=', p.manifest).where('chunk_index', '=', p.index),
)
const upsertEntry = statement(
  (_db, p: ManifestChunkTable) =>
    sql<never>`insert into manifest_chunks (manifest_id, chunk_index, chunk_id, offset_bytes, length_bytes, root)
    values (${p.manifest_id}, ${p.chunk_index}, ${p.chunk_id}, ${p.offset_bytes}, ${p.length_bytes}, ${p.root})
    on conflict (manifest_id, chunk_index) do update set chunk_id = excluded.chunk_id, offset_bytes = excluded.offset_bytes,
      length_bytes = excluded.length_bytes, root = excluded.root`,
)
const addUploaded = statement((db, p: { id: Uint8Array; delta: number; stored: number }) =>
  db
    .updateTable('uploads')
    .set({ uploaded_bytes: sql<number>`uploaded_bytes + ${p.delta}`, stored_bytes: sql<number>`stored_bytes + ${p.stored}` })
    .where('upload_id', '=', p.id),
)
const liveCopies = statement((db, p: { chunk: Uint8Array }) =>
  db
    .selectFrom('replicas')
    .innerJoin('disks', 'disks.disk_no', 'replicas.disk_no')
    .select((eb) => eb.fn.coalesce(eb.fn.sum<number>('disks.serving'), sql<number>`0`).as('copies'))
    .where('replicas.chunk_id', '=', p.chunk)
    .where('replicas.state', '=', ReplicaState.good),
)
const draftPage = statement((db, p: { manifest: Uint8Array; from: number; limit: number }) =>
  db
    .selectFrom('manifest_chunks')
    .selectAll()
    .where('manifest_id', '=', p.manifest)
    .where('chunk_index', '>=', p.from)
    .orderBy('chunk_index')
    .limit(p.limit),
)

export interface AllocateChunksArgs {
  readonly uploadId: string
  readonly writerEpoch: number
  readonly chunks: readonly {
    readonly index: number
    readonly lengthBytes: number
    readonly chunkId: string
    /** False: a chunk allocated before, which needs further targets. */
    readonly isNew: boolean
    /** Chosen by placement; kept with the request, so that a repeated one gets the same answer. */
    readonly targets: readonly string[]
  }[]
  readonly request?: RequestKey
}

export interface AllocatedTargets {
  readonly index: number
  readonly chunkId: string
  readonly lengthBytes: number
  readonly targets: readonly string[]
}

/** @throws `UPLOAD_SUPERSEDED`, `UPLOAD_CLOSED`, `UPLOAD_NOT_FOUND`, `INVALID_ARGUMENT` */
export function* allocateChunks(ctx: OperationContext, args: AllocateChunksArgs): Operation<AllocatedTargets[]> {
  return yield* once(ctx, 'allocateChunks', args.request, allocate(ctx, args))
}

function* allocate(ctx: OperationContext, args: AllocateChunksArgs): Operation<AllocatedTargets[]> {
  return yield* enterAllocations(ctx, yield* useUpload(ctx, args.uploadId, args.writerEpoch), args.chunks)
}

/** As {@link allocateChunks}, for whoever has looked the session up. */
export function* enterAllocations(
  ctx: OperationContext,
  upload: UploadTable,
  chunks: AllocateChunksArgs['chunks'],
): Operation<AllocatedTargets[]> {
  for (const chunk of chunks) {
    if (chunk.lengthBytes < 1 || chunk.lengthBytes > upload.chunk_size_bytes) {
      throw new CairnError(
        'INVALID_ARGUMENT',
        `Chunk ${chunk.index} has ${chunk.lengthBytes} bytes; this upload takes 1 to ${upload.chunk_size_bytes}.`,
      )
    }
    if (chunk.isNew) {
      yield* send(insertChunk, {
        chunk_id: toBytes(chunk.chunkId),
        upload_id: upload.upload_id,
        chunk_index: chunk.index,
        length_bytes: chunk.lengthBytes,
        root: null,
        state: ChunkState.allocated,
        wanted: upload.replicas,
        changed_ms: ctx.nowMs,
      })
    } else {
      yield* ownChunk(upload, chunk.chunkId, chunk.index, chunk.lengthBytes)
    }
  }
  return chunks.map(({ index, chunkId, lengthBytes, targets }) => ({ index, chunkId, lengthBytes, targets }))
}

/** A chunk of this upload that can still be written or reported. @throws `INVALID_ARGUMENT` */
function* ownChunk(upload: UploadTable, chunkId: string, index: number, lengthBytes: number): Operation<ChunkTable> {
  const row = yield* one(findChunk, { chunk: toBytes(chunkId) })
  const usable = row && (row.state === ChunkState.allocated || row.state === ChunkState.live)
  if (
    !usable ||
    toHex(row.upload_id) !== toHex(upload.upload_id) ||
    row.chunk_index !== index ||
    row.length_bytes !== lengthBytes
  ) {
    throw new CairnError('INVALID_ARGUMENT', `Chunk ${chunkId} is not chunk ${index} of this upload with ${lengthBytes} bytes.`)
  }
  return row
}

export interface ReportedChunk extends CompletedChunk {
  /** Genuine receipts only. */
  readonly receipts: readonly ServerReceipt[]
}

export interface ReportChunksArgs {
  readonly uploadId: string
  readonly writerEpoch: number
  readonly chunks: readonly ReportedChunk[]
}

/**
 * Enters completed chunks into the draft manifest. Repeating a report changes nothing.
 * @throws `NOT_ENOUGH_REPLICAS` when fewer than minReplicas of the receipts still stand for live copies; nothing of the batch is entered then
 */
export function* reportChunks(ctx: OperationContext, args: ReportChunksArgs): Operation<{ accepted: number }> {
  yield* enterReports(ctx, yield* useUpload(ctx, args.uploadId, args.writerEpoch), args.chunks)
  return { accepted: args.chunks.length }
}

/** As {@link reportChunks}, for whoever has looked the session up. @returns the session as it is then */
export function* enterReports(
  ctx: OperationContext,
  upload: UploadTable,
  chunks: readonly ReportedChunk[],
): Operation<UploadTable> {
  let delta = 0
  let stored = 0
  for (const chunk of chunks) {
    const growth = yield* report(ctx, upload, chunk)
    delta += growth.lengthBytes
    stored += growth.storedBytes * upload.replicas
  }
  if (delta !== 0) yield* send(addUploaded, { id: upload.upload_id, delta, stored })
  return { ...upload, uploaded_bytes: upload.uploaded_bytes + delta, stored_bytes: upload.stored_bytes + stored }
}

interface Growth {
  readonly lengthBytes: number
  /** Of one copy. */
  readonly storedBytes: number
}

/** @returns by how much the draft has grown */
function* report(ctx: OperationContext, upload: UploadTable, reported: ReportedChunk): Operation<Growth> {
  const row = yield* ownChunk(upload, reported.chunkId, reported.index, reported.lengthBytes)
  for (const { receipt } of reported.receipts) {
    if (receipt.chunkId !== reported.chunkId || receipt.lengthBytes !== reported.lengthBytes || receipt.root !== reported.root) {
      throw new CairnError(
        'INVALID_ARGUMENT',
        `A receipt of server ${receipt.serverId} is for other bytes than chunk ${reported.index} as reported.`,
      )
    }
  }
  const root = toBytes(reported.root)
  const standing: ServerReceipt[] = []
  for (const one of reported.receipts) if (yield* isCurrent(one)) standing.push(one)
  if (row.root && toHex(row.root) !== reported.root) {
    throw new CairnError(
      'CHUNK_EXISTS',
      `Chunk ${reported.chunkId} was already reported with other bytes. Changed bytes take a new chunk.`,
    )
  }
  if (row.state === ChunkState.allocated) {
    // Copies heard of before could not be compared with anything. The receipts enter the right ones; whatever else is
    // out there makes a digest differ, and its server's report is then judged by the root.
    yield* send(dropCopies, { chunk: row.chunk_id })
    yield* send(makeLive, { chunk: row.chunk_id, root, now: ctx.nowMs })
    yield* count(ctx, 'liveChunks', 1)
  }
  const live = { state: ChunkState.live, length_bytes: row.length_bytes, root }
  for (const { serverNo, receipt } of standing) yield* enterCopy(ctx, serverNo, receipt, receipt.storeSeq, live)
  const copies = yield* reassess(ctx, row.chunk_id)
  if (copies < upload.min_replicas) throw tooFewCopies(reported.index, copies, upload.min_replicas)
  return yield* enter(ctx, upload, reported, root)
}

function* enter(ctx: OperationContext, upload: UploadTable, reported: ReportedChunk, root: Uint8Array): Operation<Growth> {
  const before = yield* one(findEntry, { manifest: upload.manifest_id, index: reported.index })
  yield* send(upsertEntry, {
    manifest_id: upload.manifest_id,
    chunk_index: reported.index,
    chunk_id: toBytes(reported.chunkId),
    offset_bytes: reported.offset,
    length_bytes: reported.lengthBytes,
    root,
  })
  if (before && toHex(before.chunk_id) !== reported.chunkId) yield* condemnChunk(ctx, before.chunk_id)
  return {
    lengthBytes: reported.lengthBytes - (before?.length_bytes ?? 0),
    storedBytes: storedChunkBytes(reported.lengthBytes) - (before ? storedChunkBytes(before.length_bytes) : 0),
  }
}

export const tooFewCopies = (index: number, copies: number, min: number): CairnError =>
  new CairnError(
    'NOT_ENOUGH_REPLICAS',
    `Chunk ${index} has ${copies} live synced ${copies === 1 ? 'copy' : 'copies'}, ${min} are needed. Nothing was acknowledged.`,
    {
      data: { chunkIndex: index, copies, minReplicas: min },
    },
  )

/** Completed chunks that still have enough live copies, far enough apart, to be committed; the others are to be sent again. */
export function* listUploadChunks(
  _ctx: OperationContext,
  args: { uploadId: string; from: number; limit: number },
): Operation<{ chunks: CompletedChunk[]; next: number | null }> {
  const upload = yield* findUpload(args.uploadId)
  const rows = yield* all(draftPage, { manifest: upload.manifest_id, from: args.from, limit: args.limit })
  const rule = yield* spreadRule(upload.min_replicas, upload.chunk_size_bytes)
  const chunks: CompletedChunk[] = []
  for (const row of rows) {
    const copies = (yield* one(liveCopies, { chunk: row.chunk_id }))?.copies ?? 0
    if (copies < upload.min_replicas || !(yield* isSpread(rule, row.chunk_id))) continue
    chunks.push({
      index: row.chunk_index,
      chunkId: toHex(row.chunk_id),
      offset: row.offset_bytes,
      lengthBytes: row.length_bytes,
      root: toHex(row.root),
    })
  }
  const last = rows.at(-1)
  return { chunks, next: rows.length === args.limit && last ? last.chunk_index + 1 : null }
}
