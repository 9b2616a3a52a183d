/** Upload sessions: opening, keeping, listing, ending. Their chunks are in upload-chunks.ts, the commit in commit.ts. */
import { sql } from 'kysely'
import { CairnError } from '../../../common/errors/cairn-error.js'
import type { UploadId } from '../../../common/ids.js'
import { bucketOf, type FilePath } from '../../../common/path-name.js'
import type { BucketPolicy } from '../../../common/protocol/buckets.js'
import { checkPrecondition, type Precondition } from '../../../common/protocol/precondition.js'
import type { Adoption } from '../../../common/protocol/uploads.js'
import { DAY_MS, SECOND_MS } from '../../../common/units.js'
import { toBytes, toHex } from '../codec.js'
import { all, one, send, statement, type Operation } from '../engine/statement.js'
import { ChunkState, ManifestState, UploadState, type UploadTable } from '../schema.js'
import { ensureBucket } from './buckets.js'
import { once, type OperationContext, type RequestKey } from './context.js'
import { condemnChunk } from './garbage.js'
import { findName } from './names.js'

/** A session that someone wrote to within this time is not taken over on a guess. */
export const UPLOAD_ACTIVE_MS = 30 * SECOND_MS
/** Idle sessions are dropped after this. */
export const UPLOAD_KEPT_MS = 7 * DAY_MS
/** A session of a stream has no fingerprint and nobody can take it up: idle, its writer is gone. */
const STREAM_UPLOAD_KEPT_MS = 1 * DAY_MS

const keptMs = (fingerprint: string | null): number => (fingerprint === null ? STREAM_UPLOAD_KEPT_MS : UPLOAD_KEPT_MS)

const find = statement((db, p: { id: Uint8Array }) => db.selectFrom('uploads').selectAll().where('upload_id', '=', p.id))
const openOnPath = statement((db, p: { path: string; fingerprint: string }) =>
  db
    .selectFrom('uploads')
    .selectAll()
    .where('path', '=', p.path)
    .where('state', '=', sql.lit(UploadState.open))
    .where('fingerprint', '=', p.fingerprint)
    .orderBy('uploaded_bytes', 'desc')
    .limit(16),
)
const insert = statement((db, p: UploadTable) =>
  db.insertInto('uploads').values({
    upload_id: p.upload_id,
    path: p.path,
    owner: p.owner,
    fingerprint: p.fingerprint,
    size_bytes: p.size_bytes,
    uploaded_bytes: 0,
    chunk_size_bytes: p.chunk_size_bytes,
    replicas: p.replicas,
    min_replicas: p.min_replicas,
    writer_epoch: 1,
    precondition: p.precondition,
    manifest_id: p.manifest_id,
    state: UploadState.open,
    created_ms: p.created_ms,
    active_ms: p.active_ms,
    stored_bytes: 0,
  }),
)
const insertManifest = statement((db, p: { manifest: Uint8Array }) =>
  db.insertInto('manifests').values({
    manifest_id: p.manifest,
    state: ManifestState.draft,
    reference_count: 0,
    size_bytes: 0,
    chunk_count: 0,
    released_ms: 0,
    trash_count: 0,
    stored_bytes: 0,
  }),
)
const adopt = statement((db, p: { id: Uint8Array; owner: string; precondition: string; now: number }) =>
  db
    .updateTable('uploads')
    .set({ writer_epoch: sql<number>`writer_epoch + 1`, owner: p.owner, precondition: p.precondition, active_ms: p.now })
    .where('upload_id', '=', p.id),
)
const touch = statement((db, p: { id: Uint8Array; now: number }) =>
  db.updateTable('uploads').set({ active_ms: p.now }).where('upload_id', '=', p.id),
)
const close = statement((db, p: { id: Uint8Array; state: number; now: number }) =>
  db.updateTable('uploads').set({ state: p.state, active_ms: p.now }).where('upload_id', '=', p.id),
)
const page = statement((db, p: { after: Uint8Array; limit: number }) =>
  db
    .selectFrom('uploads')
    .selectAll()
    .where('upload_id', '>', p.after)
    .where('state', '=', sql.lit(UploadState.open))
    .orderBy('upload_id')
    .limit(p.limit),
)
const idle = statement((db, p: { before: number; streamsBefore: number; limit: number }) =>
  db
    .selectFrom('uploads')
    .selectAll()
    .where('state', '=', sql.lit(UploadState.open))
    .where((eb) =>
      eb.or([eb('active_ms', '<', p.before), eb.and([eb('fingerprint', 'is', null), eb('active_ms', '<', p.streamsBefore)])]),
    )
    .limit(p.limit),
)
const forget = statement(
  (_db, p: { before: number; limit: number }) =>
    sql<never>`delete from uploads where upload_id in (select upload_id from uploads where state <> 0 and active_ms < ${p.before} limit ${p.limit})`,
)
const unreported = statement((db, p: { id: Uint8Array }) =>
  db.selectFrom('chunks').select('chunk_id').where('upload_id', '=', p.id).where('state', '=', ChunkState.allocated),
)
const discardManifest = statement((db, p: { manifest: Uint8Array }) =>
  db
    .updateTable('manifests')
    .set({ state: ManifestState.garbage })
    .where('manifest_id', '=', p.manifest)
    .where('state', '=', ManifestState.draft),
)

export interface OpenUploadArgs {
  readonly path: string
  readonly sizeBytes: number | null
  readonly fingerprint: string | null
  readonly chunkSizeBytes: number | undefined
  readonly replicas: number | undefined
  readonly precondition: Precondition
  readonly owner: string
  readonly adoption: Adoption
  readonly bucketDefaults: BucketPolicy
  readonly request?: RequestKey
}

export interface OpenedUpload {
  readonly uploadId: UploadId
  readonly path: string
  readonly writerEpoch: number
  readonly chunkSizeBytes: number
  readonly replicas: number
  readonly minReplicas: number
  readonly resumed: boolean
}

export const toOpened = (row: UploadTable, resumed: boolean): OpenedUpload => ({
  uploadId: toHex(row.upload_id),
  path: row.path,
  writerEpoch: row.writer_epoch,
  chunkSizeBytes: row.chunk_size_bytes,
  replicas: row.replicas,
  minReplicas: row.min_replicas,
  resumed,
})

/** @throws `ALREADY_EXISTS`, `PRECONDITION_FAILED`, `UPLOAD_ACTIVE` */
export function* openUpload(ctx: OperationContext, args: OpenUploadArgs): Operation<OpenedUpload> {
  return yield* once(ctx, 'openUpload', args.request, open(ctx, args))
}

function* open(ctx: OperationContext, args: OpenUploadArgs): Operation<OpenedUpload> {
  const { row, resumed } = yield* openRow(ctx, args)
  return toOpened(row, resumed)
}

/** As {@link openUpload}, for whoever goes on with the session at once. */
export function* openRow(ctx: OperationContext, args: OpenUploadArgs): Operation<{ row: UploadTable; resumed: boolean }> {
  const policy = yield* ensureBucket(ctx, bucketOf(args.path as FilePath), args.bucketDefaults)
  const current = yield* findName(args.path)
  checkPrecondition(args.precondition, args.path, current?.generation)
  const resumable = yield* findResumable(ctx, args)
  if (resumable) {
    yield* send(adopt, {
      id: resumable.upload_id,
      owner: args.owner,
      precondition: JSON.stringify(args.precondition),
      now: ctx.nowMs,
    })
    return { row: { ...resumable, writer_epoch: resumable.writer_epoch + 1, active_ms: ctx.nowMs }, resumed: true }
  }
  const replicas = args.replicas ?? policy.replicas
  const row: UploadTable = {
    upload_id: ctx.newId(),
    path: args.path,
    owner: args.owner,
    fingerprint: args.fingerprint,
    size_bytes: args.sizeBytes,
    uploaded_bytes: 0,
    chunk_size_bytes: args.chunkSizeBytes ?? policy.chunkSizeBytes,
    replicas,
    min_replicas: Math.min(policy.minReplicas, replicas),
    writer_epoch: 1,
    precondition: JSON.stringify(args.precondition),
    manifest_id: ctx.newId(),
    state: UploadState.open,
    created_ms: ctx.nowMs,
    active_ms: ctx.nowMs,
    stored_bytes: 0,
  }
  yield* send(insertManifest, { manifest: row.manifest_id })
  yield* send(insert, row)
  return { row, resumed: false }
}

/** The session to go on with, if the caller wants one and there is one of the same source and shape. */
function* findResumable(ctx: OperationContext, args: OpenUploadArgs): Operation<UploadTable | undefined> {
  const { adoption } = args
  if (args.fingerprint === null || adoption.kind === 'none') return undefined
  const candidates = (yield* all(openOnPath, { path: args.path, fingerprint: args.fingerprint })).filter(
    (row) =>
      row.size_bytes === args.sizeBytes &&
      (args.chunkSizeBytes === undefined || row.chunk_size_bytes === args.chunkSizeBytes) &&
      (args.replicas === undefined || row.replicas === args.replicas),
  )
  if (adoption.kind === 'take-over') return candidates.find((row) => toHex(row.upload_id) === adoption.uploadId)
  const idleOne = candidates.find((row) => ctx.nowMs - row.active_ms >= UPLOAD_ACTIVE_MS)
  const busy = candidates[0]
  if (!idleOne && busy) {
    throw new CairnError(
      'UPLOAD_ACTIVE',
      `${args.owner === busy.owner ? 'An earlier run' : busy.owner} was uploading this file to ${args.path} a moment ago.`,
      {
        data: {
          uploadId: toHex(busy.upload_id),
          owner: busy.owner,
          activeMs: busy.active_ms,
          idleMs: ctx.nowMs - busy.active_ms,
        },
      },
    )
  }
  return idleOne
}

/**
 * The session, checked to be open and to belong to this writer; counts as a sign of life of it.
 * @throws `UPLOAD_NOT_FOUND`, `UPLOAD_CLOSED`, `UPLOAD_SUPERSEDED`
 */
export function* useUpload(ctx: OperationContext, uploadId: string, writerEpoch: number): Operation<UploadTable> {
  const row = yield* ownUpload(uploadId, writerEpoch)
  if (row.active_ms !== ctx.nowMs) yield* send(touch, { id: row.upload_id, now: ctx.nowMs })
  return row
}

/** As {@link useUpload}, for whoever ends the session: there is no life to be noted. */
export function* ownUpload(uploadId: string, writerEpoch: number): Operation<UploadTable> {
  const row = yield* findUpload(uploadId)
  if (row.state !== UploadState.open) throw closed(uploadId)
  if (row.writer_epoch !== writerEpoch) {
    throw new CairnError(
      'UPLOAD_SUPERSEDED',
      `${row.owner} has taken over this upload of ${row.path}. This one stops here; nothing is lost.`,
    )
  }
  return row
}

export function* findUpload(uploadId: string): Operation<UploadTable> {
  const row = yield* one(find, { id: toBytes(uploadId) })
  if (!row)
    throw new CairnError('UPLOAD_NOT_FOUND', `There is no upload session ${uploadId}. It was dropped, or expired; start again.`)
  return row
}

const closed = (uploadId: string): CairnError =>
  new CairnError('UPLOAD_CLOSED', `Upload session ${uploadId} is already committed or aborted.`)

export function* closeUpload(ctx: OperationContext, upload: UploadTable, state: number): Operation<void> {
  yield* send(close, { id: upload.upload_id, state, now: ctx.nowMs })
  // Chunks that were asked for and never reported: their copies, if any were made, belong to no one.
  for (const chunk of yield* all(unreported, { id: upload.upload_id })) yield* condemnChunk(ctx, chunk.chunk_id)
}

export function* getUpload(
  _ctx: OperationContext,
  args: { uploadId: string },
): Operation<{ replicas: number; minReplicas: number }> {
  const row = yield* findUpload(args.uploadId)
  return { replicas: row.replicas, minReplicas: row.min_replicas }
}

export function* keepUpload(
  ctx: OperationContext,
  args: { uploadId: string; writerEpoch: number },
): Operation<{ expiresMs: number }> {
  const upload = yield* useUpload(ctx, args.uploadId, args.writerEpoch)
  return { expiresMs: ctx.nowMs + keptMs(upload.fingerprint) }
}

export interface UploadInfo {
  readonly uploadId: UploadId
  readonly path: string
  readonly owner: string
  readonly sizeBytes: number | null
  readonly uploadedBytes: number
  readonly writerEpoch: number
  readonly createdMs: number
  readonly activeMs: number
  readonly expiresMs: number
}

export function* listUploads(_ctx: OperationContext, args: { after: string; limit: number }): Operation<UploadInfo[]> {
  const rows = yield* all(page, { after: toBytes(args.after), limit: args.limit })
  return rows.map((row) => ({
    uploadId: toHex(row.upload_id),
    path: row.path,
    owner: row.owner,
    sizeBytes: row.size_bytes,
    uploadedBytes: row.uploaded_bytes,
    writerEpoch: row.writer_epoch,
    createdMs: row.created_ms,
    activeMs: row.active_ms,
    expiresMs: row.active_ms + keptMs(row.fingerprint),
  }))
}

/** @throws `UPLOAD_NOT_FOUND`; `UPLOAD_CLOSED` when it is committed, and then nothing is touched */
export function* abortUpload(
  ctx: OperationContext,
  args: { uploadId: string; request?: RequestKey },
): Operation<{ uploadId: UploadId }> {
  return yield* once(ctx, 'abortUpload', args.request, abort(ctx, args.uploadId as UploadId))
}

function* abort(ctx: OperationContext, uploadId: UploadId): Operation<{ uploadId: UploadId }> {
  const row = yield* findUpload(uploadId)
  if (row.state === UploadState.committed) throw closed(uploadId)
  if (row.state === UploadState.open) yield* discard(ctx, row)
  return { uploadId }
}

function* discard(ctx: OperationContext, row: UploadTable): Operation<void> {
  yield* closeUpload(ctx, row, UploadState.aborted)
  yield* send(discardManifest, { manifest: row.manifest_id })
}

/** Drops sessions idle for seven days, those of streams after a day, and forgets ended ones after a day. @returns how many were dropped */
export function* expireUploads(ctx: OperationContext, args: { limit: number }): Operation<number> {
  const rows = yield* all(idle, {
    before: ctx.nowMs - UPLOAD_KEPT_MS,
    streamsBefore: ctx.nowMs - STREAM_UPLOAD_KEPT_MS,
    limit: args.limit,
  })
  for (const row of rows) yield* discard(ctx, row)
  yield* send(forget, { before: ctx.nowMs - DAY_MS, limit: args.limit })
  return rows.length
}

const openBytes = statement((db, _p: object) =>
  db
    .selectFrom('uploads')
    .select((eb) => eb.fn.coalesce(eb.fn.sum<number>('stored_bytes'), sql<number>`0`).as('bytes'))
    .where('state', '=', sql.lit(UploadState.open)),
)

/** What the wanted copies of all drafts' chunks take on disks. */
export function* storedDraftBytes(): Operation<number> {
  return Number((yield* one(openBytes, {}))?.bytes ?? 0)
}
