/** The namespace: what stands at a path, and the changes of one path at a time. */
import { sql } from 'kysely'
import { CairnError } from '../../../common/errors/cairn-error.js'
import type { BucketPolicy } from '../../../common/protocol/buckets.js'
import type { FileInfo } from '../../../common/protocol/files.js'
import { checkPrecondition, type Precondition } from '../../../common/protocol/precondition.js'
import { bucketOf, parseFilePath, type FilePath } from '../../../common/path-name.js'
import { DAY_MS } from '../../../common/units.js'
import { toHex } from '../codec.js'
import { all, one, run, send, statement, type Operation } from '../engine/statement.js'
import type { FileColumns, TrashTable } from '../schema.js'
import { ensureBucket, getBucket } from './buckets.js'
import { count, logChange, once, type OperationContext, type RequestKey } from './context.js'
import { releaseManifest, restoreManifest, shareManifest, trashManifest } from './manifests.js'

const find = statement((db, p: { path: string }) => db.selectFrom('names').selectAll().where('path', '=', p.path))
const upsert = statement(
  (_db, p: FileColumns) =>
    sql<never>`insert into names (path, file_id, generation, manifest_id, size_bytes, chunk_size_bytes, chunk_count, checksum, replicas, created_ms, modified_ms)
    values (${p.path}, ${p.file_id}, ${p.generation}, ${p.manifest_id}, ${p.size_bytes}, ${p.chunk_size_bytes}, ${p.chunk_count}, ${p.checksum}, ${p.replicas}, ${p.created_ms}, ${p.modified_ms})
    on conflict (path) do update set file_id = excluded.file_id, generation = excluded.generation, manifest_id = excluded.manifest_id,
      size_bytes = excluded.size_bytes, chunk_size_bytes = excluded.chunk_size_bytes, chunk_count = excluded.chunk_count,
      checksum = excluded.checksum, replicas = excluded.replicas, created_ms = excluded.created_ms, modified_ms = excluded.modified_ms`,
)
const remove = statement((db, p: { path: string }) => db.deleteFrom('names').where('path', '=', p.path))
const retire = statement(
  (_db, p: { path: string; generation: number; now: number }) =>
    sql<never>`insert into retired_names (path, generation, retired_ms) values (${p.path}, ${p.generation}, ${p.now})
    on conflict (path) do update set generation = excluded.generation, retired_ms = excluded.retired_ms`,
)
const findRetired = statement((db, p: { path: string }) =>
  db.selectFrom('retired_names').select('generation').where('path', '=', p.path),
)
const forgetRetired = statement(
  (_db, p: { before: number; limit: number }) =>
    sql<never>`delete from retired_names where path in (select path from retired_names where retired_ms < ${p.before} limit ${p.limit})`,
)
const lastTrashed = statement((db, p: { path: string }) =>
  db
    .selectFrom('trash')
    .selectAll()
    .where('path', '=', p.path)
    .orderBy('deleted_ms', 'desc')
    .orderBy('generation', 'desc')
    .limit(1),
)
const greatestTrashed = statement((db, p: { path: string }) =>
  db
    .selectFrom('trash')
    .select((eb) => eb.fn.max('generation').as('generation'))
    .where('path', '=', p.path),
)
const insertTrash = statement((db, p: TrashTable) =>
  db.insertInto('trash').values({ ...columnsOf(p), trash_id: p.trash_id, deleted_ms: p.deleted_ms, purge_ms: p.purge_ms }),
)
const removeTrash = statement((db, p: { id: Uint8Array }) => db.deleteFrom('trash').where('trash_id', '=', p.id))
const dueTrash = statement((db, p: { now: number; limit: number }) =>
  db.selectFrom('trash').selectAll().where('purge_ms', '<=', p.now).limit(p.limit),
)

const soonestTrash = statement((db, p: { before: number; limit: number }) =>
  db.selectFrom('trash').selectAll().where('deleted_ms', '<=', p.before).orderBy('purge_ms').limit(p.limit),
)

/** The file columns of a row (or of the parameters that stand for one), without what else it has. */
const columnsOf = (row: FileColumns): FileColumns => ({
  path: row.path,
  file_id: row.file_id,
  generation: row.generation,
  manifest_id: row.manifest_id,
  size_bytes: row.size_bytes,
  chunk_size_bytes: row.chunk_size_bytes,
  chunk_count: row.chunk_count,
  checksum: row.checksum,
  replicas: row.replicas,
  created_ms: row.created_ms,
  modified_ms: row.modified_ms,
})

export const toFileInfo = (row: FileColumns): FileInfo => ({
  path: row.path,
  fileId: toHex(row.file_id),
  generation: row.generation,
  sizeBytes: row.size_bytes,
  chunkSizeBytes: row.chunk_size_bytes,
  chunkCount: row.chunk_count,
  checksum: row.checksum,
  replicas: row.replicas,
  manifestId: toHex(row.manifest_id),
  createdMs: row.created_ms,
  modifiedMs: row.modified_ms,
})

const notFound = (path: string): CairnError => new CairnError('FILE_NOT_FOUND', `There is no file ${path}.`)

export function* findName(path: string): Operation<FileColumns | undefined> {
  return yield* one(find, { path })
}

export function* statFile(_ctx: OperationContext, args: { path: string }): Operation<FileInfo | undefined> {
  const row = yield* findName(args.path)
  return row && toFileInfo(row)
}

/** The generation that the next file at `path` gets: above whatever stood there, as far back as is remembered. */
export function* nextGeneration(path: string): Operation<number> {
  const current = yield* findName(path)
  if (current) return current.generation + 1
  const trashed = yield* one(greatestTrashed, { path })
  const retired = yield* one(findRetired, { path })
  return Math.max(trashed?.generation ?? 0, retired?.generation ?? 0) + 1
}

/** Makes `row` what stands at its path. What stood there loses its reference. */
export function* putName(ctx: OperationContext, row: FileColumns): Operation<void> {
  const before = yield* findName(row.path)
  yield* send(upsert, row)
  if (before) yield* releaseManifest(ctx, before.manifest_id)
  yield* count(ctx, 'files', before ? 0 : 1)
  yield* count(ctx, 'fileBytes', row.size_bytes - (before?.size_bytes ?? 0))
}

function* dropName(ctx: OperationContext, row: FileColumns): Operation<void> {
  yield* send(remove, { path: row.path })
  yield* send(retire, { path: row.path, generation: row.generation, now: ctx.nowMs })
  yield* count(ctx, 'files', -1)
  yield* count(ctx, 'fileBytes', -row.size_bytes)
}

/** Forgets the generations of names that have been gone since `before`. @returns how many */
export function* pruneRetiredNames(_ctx: OperationContext, args: { before: number; limit: number }): Operation<number> {
  return yield* run(forgetRetired, args)
}

export interface DeleteFileArgs {
  readonly path: string
  readonly purge: boolean
  readonly precondition: Precondition
  readonly request?: RequestKey
}

/** @throws `FILE_NOT_FOUND`, `PRECONDITION_FAILED` */
export function* deleteFile(ctx: OperationContext, args: DeleteFileArgs): Operation<{ path: string; generation: number }> {
  return yield* once(ctx, 'deleteFile', args.request, removeOne(ctx, args))
}

function* removeOne(ctx: OperationContext, args: DeleteFileArgs): Operation<{ path: string; generation: number }> {
  const row = yield* findName(args.path)
  if (!row) throw notFound(args.path)
  checkPrecondition(args.precondition, args.path, row.generation)
  yield* removeRow(ctx, row, args.purge)
  return { path: args.path, generation: row.generation }
}

/** Takes a name away: into the trash, or for good. */
export function* removeRow(ctx: OperationContext, row: FileColumns, purge: boolean): Operation<void> {
  yield* dropName(ctx, row)
  const bucket = yield* getBucket(ctx, { name: bucketOf(row.path as FilePath) })
  const trashMs = purge ? 0 : Math.round((bucket?.trashDays ?? 0) * DAY_MS)
  if (trashMs > 0) {
    yield* send(insertTrash, { ...row, trash_id: ctx.newId(), deleted_ms: ctx.nowMs, purge_ms: ctx.nowMs + trashMs })
    yield* trashManifest(ctx, row.manifest_id)
  } else {
    yield* releaseManifest(ctx, row.manifest_id)
  }
  yield* logChange(ctx, 'file.deleted', row.path, { generation: row.generation, purged: trashMs === 0 })
}

export interface CopyFileArgs {
  readonly from: string
  readonly to: string
  readonly precondition: Precondition
  readonly bucketDefaults: BucketPolicy
  readonly request?: RequestKey
}

/** @throws `FILE_NOT_FOUND`, `ALREADY_EXISTS`, `PRECONDITION_FAILED` */
export function* copyFile(ctx: OperationContext, args: CopyFileArgs): Operation<FileInfo> {
  return yield* once(ctx, 'copyFile', args.request, copyOne(ctx, args))
}

export function* copyOne(ctx: OperationContext, args: CopyFileArgs): Operation<FileInfo> {
  const source = yield* findName(args.from)
  if (!source) throw notFound(args.from)
  const target = yield* findName(args.to)
  checkPrecondition(args.precondition, args.to, target?.generation)
  yield* ensureBucket(ctx, bucketOf(parseFilePath(args.to)), args.bucketDefaults)
  const row: FileColumns = {
    ...columnsOf(source),
    path: args.to,
    file_id: target?.file_id ?? ctx.newId(),
    generation: yield* nextGeneration(args.to),
    created_ms: target?.created_ms ?? ctx.nowMs,
    modified_ms: ctx.nowMs,
  }
  yield* shareManifest(ctx, source.manifest_id)
  yield* putName(ctx, row)
  yield* logChange(ctx, 'file.copied', args.to, {
    from: args.from,
    generation: row.generation,
    fromGeneration: source.generation,
  })
  return toFileInfo(row)
}

/** @throws as {@link copyFile} */
export function* renameFile(ctx: OperationContext, args: CopyFileArgs): Operation<FileInfo> {
  return yield* once(ctx, 'renameFile', args.request, renameOne(ctx, args))
}

export function* renameOne(ctx: OperationContext, args: CopyFileArgs): Operation<FileInfo> {
  const source = yield* findName(args.from)
  if (!source) throw notFound(args.from)
  const target = yield* findName(args.to)
  checkPrecondition(args.precondition, args.to, target?.generation)
  if (args.from === args.to) return toFileInfo(source)
  yield* ensureBucket(ctx, bucketOf(parseFilePath(args.to)), args.bucketDefaults)
  const generation = Math.max(source.generation, yield* nextGeneration(args.to))
  const row: FileColumns = { ...columnsOf(source), path: args.to, generation, modified_ms: ctx.nowMs }
  yield* dropName(ctx, source)
  yield* putName(ctx, row)
  yield* logChange(ctx, 'file.renamed', args.to, { from: args.from, generation })
  return toFileInfo(row)
}

/** @throws `TRASH_ENTRY_NOT_FOUND`, `ALREADY_EXISTS` */
export function* undeleteFile(ctx: OperationContext, args: { path: string; request?: RequestKey }): Operation<FileInfo> {
  return yield* once(ctx, 'undeleteFile', args.request, undeleteOne(ctx, args.path))
}

function* undeleteOne(ctx: OperationContext, path: string): Operation<FileInfo> {
  const current = yield* findName(path)
  checkPrecondition({ kind: 'absent' }, path, current?.generation)
  const entry = yield* one(lastTrashed, { path })
  if (!entry) throw new CairnError('TRASH_ENTRY_NOT_FOUND', `The trash holds no file ${path}.`)
  const row: FileColumns = { ...columnsOf(entry), generation: entry.generation + 1, modified_ms: ctx.nowMs }
  yield* send(removeTrash, { id: entry.trash_id })
  yield* restoreManifest(ctx, entry.manifest_id)
  yield* putName(ctx, row)
  yield* logChange(ctx, 'file.undeleted', path, { generation: row.generation })
  return toFileInfo(row)
}

/** Drops trash whose time is over. @returns how many entries */
export function* purgeTrash(ctx: OperationContext, args: { limit: number }): Operation<number> {
  const due = yield* all(dueTrash, { now: ctx.nowMs, limit: args.limit })
  for (const entry of due) yield* dropTrash(ctx, entry)
  return due.length
}

/**
 * Drops trash before its time, what would go first anyway first, until the disks will have `bytes` more: space is short. What
 * was deleted after `before` stays. @returns how much will come free
 */
export function* shortenTrash(ctx: OperationContext, args: { bytes: number; before: number; limit: number }): Operation<number> {
  const soonest = yield* all(soonestTrash, { before: args.before, limit: args.limit })
  let freed = 0
  for (const entry of soonest) {
    if (freed >= args.bytes) break
    freed += yield* dropTrash(ctx, entry)
  }
  return freed
}

/** @returns what all copies of it take on disks, if nothing else holds them */
function* dropTrash(ctx: OperationContext, entry: TrashTable): Operation<number> {
  yield* send(removeTrash, { id: entry.trash_id })
  return yield* releaseManifest(ctx, entry.manifest_id, 'trash')
}
