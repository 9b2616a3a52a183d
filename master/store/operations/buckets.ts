/** Buckets and their policy. */
import { sql } from 'kysely'
import { CairnError } from '../../../common/errors/cairn-error.js'
import type { BucketInfo, BucketPolicy } from '../../../common/protocol/buckets.js'
import { all, one, send, statement, type Operation } from '../engine/statement.js'
import type { BucketTable } from '../schema.js'
import { logChange, once, type OperationContext, type RequestKey } from './context.js'

const find = statement((db, p: { name: string }) => db.selectFrom('buckets').selectAll().where('name', '=', p.name))
const page = statement((db, p: { after: string; limit: number }) =>
  db.selectFrom('buckets').selectAll().where('name', '>', p.after).orderBy('name').limit(p.limit),
)
const upsert = statement(
  (_db, p: BucketTable) =>
    sql<never>`insert into buckets (name, replicas, min_replicas, chunk_size_bytes, trash_days, created_ms)
    values (${p.name}, ${p.replicas}, ${p.min_replicas}, ${p.chunk_size_bytes}, ${p.trash_days}, ${p.created_ms})
    on conflict (name) do update set replicas = excluded.replicas, min_replicas = excluded.min_replicas,
      chunk_size_bytes = excluded.chunk_size_bytes, trash_days = excluded.trash_days`,
)
const remove = statement((db, p: { name: string }) => db.deleteFrom('buckets').where('name', '=', p.name))
const anyName = statement((db, p: { from: string; to: string }) =>
  db.selectFrom('names').select('path').where('path', '>=', p.from).where('path', '<', p.to).limit(1),
)
const anyUpload = statement((db, p: { from: string; to: string }) =>
  db
    .selectFrom('uploads')
    .select('path')
    .where('state', '=', sql.lit(0))
    .where('path', '>=', p.from)
    .where('path', '<', p.to)
    .limit(1),
)

const toInfo = (row: BucketTable): BucketInfo => ({
  name: row.name,
  replicas: row.replicas,
  minReplicas: row.min_replicas,
  chunkSizeBytes: row.chunk_size_bytes,
  trashDays: row.trash_days,
  createdMs: row.created_ms,
})

export function* getBucket(_ctx: OperationContext, args: { name: string }): Operation<BucketInfo | undefined> {
  const row = yield* one(find, { name: args.name })
  return row && toInfo(row)
}

export function* listBuckets(_ctx: OperationContext, args: { after: string; limit: number }): Operation<BucketInfo[]> {
  return (yield* all(page, args)).map(toInfo)
}

/** The bucket's policy; made with `defaults` if there is none yet. */
export function* ensureBucket(ctx: OperationContext, name: string, defaults: BucketPolicy): Operation<BucketInfo> {
  const row = yield* one(find, { name })
  if (row) return toInfo(row)
  return yield* write(ctx, name, defaults, ctx.nowMs)
}

function* write(ctx: OperationContext, name: string, policy: BucketPolicy, createdMs: number): Operation<BucketInfo> {
  if (policy.minReplicas > policy.replicas) {
    throw new CairnError('INVALID_ARGUMENT', `minReplicas (${policy.minReplicas}) cannot exceed replicas (${policy.replicas}).`)
  }
  const row: BucketTable = {
    name,
    replicas: policy.replicas,
    min_replicas: policy.minReplicas,
    chunk_size_bytes: policy.chunkSizeBytes,
    trash_days: policy.trashDays,
    created_ms: createdMs,
  }
  yield* send(upsert, row)
  yield* logChange(ctx, 'bucket.changed', `/${name}/`, { ...policy })
  return toInfo(row)
}

export interface PutBucketArgs {
  readonly name: string
  readonly changes: Partial<BucketPolicy>
  readonly defaults: BucketPolicy
  readonly request?: RequestKey
}

export function* putBucket(ctx: OperationContext, args: PutBucketArgs): Operation<BucketInfo> {
  return yield* once(ctx, 'putBucket', args.request, apply(ctx, args))
}

function* apply(ctx: OperationContext, args: PutBucketArgs): Operation<BucketInfo> {
  const row = yield* one(find, { name: args.name })
  const before: BucketPolicy = row ? toInfo(row) : args.defaults
  const policy: BucketPolicy = { ...before, ...args.changes }
  // One wanted copy alone means that one is enough, unless the caller says otherwise.
  const lowered =
    args.changes.replicas !== undefined && args.changes.minReplicas === undefined && policy.minReplicas > policy.replicas
  return yield* write(
    ctx,
    args.name,
    lowered ? { ...policy, minReplicas: policy.replicas } : policy,
    row?.created_ms ?? ctx.nowMs,
  )
}

/** @throws `BUCKET_NOT_FOUND`, `BUCKET_NOT_EMPTY` */
export function* deleteBucket(ctx: OperationContext, args: { name: string; request?: RequestKey }): Operation<{ name: string }> {
  return yield* once(ctx, 'deleteBucket', args.request, drop(ctx, args.name))
}

function* drop(ctx: OperationContext, name: string): Operation<{ name: string }> {
  if (!(yield* one(find, { name }))) throw new CairnError('BUCKET_NOT_FOUND', `There is no bucket ${name}.`)
  // All paths of the bucket lie between "/name/" and "/name0": "0" follows "/" in ASCII.
  const range = { from: `/${name}/`, to: `/${name}0` }
  const inside = (yield* one(anyName, range)) ?? (yield* one(anyUpload, range))
  if (inside)
    throw new CairnError('BUCKET_NOT_EMPTY', `Bucket ${name} still holds ${inside.path}. Remove its files and uploads first.`)
  yield* send(remove, { name })
  yield* logChange(ctx, 'bucket.deleted', `/${name}/`, {})
  return { name }
}
