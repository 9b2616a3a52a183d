/** What every operation is given, and the small steps that many share: counters, the change log, kept results. */
import { sql } from 'kysely'
import { CairnError, isCairnError } from '../../../common/errors/cairn-error.js'
import { DAY_MS } from '../../../common/units.js'
import { all, one, run, send, statement, type Operation } from '../engine/statement.js'

export interface OperationContext {
  /** The store's clock when the transaction began. */
  readonly nowMs: number
  /** A fresh 128-bit id. */
  readonly newId: () => Uint8Array
  /**
   * Which of several writers at the same time this is. Each counts in rows of its own and writes a log of its own, so that
   * two transactions that have nothing to do with one another touch no row in common. Always 0 in the embedded store.
   */
  readonly lane: number
}

/** Identifies a mutation: the same id with the same digest is the same request. */
export interface RequestKey {
  readonly id: string
  readonly digest: string
}

/** How long the result of a request is kept, so that a repetition is answered and not done again. */
export const REQUEST_RESULT_KEPT_MS = DAY_MS

const findRequest = statement((db, p: { id: string }) => db.selectFrom('requests').selectAll().where('request_id', '=', p.id))
const insertRequest = statement((db, p: { id: string; operation: string; digest: string; result: string; expires: number }) =>
  db
    .insertInto('requests')
    .values({ request_id: p.id, operation: p.operation, digest: p.digest, result: p.result, expires_ms: p.expires }),
)
const expiredRequests = statement(
  (db, p: { now: number; limit: number }) =>
    sql<never>`delete from requests where request_id in (select request_id from requests where expires_ms < ${p.now} limit ${p.limit})`,
)

const insertRefusal = statement(
  (_db, p: { id: string; operation: string; digest: string; result: string; expires: number }) =>
    sql<never>`insert into requests (request_id, operation, digest, result, expires_ms)
    values (${p.id}, ${p.operation}, ${p.digest}, ${p.result}, ${p.expires}) on conflict (request_id) do nothing`,
)
/** Begins a kept result that is an error; no JSON begins so. */
const REFUSAL_MARK = '!'

/** Runs `work` unless the request was done before: then its kept result is the answer. */
export function* once<Result>(
  ctx: OperationContext,
  name: string,
  request: RequestKey | undefined,
  work: Operation<Result>,
): Operation<Result> {
  if (!request) return yield* work
  const kept = yield* one(findRequest, { id: request.id })
  if (kept) {
    if (kept.operation !== name || kept.digest !== request.digest) {
      throw new CairnError(
        'REQUEST_ID_REUSED',
        `Request id ${request.id} was used for another request (${kept.operation}). Use a fresh one for each request.`,
      )
    }
    if (kept.result.startsWith(REFUSAL_MARK)) throw CairnError.fromJSON(JSON.parse(kept.result.slice(REFUSAL_MARK.length)))
    return JSON.parse(kept.result) as Result
  }
  const result = yield* work
  const text = JSON.stringify(result ?? null)
  yield* send(insertRequest, {
    id: request.id,
    operation: name,
    digest: request.digest,
    result: text,
    expires: ctx.nowMs + REQUEST_RESULT_KEPT_MS,
  })
  return result
}

/**
 * A refusal is a result too: were it not kept, a delayed double of the request could still be carried out after its author
 * has been told that it was not, and has gone on from there. Only those that no repetition may change.
 */
export const isKeptRefusal = (error: unknown): error is CairnError =>
  isCairnError(error) && !error.retryable && error.code !== 'REQUEST_ID_REUSED'

export function* keepRefusal(ctx: OperationContext, name: string, request: RequestKey, error: CairnError): Operation<void> {
  yield* send(insertRefusal, {
    id: request.id,
    operation: name,
    digest: request.digest,
    result: REFUSAL_MARK + JSON.stringify(error),
    expires: ctx.nowMs + REQUEST_RESULT_KEPT_MS,
  })
}

export function* pruneRequests(ctx: OperationContext, args: { limit: number }): Operation<number> {
  return yield* run(expiredRequests, { now: ctx.nowMs, limit: args.limit })
}

export type CounterName =
  /** Files in the namespace, and their bytes. */
  | 'files'
  | 'fileBytes'
  /** Bytes that all wanted copies take on disks: of files, and of what only the trash holds. */
  | 'storedFileBytes'
  | 'storedTrashBytes'
  /** Chunks in state live. */
  | 'liveChunks'
  /** Rows of the change log that were ever written; of a lane, the last one's number. */
  | 'changeLog'

const bumpCounter = statement(
  (_db, p: { name: string; lane: number; delta: number }) =>
    sql<never>`insert into counters (name, lane, value) values (${p.name}, ${p.lane}, ${p.delta})
    on conflict (name, lane) do update set value = counters.value + excluded.value`,
)
const nextOfCounter = statement(
  (_db, p: { name: string; lane: number }) =>
    sql<{ value: number }>`insert into counters (name, lane, value) values (${p.name}, ${p.lane}, 1)
    on conflict (name, lane) do update set value = counters.value + 1 returning value`,
)
const allCounters = statement(
  (_db, _p: object) => sql<{ name: string; value: number }>`select name, sum(value) as value from counters group by name`,
)

export function* count(ctx: Pick<OperationContext, 'lane'>, name: CounterName, delta: number): Operation<void> {
  if (delta !== 0) yield* send(bumpCounter, { name, lane: ctx.lane, delta })
}

export function* readCounters(): Operation<Record<CounterName, number>> {
  const out: Record<CounterName, number> = {
    files: 0,
    fileBytes: 0,
    storedFileBytes: 0,
    storedTrashBytes: 0,
    liveChunks: 0,
    changeLog: 0,
  }
  for (const row of yield* all(allCounters, {})) out[row.name as CounterName] = Number(row.value)
  return out
}

const insertChange = statement(
  (db, p: { lane: number; sequence: number; now: number; kind: string; path: string; data: string }) =>
    db
      .insertInto('change_log')
      .values({ lane: p.lane, sequence: p.sequence, time_ms: p.now, kind: p.kind, path: p.path, data: p.data }),
)

export type ChangeKind =
  | 'file.committed'
  | 'file.deleted'
  | 'file.copied'
  | 'file.renamed'
  | 'file.undeleted'
  | 'bucket.changed'
  | 'bucket.deleted'
  | 'metadata.accepted'
  | 'server.changed'
  | 'repair.changed'

/** Writes the one row of the change log that a visible mutation owes. */
export function* logChange(
  ctx: OperationContext,
  kind: ChangeKind,
  path: string,
  data: Readonly<Record<string, unknown>>,
): Operation<void> {
  const row = yield* one(nextOfCounter, { name: 'changeLog' satisfies CounterName, lane: ctx.lane })
  const sequence = row?.value ?? 0
  yield* send(insertChange, { lane: ctx.lane, sequence, now: ctx.nowMs, kind, path, data: JSON.stringify(data) })
}
