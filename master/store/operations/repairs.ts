/** What operators see and set of re-replication: chunks that repair cannot help, and how much it may take for itself. */
import { sql } from 'kysely'
import { repairSpeed, type RepairSpeed } from '../../../common/protocol/cluster.js'
import type { ChunkId } from '../../../common/ids.js'
import { toBytes, toHex } from '../codec.js'
import { all, one, send, statement, type Operation } from '../engine/statement.js'
import { HealthClass } from '../schema.js'
import { logChange, once, type OperationContext, type RequestKey } from './context.js'
import { FAILING_ATTEMPTS } from './health.js'

const failing = statement(
  (_db, p: { after: Uint8Array; limit: number }) => sql<{
    chunk_id: Uint8Array
    class: number
    serving: number
    wanted: number
    attempts: number
    next_ms: number
    last_error: string | null
    since_ms: number
    length_bytes: number
  }>`
    select h.chunk_id, h.class, h.serving, h.wanted, h.attempts, h.next_ms, h.last_error, h.since_ms, c.length_bytes
    from health h join chunks c on c.chunk_id = h.chunk_id
    where h.chunk_id > ${p.after} and (h.class = ${sql.lit(HealthClass.unavailable)} or h.attempts >= ${sql.lit(FAILING_ATTEMPTS)})
    order by h.chunk_id limit ${p.limit}`,
)

export interface FailingChunk {
  readonly id: ChunkId
  readonly sizeBytes: number
  readonly healthClass: number
  readonly liveCopies: number
  readonly wantedCopies: number
  readonly attempts: number
  readonly nextAttemptMs: number
  readonly lastError: string | null
  readonly sinceMs: number
}

/** Chunks without any live copy, and those that repair has tried in vain several times; by id. */
export function* listFailing(_ctx: OperationContext, args: { after: string; limit: number }): Operation<FailingChunk[]> {
  const rows = yield* all(failing, { after: toBytes(args.after), limit: args.limit })
  return rows.map((row) => ({
    id: toHex(row.chunk_id),
    sizeBytes: row.length_bytes,
    healthClass: row.class,
    liveCopies: row.serving,
    wantedCopies: row.wanted,
    attempts: row.attempts,
    nextAttemptMs: row.next_ms,
    lastError: row.last_error,
    sinceMs: row.since_ms,
  }))
}

const SPEED = 'repair.speed'
const readSetting = statement((db, p: { name: string }) => db.selectFrom('settings').select('value').where('name', '=', p.name))
const writeSetting = statement((db, p: { name: string; value: string }) =>
  db
    .insertInto('settings')
    .values({ name: p.name, value: p.value })
    .onConflict((conflict) => conflict.column('name').doUpdateSet({ value: p.value })),
)

/** How much repair may take; `balanced` until someone says otherwise. */
export function* getRepairSpeed(): Operation<RepairSpeed> {
  const parsed = repairSpeed.safeParse((yield* one(readSetting, { name: SPEED }))?.value)
  return parsed.success ? parsed.data : 'balanced'
}

export function* setRepairSpeed(
  ctx: OperationContext,
  args: { speed: RepairSpeed; request?: RequestKey },
): Operation<RepairSpeed> {
  return yield* once(ctx, 'setRepairSpeed', args.request, writeSpeed(ctx, args.speed))
}

function* writeSpeed(ctx: OperationContext, speed: RepairSpeed): Operation<RepairSpeed> {
  yield* send(writeSetting, { name: SPEED, value: speed })
  yield* logChange(ctx, 'repair.changed', '', { speed })
  return speed
}
