/**
 * The commit: one transaction that makes a file visible, whole. It writes a constant number of rows, because the draft
 * manifest already holds the chunks; it reads each of them once, to check what the client claims and that enough copies
 * are live at this moment.
 */
import { sql } from 'kysely'
import { fileChecksum, type ChunkSummary } from '../../../common/checksum/tree.js'
import { CairnError } from '../../../common/errors/cairn-error.js'
import type { FileInfo } from '../../../common/protocol/files.js'
import { checkPrecondition, type Precondition } from '../../../common/protocol/precondition.js'
import { toHex } from '../codec.js'
import { all, one, send, statement, type Operation } from '../engine/statement.js'
import { ManifestState, ReplicaState, UploadState, type FileColumns, type UploadTable } from '../schema.js'
import { count, logChange, once, type OperationContext, type RequestKey } from './context.js'
import { findName, nextGeneration, putName, toFileInfo } from './names.js'
import { spreadRule, tooClose, type SpreadRule } from './failure-domains.js'
import { tooFewCopies } from './upload-chunks.js'
import { closeUpload, ownUpload } from './uploads.js'

const draftChunks = statement((db, p: { manifest: Uint8Array }) =>
  db
    .selectFrom('manifest_chunks')
    .select(['chunk_index', 'offset_bytes', 'length_bytes', 'root'])
    .where('manifest_id', '=', p.manifest)
    .orderBy('chunk_index'),
)
const weakestChunk = statement(
  (_db, p: { manifest: Uint8Array; min: number }) =>
    sql<{ chunk_index: number; copies: number }>`
    select chunk_index, copies from (
      select mc.chunk_index as chunk_index,
        (select coalesce(sum(d.serving), 0) from replicas r join disks d on d.disk_no = r.disk_no
          where r.chunk_id = mc.chunk_id and r.state = ${sql.lit(ReplicaState.good)}) as copies
      from manifest_chunks mc where mc.manifest_id = ${p.manifest}
    ) as counted where copies < ${p.min} limit 1`,
)
const seal = statement((db, p: { manifest: Uint8Array; size: number; chunks: number; stored: number }) =>
  db
    .updateTable('manifests')
    .set({ state: ManifestState.sealed, reference_count: 1, size_bytes: p.size, chunk_count: p.chunks, stored_bytes: p.stored })
    .where('manifest_id', '=', p.manifest),
)

export interface CommitUploadArgs {
  readonly uploadId: string
  readonly writerEpoch: number
  readonly sizeBytes: number
  readonly chunkCount: number
  readonly checksum: string
  readonly request?: RequestKey
}

/**
 * @throws `UPLOAD_INCOMPLETE` when size, count, order or checksum differ from the draft; `NOT_ENOUGH_REPLICAS`;
 *   `ALREADY_EXISTS`, `PRECONDITION_FAILED`; as `useUpload`. On each the session stays open.
 */
export function* commitUpload(ctx: OperationContext, args: CommitUploadArgs): Operation<FileInfo> {
  return yield* once(ctx, 'commitUpload', args.request, commit(ctx, args))
}

function* commit(ctx: OperationContext, args: CommitUploadArgs): Operation<FileInfo> {
  return yield* commitRow(ctx, yield* ownUpload(args.uploadId, args.writerEpoch), args)
}

/** As {@link commitUpload}, for whoever has looked the session up. */
export function* commitRow(ctx: OperationContext, upload: UploadTable, args: CommitUploadArgs): Operation<FileInfo> {
  const current = yield* findName(upload.path)
  checkPrecondition(JSON.parse(upload.precondition) as Precondition, upload.path, current?.generation)
  yield* checkDraft(upload, args)
  if (args.chunkCount > 0) yield* checkCopies(upload)
  const row: FileColumns = {
    path: upload.path,
    file_id: current?.file_id ?? ctx.newId(),
    generation: yield* nextGeneration(upload.path),
    manifest_id: upload.manifest_id,
    size_bytes: args.sizeBytes,
    chunk_size_bytes: upload.chunk_size_bytes,
    chunk_count: args.chunkCount,
    checksum: args.checksum,
    replicas: upload.replicas,
    created_ms: current?.created_ms ?? ctx.nowMs,
    modified_ms: ctx.nowMs,
  }
  yield* send(seal, {
    manifest: upload.manifest_id,
    size: args.sizeBytes,
    chunks: args.chunkCount,
    stored: upload.stored_bytes,
  })
  yield* count(ctx, 'storedFileBytes', upload.stored_bytes)
  yield* putName(ctx, row)
  yield* closeUpload(ctx, upload, UploadState.committed)
  yield* logChange(ctx, 'file.committed', row.path, {
    generation: row.generation,
    sizeBytes: row.size_bytes,
    checksum: row.checksum,
  })
  return toFileInfo(row)
}

/** @throws `NOT_ENOUGH_REPLICAS` unless each chunk has enough live copies, far enough apart */
function* checkCopies(upload: UploadTable): Operation<void> {
  const weakest = yield* one(weakestChunk, { manifest: upload.manifest_id, min: upload.min_replicas })
  if (weakest) throw tooFewCopies(weakest.chunk_index, weakest.copies, upload.min_replicas)
  const rule = yield* spreadRule(upload.min_replicas, upload.chunk_size_bytes)
  const close = yield* tooClose(rule, upload.manifest_id)
  if (rule && close) throw tooCloseTogether(close, rule)
}

const tooCloseTogether = (chunk: { index: number; domains: number }, rule: SpreadRule): CairnError =>
  new CairnError(
    'NOT_ENOUGH_REPLICAS',
    `The live copies of chunk ${chunk.index} lie in ${chunk.domains} ${rule.level}, ${rule.domains} are needed while there are several. Nothing was acknowledged.`,
    { data: { chunkIndex: chunk.index, [`${rule.level}s`]: chunk.domains, needed: rule.domains } },
  )

function* checkDraft(upload: UploadTable, claim: CommitUploadArgs): Operation<void> {
  const rows = yield* all(draftChunks, { manifest: upload.manifest_id })
  const incomplete = (why: string): CairnError =>
    new CairnError('UPLOAD_INCOMPLETE', `The upload of ${upload.path} cannot be committed: ${why}.`)
  if (upload.size_bytes !== null && upload.size_bytes !== claim.sizeBytes) {
    throw incomplete(`it was opened for ${upload.size_bytes} bytes, the commit names ${claim.sizeBytes}`)
  }
  if (rows.length !== claim.chunkCount)
    throw incomplete(`${rows.length} chunks are reported, the commit names ${claim.chunkCount}`)
  let offset = 0
  const summaries: ChunkSummary[] = []
  for (const [index, row] of rows.entries()) {
    if (row.chunk_index !== index) throw incomplete(`chunk ${index} is missing`)
    if (row.offset_bytes !== offset)
      throw incomplete(`chunk ${index} starts at ${row.offset_bytes}, the one before it ends at ${offset}`)
    offset += row.length_bytes
    summaries.push({ lengthBytes: row.length_bytes, root: toHex(row.root) })
  }
  if (offset !== claim.sizeBytes) throw incomplete(`the chunks have ${offset} bytes, the commit names ${claim.sizeBytes}`)
  const checksum = fileChecksum(summaries)
  if (checksum !== claim.checksum) throw incomplete(`their checksum is ${checksum}, the commit names ${claim.checksum}`)
}
