/**
 * Chunk health: which live chunks do not have exactly their wanted live copies. The table holds only those, so that
 * `status` and the repair planner cost what is wrong, not what exists.
 *
 * Invariant: whoever changes a chunk's replica rows calls {@link reassess} in the same transaction; whoever changes
 * which disks count marks their server for a sweep, which reassesses all its chunks, page by page.
 */
import { sql } from 'kysely'
import type { Checksum64 } from '../../../common/checksum/xxh64.js'
import type { ChunkId, UploadId } from '../../../common/ids.js'
import { BEFORE_ALL_IDS, toBytes, toHex } from '../codec.js'
import { all, one, run, statement, type Operation } from '../engine/statement.js'
import { ChunkState, HealthClass, ReplicaState } from '../schema.js'
import { readCounters, type OperationContext } from './context.js'

const copies = statement((db, p: { chunk: Uint8Array }) =>
  db
    .selectFrom('chunks')
    .leftJoin('replicas', (join) =>
      join.onRef('replicas.chunk_id', '=', 'chunks.chunk_id').on('replicas.state', '=', ReplicaState.good),
    )
    .leftJoin('disks', 'disks.disk_no', 'replicas.disk_no')
    .select((eb) => [
      'chunks.state',
      'chunks.wanted',
      eb.fn.coalesce(eb.fn.sum<number>('disks.serving'), sql<number>`0`).as('serving'),
      eb.fn.coalesce(eb.fn.sum<number>('disks.reachable'), sql<number>`0`).as('reachable'),
    ])
    .where('chunks.chunk_id', '=', p.chunk)
    .groupBy(['chunks.chunk_id', 'chunks.state', 'chunks.wanted']),
)
const upsertHealth = statement(
  (_db, p: { chunk: Uint8Array; class: number; serving: number; wanted: number; now: number }) =>
    sql<never>`insert into health (chunk_id, class, serving, wanted, attempts, next_ms, last_error, since_ms)
    values (${p.chunk}, ${p.class}, ${p.serving}, ${p.wanted}, 0, 0, null, ${p.now})
    on conflict (chunk_id) do update set class = excluded.class, serving = excluded.serving, wanted = excluded.wanted`,
)
const dropHealth = statement((db, p: { chunk: Uint8Array }) => db.deleteFrom('health').where('chunk_id', '=', p.chunk))

/** Which class a chunk with these counts belongs to; undefined when all is well. */
export function classify(counts: {
  readonly serving: number
  readonly reachable: number
  readonly wanted: number
}): number | undefined {
  const { serving, reachable, wanted } = counts
  if (serving === 0) return HealthClass.unavailable
  if (serving > wanted) return HealthClass.surplus
  if (serving === wanted) return undefined
  if (serving === 1) return HealthClass.lastCopy
  return reachable >= wanted ? HealthClass.waiting : HealthClass.belowGoal
}

/** Recounts a chunk's live copies and keeps its row of the health table true. */
export function* reassess(ctx: OperationContext, chunk: Uint8Array): Operation<void> {
  const counts = yield* one(copies, { chunk })
  const healthClass = counts?.state === ChunkState.live ? classify(counts) : undefined
  if (!counts || healthClass === undefined) yield* run(dropHealth, { chunk })
  else yield* run(upsertHealth, { chunk, class: healthClass, serving: counts.serving, wanted: counts.wanted, now: ctx.nowMs })
}

const sweepable = statement((db, _p: object) =>
  db.selectFrom('servers').select(['server_no', 'sweep_after']).where('sweep_after', 'is not', null).limit(1),
)
const sweepPage = statement((db, p: { server: number; after: Uint8Array; limit: number }) =>
  db
    .selectFrom('replicas')
    .select('chunk_id')
    .where('server_no', '=', p.server)
    .where('chunk_id', '>', p.after)
    .orderBy('chunk_id')
    .limit(p.limit),
)
const setSweep = statement((db, p: { server: number; after: Uint8Array | null }) =>
  db.updateTable('servers').set({ sweep_after: p.after }).where('server_no', '=', p.server),
)

/** Marks a server's chunks for reassessment, from the first one. */
export function* startSweep(server: number): Operation<void> {
  yield* run(setSweep, { server, after: BEFORE_ALL_IDS })
}

/** Reassesses one page of a marked server. @returns whether more is to do */
export function* sweepServers(ctx: OperationContext, args: { limit: number }): Operation<boolean> {
  const server = yield* one(sweepable, {})
  if (!server?.sweep_after) return false
  const rows = yield* all(sweepPage, { server: server.server_no, after: server.sweep_after, limit: args.limit })
  for (const row of rows) yield* reassess(ctx, row.chunk_id)
  const last = rows.length < args.limit ? null : (rows.at(-1)?.chunk_id ?? null)
  yield* run(setSweep, { server: server.server_no, after: last })
  return true
}

const dueRows = statement((db, p: { class: number; now: number; limit: number }) =>
  db
    .selectFrom('health')
    .innerJoin('chunks', 'chunks.chunk_id', 'health.chunk_id')
    .select([
      'health.chunk_id',
      'health.class',
      'health.serving',
      'health.wanted',
      'health.attempts',
      'chunks.upload_id',
      'chunks.chunk_index',
      'chunks.length_bytes',
      'chunks.root',
    ])
    .where('health.class', '=', p.class)
    .where('health.next_ms', '<=', p.now)
    .orderBy('health.next_ms')
    .limit(p.limit),
)
const replicaRows = statement((db, p: { chunk: Uint8Array }) =>
  db
    .selectFrom('replicas')
    .innerJoin('disks', 'disks.disk_no', 'replicas.disk_no')
    .select(['replicas.server_no', 'replicas.state', 'disks.serving', 'disks.reachable'])
    .where('replicas.chunk_id', '=', p.chunk),
)

export interface CandidateReplica {
  readonly serverNo: number
  readonly state: 'good' | 'corrupt' | 'leaving'
  readonly serving: boolean
  readonly reachable: boolean
}

export interface RepairCandidate {
  readonly chunkId: ChunkId
  readonly uploadId: UploadId
  readonly chunkIndex: number
  readonly lengthBytes: number
  readonly root: Checksum64 | null
  readonly healthClass: number
  readonly serving: number
  readonly wanted: number
  readonly attempts: number
  /** All rows, good or not. */
  readonly replicas: readonly CandidateReplica[]
}

/** Chunks of a class whose turn has come, longest waiting first. */
export function* listUnhealthy(
  ctx: OperationContext,
  args: { healthClass: number; limit: number },
): Operation<RepairCandidate[]> {
  const out: RepairCandidate[] = []
  for (const row of yield* all(dueRows, { class: args.healthClass, now: ctx.nowMs, limit: args.limit })) {
    const replicas = yield* all(replicaRows, { chunk: row.chunk_id })
    out.push({
      chunkId: toHex(row.chunk_id),
      uploadId: toHex(row.upload_id),
      chunkIndex: row.chunk_index,
      lengthBytes: row.length_bytes,
      root: row.root && toHex<Checksum64>(row.root),
      healthClass: row.class,
      serving: row.serving,
      wanted: row.wanted,
      attempts: row.attempts,
      replicas: replicas.map((replica) => ({
        serverNo: replica.server_no,
        state: replica.state === ReplicaState.good ? 'good' : replica.state === ReplicaState.corrupt ? 'corrupt' : 'leaving',
        serving: replica.serving === 1,
        reachable: replica.reachable === 1,
      })),
    })
  }
  return out
}

const defer = statement((db, p: { chunk: Uint8Array; next: number; error: string | null; attempts: number }) =>
  db
    .updateTable('health')
    .set({ next_ms: p.next, last_error: p.error, attempts: sql<number>`attempts + ${p.attempts}` })
    .where('chunk_id', '=', p.chunk),
)

export interface Deferral {
  readonly chunkId: string
  readonly nextMs: number
  readonly error: string | null
  /** Whether this counts as a failed attempt. */
  readonly failed: boolean
}

/** Sets when chunks are looked at again, so that one that cannot be repaired now does not stand in the way of others. */
export function* deferRepairs(_ctx: OperationContext, args: { deferrals: readonly Deferral[] }): Operation<void> {
  for (const one of args.deferrals) {
    yield* run(defer, { chunk: toBytes(one.chunkId), next: one.nextMs, error: one.error, attempts: one.failed ? 1 : 0 })
  }
}

const wakeAll = statement((db, _p: object) => db.updateTable('health').set({ next_ms: 0 }).where('next_ms', '>', 0))

/** Everything may be tried again now: a server has joined, or space has come free. */
export function* wakeRepairs(): Operation<void> {
  yield* run(wakeAll, {})
}

const healthCounts = statement((db, _p: object) =>
  db
    .selectFrom('health')
    .innerJoin('chunks', 'chunks.chunk_id', 'health.chunk_id')
    .select((eb) => ['health.class', eb.fn.countAll<number>().as('chunks'), eb.fn.sum<number>('chunks.length_bytes').as('bytes')])
    .groupBy('health.class'),
)

export interface ChunkHealth {
  readonly total: number
  readonly healthy: number
  readonly underReplicated: number
  readonly unavailable: number
  /** Chunks and bytes that repair can do something about. */
  readonly repairable: number
  readonly repairableBytes: number
}

export function* chunkHealth(): Operation<ChunkHealth> {
  const { liveChunks } = yield* readCounters()
  const rows = yield* all(healthCounts, {})
  const of = (...classes: number[]): { chunks: number; bytes: number } => {
    const chosen = rows.filter((row) => classes.includes(row.class))
    return { chunks: chosen.reduce((sum, row) => sum + row.chunks, 0), bytes: chosen.reduce((sum, row) => sum + row.bytes, 0) }
  }
  const underReplicated = of(HealthClass.lastCopy, HealthClass.belowGoal, HealthClass.waiting).chunks
  const unavailable = of(HealthClass.unavailable).chunks
  const repairable = of(HealthClass.lastCopy, HealthClass.belowGoal)
  return {
    total: liveChunks,
    healthy: liveChunks - underReplicated - unavailable,
    underReplicated,
    unavailable,
    repairable: repairable.chunks,
    repairableBytes: repairable.bytes,
  }
}
