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
import { all, one, send, statement, type Operation } from '../engine/statement.js'
import { ChunkState, HealthClass, ReplicaState, type HealthTable } from '../schema.js'
import { readCounters, type OperationContext } from './context.js'

/** Failed attempts from which on a chunk is listed as one that repair cannot help. */
export const FAILING_ATTEMPTS = 3

const copies = statement(
  (_db, p: { chunk: Uint8Array }) => sql<Counts>`
    select c.state as state, c.length_bytes as length_bytes, c.wanted as wanted, coalesce(sum(d.serving), 0) as serving,
      coalesce(sum(d.reachable), 0) as reachable, coalesce(sum(d.lasting), 0) as lasting,
      count(distinct case when d.lasting = 1 then s.zone end) as zones,
      count(distinct case when d.lasting = 1 then s.zone || '/' || s.rack end) as racks,
      count(distinct case when d.lasting = 1 then s.zone || '/' || s.rack || '/' || s.host end) as hosts,
      coalesce((select available from domains where level = 'zone'), 1) as zones_available,
      coalesce((select available from domains where level = 'rack'), 1) as racks_available,
      coalesce((select available from domains where level = 'host'), 1) as hosts_available
    from chunks c
      left join replicas r on r.chunk_id = c.chunk_id and r.state = ${sql.lit(ReplicaState.good)}
      left join disks d on d.disk_no = r.disk_no
      left join servers s on s.server_no = r.server_no
    where c.chunk_id = ${p.chunk} group by c.chunk_id`,
)
const upsertHealth = statement(
  (
    _db,
    p: Pick<HealthTable, 'class' | 'serving' | 'reachable' | 'wanted' | 'length_bytes'> & { chunk: Uint8Array; now: number },
  ) =>
    sql<never>`insert into health (chunk_id, class, serving, reachable, wanted, attempts, next_ms, last_error, since_ms, length_bytes)
    values (${p.chunk}, ${p.class}, ${p.serving}, ${p.reachable}, ${p.wanted}, 0, 0, null, ${p.now}, ${p.length_bytes})
    on conflict (chunk_id) do update set
      next_ms = case when health.class = excluded.class and health.serving = excluded.serving then health.next_ms else 0 end,
      class = excluded.class, serving = excluded.serving, reachable = excluded.reachable, wanted = excluded.wanted`,
)
const dropHealth = statement((db, p: { chunk: Uint8Array }) => db.deleteFrom('health').where('chunk_id', '=', p.chunk))

export interface CopyCounts {
  readonly wanted: number
  /** Good copies that can be read now; those that can be read soon; those that can be read now and are to stay. */
  readonly serving: number
  readonly reachable: number
  readonly lasting: number
  /** Different failure domains that the lasting copies lie in, and how many there are (counted up to a bound). */
  readonly zones: number
  readonly racks: number
  readonly hosts: number
  readonly zones_available: number
  readonly racks_available: number
  readonly hosts_available: number
}

interface Counts extends CopyCounts {
  readonly state: number
  readonly length_bytes: number
}

/** Which class a chunk with these counts belongs to; undefined when all is well. */
export function classify(counts: CopyCounts): number | undefined {
  const { serving, reachable, lasting, wanted } = counts
  if (serving === 0) return HealthClass.unavailable
  if (serving < wanted) {
    if (serving === 1) return HealthClass.lastCopy
    return reachable >= wanted ? HealthClass.waiting : HealthClass.belowGoal
  }
  if (lasting < wanted) return HealthClass.leaving
  if (serving > wanted) return HealthClass.surplus
  return isSpreadOut(counts) ? undefined : HealthClass.misplaced
}

const isSpreadOut = (counts: CopyCounts): boolean =>
  counts.zones >= Math.min(counts.wanted, counts.zones_available) &&
  counts.racks >= Math.min(counts.wanted, counts.racks_available) &&
  counts.hosts >= Math.min(counts.wanted, counts.hosts_available)

/** Recounts a chunk's live copies and keeps its row of the health table true. @returns how many can be read now */
export function* reassess(ctx: OperationContext, chunk: Uint8Array): Operation<number> {
  const counts = yield* one(copies, { chunk })
  const healthClass = counts?.state === ChunkState.live ? classify(counts) : undefined
  if (!counts || healthClass === undefined) {
    yield* send(dropHealth, { chunk })
    return counts?.serving ?? 0
  }
  const { serving, reachable, wanted, length_bytes } = counts
  yield* send(upsertHealth, { chunk, class: healthClass, serving, reachable, wanted, length_bytes, now: ctx.nowMs })
  return serving
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

/** Marks a server's chunks for reassessment, from the first one, later. */
export function* startSweep(server: number): Operation<void> {
  yield* send(setSweep, { server, after: BEFORE_ALL_IDS })
}

/** Reassesses one page of a marked server. @returns whether more is to do */
export function* sweepServers(ctx: OperationContext, args: { limit: number }): Operation<boolean> {
  const server = yield* one(sweepable, {})
  if (!server?.sweep_after) return false
  yield* sweepPageOf(ctx, server.server_no, server.sweep_after, args.limit)
  return true
}

function* sweepPageOf(ctx: OperationContext, server: number, after: Uint8Array, limit: number): Operation<void> {
  const rows = yield* all(sweepPage, { server, after, limit })
  for (const row of rows) yield* reassess(ctx, row.chunk_id)
  yield* send(setSweep, { server, after: rows.length < limit ? null : (rows.at(-1)?.chunk_id ?? null) })
}

/** So many chunks are looked at in the very transaction that changes a server: a small cluster is never shown out of date. */
const SWEPT_AT_ONCE = 1_000

/** Begins the reassessment of a server's chunks, with the first ones at once. */
export function* sweepNow(ctx: OperationContext, server: number): Operation<void> {
  yield* sweepPageOf(ctx, server, BEFORE_ALL_IDS, SWEPT_AT_ONCE)
}

const sweepsLeft = statement((db, _p: object) =>
  db
    .selectFrom('servers')
    .select((eb) => eb.fn.countAll<number>().as('servers'))
    .where('sweep_after', 'is not', null),
)

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

interface CandidateRow {
  readonly chunk_id: Uint8Array
  readonly class: number
  readonly serving: number
  readonly wanted: number
  readonly attempts: number
  readonly upload_id: Uint8Array
  readonly chunk_index: number
  readonly length_bytes: number
  readonly root: Uint8Array | null
}
const replicaRows = statement((db, p: { chunk: Uint8Array }) =>
  db
    .selectFrom('replicas')
    .innerJoin('disks', 'disks.disk_no', 'replicas.disk_no')
    .select(['replicas.server_no', 'replicas.state', 'disks.serving', 'disks.reachable', 'disks.lasting'])
    .where('replicas.chunk_id', '=', p.chunk),
)

export interface CandidateReplica {
  readonly serverNo: number
  readonly state: 'good' | 'corrupt' | 'leaving'
  readonly serving: boolean
  readonly reachable: boolean
  /** As `serving`, and not on a server that is being drained. */
  readonly lasting: boolean
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
  for (const row of yield* all(dueRows, { class: args.healthClass, now: ctx.nowMs, limit: args.limit }))
    out.push(yield* candidateOf(row))
  return out
}

function* candidateOf(row: CandidateRow): Operation<RepairCandidate> {
  const replicas = yield* all(replicaRows, { chunk: row.chunk_id })
  return {
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
      lasting: replica.lasting === 1,
    })),
  }
}

const movable = statement(
  (_db, p: { server: number; after: Uint8Array; limit: number }) => sql<CandidateRow>`
    select c.chunk_id, ${sql.lit(HealthClass.rebalance)} as class, 0 as serving, c.wanted, 0 as attempts, c.upload_id,
      c.chunk_index, c.length_bytes, c.root
    from replicas r join chunks c on c.chunk_id = r.chunk_id left join health h on h.chunk_id = c.chunk_id
    where r.server_no = ${p.server} and r.state = ${sql.lit(ReplicaState.good)} and r.chunk_id > ${p.after}
      and c.state = ${sql.lit(ChunkState.live)} and h.chunk_id is null
    order by r.chunk_id limit ${p.limit}`,
)

/** Chunks of a server in whose copies nothing is wrong, above `after`: what rebalancing may move. */
export function* listMovable(
  _ctx: OperationContext,
  args: { serverNo: number; after: string; limit: number },
): Operation<RepairCandidate[]> {
  const out: RepairCandidate[] = []
  const rows = yield* all(movable, { server: args.serverNo, after: toBytes(args.after), limit: args.limit })
  for (const row of rows) out.push(yield* candidateOf(row))
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
    yield* send(defer, { chunk: toBytes(one.chunkId), next: one.nextMs, error: one.error, attempts: one.failed ? 1 : 0 })
  }
}

const wakeAll = statement((db, _p: object) => db.updateTable('health').set({ next_ms: 0 }).where('next_ms', '>', 0))

/** Everything may be tried again now: a server has joined, or space has come free. */
export function* wakeRepairs(): Operation<void> {
  yield* send(wakeAll, {})
}

const healthCounts = statement(
  (_db, _p: object) => sql<{ class: number; chunks: number; bytes: number; absent: number; failing: number }>`
    select h.class as class, count(*) as chunks, sum(h.length_bytes * case when h.wanted > h.serving then h.wanted - h.serving else 1 end) as bytes,
      sum(h.length_bytes * case when h.wanted > h.reachable then h.wanted - h.reachable else 0 end) as absent,
      sum(case when h.attempts >= ${sql.lit(FAILING_ATTEMPTS)} then 1 else 0 end) as failing
    from health h group by h.class`,
)

export interface ChunkHealth {
  readonly total: number
  readonly healthy: number
  readonly underReplicated: number
  readonly unavailable: number
  /** Chunks and bytes that repair can do something about: copies to be made, moves included. */
  readonly repairable: number
  readonly repairableBytes: number
  readonly classes: {
    readonly lastCopy: number
    readonly belowGoal: number
    readonly waiting: number
    readonly misplaced: number
    readonly leaving: number
    readonly surplus: number
  }
  /** Chunks that repair has tried in vain several times. */
  readonly failing: number
  /** Servers whose chunks are still being looked at after a change. */
  readonly sweeping: number
  /** Logical bytes of copies that are wanted and not there. */
  readonly absentBytes: number
}

export function* chunkHealth(): Operation<ChunkHealth> {
  const { liveChunks } = yield* readCounters()
  const rows = yield* all(healthCounts, {})
  const of = (pick: 'chunks' | 'bytes' | 'absent' | 'failing', ...classes: number[]): number =>
    rows.filter((row) => classes.includes(row.class)).reduce((sum, row) => sum + Number(row[pick]), 0)
  const { lastCopy, belowGoal, waiting, unavailable, surplus, leaving, misplaced } = HealthClass
  const short = [lastCopy, belowGoal, waiting]
  const wanting = [lastCopy, belowGoal, leaving, misplaced]
  return {
    total: liveChunks,
    healthy: liveChunks - of('chunks', ...short, unavailable),
    underReplicated: of('chunks', ...short),
    unavailable: of('chunks', unavailable),
    repairable: of('chunks', ...wanting),
    repairableBytes: of('bytes', ...wanting),
    classes: {
      lastCopy: of('chunks', lastCopy),
      belowGoal: of('chunks', belowGoal),
      waiting: of('chunks', waiting),
      misplaced: of('chunks', misplaced),
      leaving: of('chunks', leaving),
      surplus: of('chunks', surplus),
    },
    failing: of('failing', ...wanting, unavailable),
    sweeping: (yield* one(sweepsLeft, {}))?.servers ?? 0,
    absentBytes: of('absent', ...short, unavailable),
  }
}
