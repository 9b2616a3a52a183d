/**
 * Copies of living chunks that are given up: those too many, and bad ones that have been replaced.
 *
 * Invariant: a copy is given up only while the chunk has all its wanted live copies without it, asked in the transaction
 * that gives it up and again in the one before its delete command leaves. A surplus copy whose chunk has lost others since
 * is given back, once no command for it can be on its way any more.
 */
import { sql } from 'kysely'
import { toBytes, toHex } from '../codec.js'
import { all, one, send, statement, type Operation } from '../engine/statement.js'
import { ChunkState, HealthClass, ReplicaState } from '../schema.js'
import type { OperationContext } from './context.js'
import { reassess } from './health.js'

const chunkFacts = statement((db, p: { chunk: Uint8Array }) =>
  db.selectFrom('chunks').select(['state', 'wanted']).where('chunk_id', '=', p.chunk),
)
export const findReplica = statement((db, p: { server: number; chunk: Uint8Array }) =>
  db.selectFrom('replicas').selectAll().where('server_no', '=', p.server).where('chunk_id', '=', p.chunk),
)
export const setReplicaState = statement((db, p: { server: number; chunk: Uint8Array; state: number; now: number }) =>
  db
    .updateTable('replicas')
    .set({ state: p.state, changed_ms: p.now })
    .where('server_no', '=', p.server)
    .where('chunk_id', '=', p.chunk),
)
const servingCopies = statement((db, p: { chunk: Uint8Array }) =>
  db
    .selectFrom('replicas')
    .innerJoin('disks', 'disks.disk_no', 'replicas.disk_no')
    .select((eb) => [
      eb.fn.coalesce(eb.fn.sum<number>('disks.serving'), sql<number>`0`).as('serving'),
      eb.fn.coalesce(eb.fn.sum<number>('disks.lasting'), sql<number>`0`).as('lasting'),
    ])
    .where('replicas.chunk_id', '=', p.chunk)
    .where('replicas.state', '=', ReplicaState.good),
)
const diskOf = statement((db, p: { disk: number }) => db.selectFrom('disks').select('lasting').where('disk_no', '=', p.disk))

/**
 * Whether a live chunk has at least its wanted copies, without `less` of them: those that are live now, or of them those
 * that are to stay, since a copy on a server that is being drained does not make up for another.
 */
export function* hasAllCopies(chunk: Uint8Array, which: 'serving' | 'lasting', less = 0): Operation<boolean> {
  const row = yield* one(chunkFacts, { chunk })
  if (row?.state !== ChunkState.live) return false
  return ((yield* one(servingCopies, { chunk }))?.[which] ?? 0) - less >= row.wanted
}

/**
 * Gives up one copy: a surplus one, or a bad one. Refused (false) when what stays would be fewer than the wanted live
 * copies, so that a late or repeated decision cannot harm.
 */
export function* trimReplica(ctx: OperationContext, args: { chunkId: string; serverNo: number }): Operation<boolean> {
  const chunk = toBytes(args.chunkId)
  const replica = yield* one(findReplica, { server: args.serverNo, chunk })
  const isGood = replica?.state === ReplicaState.good
  if (!isGood && replica?.state !== ReplicaState.corrupt) return false
  const own = isGood ? ((yield* one(diskOf, { disk: replica.disk_no }))?.lasting ?? 0) : 0
  if (!(yield* isGood ? hasAllCopies(chunk, 'lasting', own) : hasAllCopies(chunk, 'serving'))) return false
  const state = isGood ? ReplicaState.surplus : ReplicaState.deleting
  // Of a surplus copy the time says when its deletion was last asked for: never yet, so it can be given back at once.
  yield* send(setReplicaState, { server: args.serverNo, chunk, state, now: isGood ? 0 : ctx.nowMs })
  yield* reassess(ctx, chunk)
  return true
}

const missedReplicas = statement((db, p: { before: number; limit: number }) =>
  db
    .selectFrom('replicas')
    .innerJoin('health', 'health.chunk_id', 'replicas.chunk_id')
    .select(['replicas.server_no', 'replicas.chunk_id'])
    .where('replicas.state', '<>', sql.lit(ReplicaState.good))
    .where('replicas.state', '=', ReplicaState.surplus)
    .where('replicas.changed_ms', '<=', p.before)
    .where('health.class', 'in', [HealthClass.lastCopy, HealthClass.belowGoal, HealthClass.waiting, HealthClass.unavailable])
    .limit(p.limit),
)

/**
 * Surplus copies whose chunks have lost others since count again, if their deletion was last asked for before `before`: a
 * command that left later may still be carried out. @returns how many
 */
export function* giveBackSurplus(ctx: OperationContext, args: { before: number; limit: number }): Operation<number> {
  const rows = yield* all(missedReplicas, args)
  for (const { server_no: server, chunk_id: chunk } of rows) {
    yield* send(setReplicaState, { server, chunk, state: ReplicaState.good, now: ctx.nowMs })
    yield* reassess(ctx, chunk)
  }
  return rows.length
}

const corruptReplicas = statement((db, p: { limit: number }) =>
  db
    .selectFrom('replicas')
    .leftJoin('health', 'health.chunk_id', 'replicas.chunk_id')
    .select(['replicas.server_no', 'replicas.chunk_id'])
    .where('replicas.state', '<>', sql.lit(ReplicaState.good))
    .where('replicas.state', '=', ReplicaState.corrupt)
    .where((eb) =>
      eb.or([
        eb('health.class', 'is', null),
        eb('health.class', 'in', [HealthClass.surplus, HealthClass.leaving, HealthClass.misplaced]),
      ]),
    )
    .limit(p.limit),
)

/** Bad copies of chunks that have all their good ones again: only now may they go. */
export function* listReplacedCorruptReplicas(
  _ctx: OperationContext,
  args: { limit: number },
): Operation<{ serverNo: number; chunkId: string }[]> {
  const rows = yield* all(corruptReplicas, args)
  return rows.map((row) => ({ serverNo: row.server_no, chunkId: toHex(row.chunk_id) }))
}
