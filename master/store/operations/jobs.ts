/** Jobs over a prefix: delete, rename, copy. Each step does some files and moves the cursor in one transaction. */
import { sql } from 'kysely'
import { CairnError, isCairnError } from '../../../common/errors/cairn-error.js'
import type { JobId } from '../../../common/ids.js'
import type { JobInfo } from '../../../common/protocol/admin.js'
import type { BucketPolicy } from '../../../common/protocol/buckets.js'
import { toBytes, toHex } from '../codec.js'
import { all, one, run, send, statement, type Operation } from '../engine/statement.js'
import type { FileColumns, JobTable } from '../schema.js'
import { once, type OperationContext, type RequestKey } from './context.js'
import { copyOne, removeRow, renameOne } from './names.js'

const find = statement((db, p: { id: Uint8Array }) => db.selectFrom('jobs').selectAll().where('job_id', '=', p.id))
const insert = statement((db, p: JobTable) =>
  db.insertInto('jobs').values({
    job_id: p.job_id,
    kind: p.kind,
    from_prefix: p.from_prefix,
    to_prefix: p.to_prefix,
    flag: p.flag,
    state: 'running',
    cursor: p.cursor,
    processed: 0,
    skipped: 0,
    error: null,
    created_ms: p.created_ms,
  }),
)
const advance = statement(
  (db, p: { id: Uint8Array; cursor: string; processed: number; skipped: number; state: string; error: string | null }) =>
    db
      .updateTable('jobs')
      .set({
        cursor: p.cursor,
        processed: sql<number>`processed + ${p.processed}`,
        skipped: sql<number>`skipped + ${p.skipped}`,
        state: p.state,
        error: p.error,
      })
      .where('job_id', '=', p.id),
)
const running = statement((db, _p: object) =>
  db.selectFrom('jobs').selectAll().where('state', '=', 'running').orderBy('created_ms').limit(1),
)
const recent = statement((db, p: { limit: number }) =>
  db.selectFrom('jobs').selectAll().orderBy('created_ms', 'desc').limit(p.limit),
)
const prune = statement((db, p: { before: number }) =>
  db.deleteFrom('jobs').where('state', '<>', 'running').where('created_ms', '<', p.before),
)
const namesFrom = statement((db, p: { from: string; after: string; limit: number }) =>
  db.selectFrom('names').selectAll().where('path', '>=', p.from).where('path', '>', p.after).orderBy('path').limit(p.limit),
)

const toInfo = (row: JobTable): JobInfo => ({
  id: toHex<JobId>(row.job_id),
  kind: row.kind as JobInfo['kind'],
  from: row.from_prefix,
  to: row.to_prefix,
  state: row.state as JobInfo['state'],
  processed: row.processed,
  skipped: row.skipped,
  createdMs: row.created_ms,
  error: row.error,
})

export interface CreateJobArgs {
  readonly kind: JobInfo['kind']
  readonly from: string
  readonly to: string | null
  /** For deletions: purge. For the others: overwrite. */
  readonly flag: boolean
  readonly request?: RequestKey
}

export function* createJob(ctx: OperationContext, args: CreateJobArgs): Operation<JobInfo> {
  return yield* once(ctx, 'createJob', args.request, create(ctx, args))
}

function* create(ctx: OperationContext, args: CreateJobArgs): Operation<JobInfo> {
  const row: JobTable = {
    job_id: ctx.newId(),
    kind: args.kind,
    from_prefix: args.from,
    to_prefix: args.to,
    flag: args.flag ? 1 : 0,
    state: 'running',
    cursor: '',
    processed: 0,
    skipped: 0,
    error: null,
    created_ms: ctx.nowMs,
  }
  if (args.to?.startsWith(args.from)) {
    throw new CairnError(
      'INVALID_ARGUMENT',
      `${args.to} lies under ${args.from}: the job would meet its own results. Choose a target outside.`,
    )
  }
  yield* send(insert, row)
  return toInfo(row)
}

export function* getJob(_ctx: OperationContext, args: { jobId: string }): Operation<JobInfo | undefined> {
  const row = yield* one(find, { id: toBytes(args.jobId) })
  return row && toInfo(row)
}

/** The newest jobs, running or not. */
export function* listJobs(_ctx: OperationContext, args: { limit: number }): Operation<JobInfo[]> {
  return (yield* all(recent, args)).map(toInfo)
}

export function* pruneJobs(_ctx: OperationContext, args: { before: number }): Operation<number> {
  return yield* run(prune, args)
}

/** Does the next files of the oldest running job. @returns whether there was one */
export function* stepJobs(ctx: OperationContext, args: { limit: number; bucketDefaults: BucketPolicy }): Operation<boolean> {
  const job = yield* one(running, {})
  if (!job) return false
  const rows = yield* all(namesFrom, { from: job.from_prefix, after: job.cursor, limit: args.limit })
  const mine = rows.filter((row) => row.path.startsWith(job.from_prefix))
  let skipped = 0
  for (const row of mine) if (!(yield* stepFile(ctx, job, row, args.bucketDefaults))) skipped += 1
  const last = mine.at(-1)
  const finished = mine.length < args.limit
  yield* send(advance, {
    id: job.job_id,
    cursor: last?.path ?? job.cursor,
    processed: mine.length - skipped,
    skipped,
    state: finished ? 'done' : 'running',
    error: null,
  })
  return true
}

/**
 * @returns false when the file was left as it was: something stands at its target, its new path would be invalid, or
 *   would lie where this job would meet it again
 */
function* stepFile(ctx: OperationContext, job: JobTable, row: FileColumns, bucketDefaults: BucketPolicy): Operation<boolean> {
  if (job.kind === 'delete-prefix') {
    yield* removeRow(ctx, row, job.flag === 1)
    return true
  }
  const to = (job.to_prefix ?? '') + row.path.slice(job.from_prefix.length)
  if (to.startsWith(job.from_prefix)) return false
  const step = { from: row.path, to, precondition: { kind: job.flag === 1 ? 'none' : 'absent' } as const, bucketDefaults }
  try {
    yield* job.kind === 'rename-prefix' ? renameOne(ctx, step) : copyOne(ctx, step)
    return true
  } catch (error) {
    if (isCairnError(error, 'ALREADY_EXISTS', 'INVALID_PATH')) return false
    throw error
  }
}
