/** Replica rows: which server holds which chunk, told by receipts, by heartbeats and by shard reports. */
import { sql } from 'kysely'
import type { ReceiptJson } from '../../../common/protocol/chunk-data.js'
import type { StoreChange } from '../../../common/protocol/cluster.js'
import { shardEnd, shardStart, toBytes, toHex } from '../codec.js'
import { all, one, run, send, statement, type Operation } from '../engine/statement.js'
import { ChunkState, ReplicaState, type ChunkTable, type ReplicaTable } from '../schema.js'
import type { OperationContext } from './context.js'
import { forgetChunkWithoutCopies } from './garbage.js'
import { reassess } from './health.js'

const findChunk = statement((db, p: { chunk: Uint8Array }) =>
  db.selectFrom('chunks').select(['state', 'length_bytes', 'root']).where('chunk_id', '=', p.chunk),
)
const diskOf = statement((db, p: { disk: Uint8Array; server: number }) =>
  db.selectFrom('disks').select('disk_no').where('disk_id', '=', p.disk).where('server_no', '=', p.server),
)
const upsert = statement(
  (_db, p: ReplicaTable) =>
    // A row on its way out (deleting, surplus) stays so: its copy no longer counts, and its deletion may have been sent.
    sql<never>`insert into replicas (server_no, chunk_id, disk_no, state, store_seq, changed_ms)
    values (${p.server_no}, ${p.chunk_id}, ${p.disk_no}, ${p.state}, ${p.store_seq}, ${p.changed_ms})
    on conflict (server_no, chunk_id) do update set disk_no = excluded.disk_no, changed_ms = excluded.changed_ms,
      state = case when replicas.state in (2, 4) and excluded.state <> 2 then replicas.state else excluded.state end,
      store_seq = excluded.store_seq
    where excluded.store_seq >= replicas.store_seq`,
)
/** Finds a row when the very copy of a live chunk has been entered as it is told now. */
const sameCopy = statement(
  (_db, p: { server: number; chunk: Uint8Array; sequence: number; disk: Uint8Array; lengthBytes: number; root: Uint8Array }) =>
    sql<{ disk_no: number }>`select r.disk_no as disk_no from replicas r
      join chunks c on c.chunk_id = r.chunk_id join disks d on d.disk_no = r.disk_no
      where r.server_no = ${p.server} and r.chunk_id = ${p.chunk} and r.store_seq = ${p.sequence}
        and r.state = ${sql.lit(ReplicaState.good)} and d.disk_id = ${p.disk} and d.server_no = r.server_no
        and c.state = ${sql.lit(ChunkState.live)} and c.length_bytes = ${p.lengthBytes} and c.root = ${p.root}`,
)
const removeUpTo = statement((db, p: { server: number; chunk: Uint8Array; sequence: number }) =>
  db
    .deleteFrom('replicas')
    .where('server_no', '=', p.server)
    .where('chunk_id', '=', p.chunk)
    .where('store_seq', '<=', p.sequence),
)
const markCorrupt = statement((db, p: { server: number; chunk: Uint8Array; now: number; sequence: number }) =>
  // With its sequence, so that a report taken before the copy was found bad cannot make it good again.
  db
    .updateTable('replicas')
    .set({ state: ReplicaState.corrupt, changed_ms: p.now, store_seq: p.sequence })
    .where('server_no', '=', p.server)
    .where('chunk_id', '=', p.chunk)
    .where('state', 'in', [ReplicaState.good, ReplicaState.surplus]),
)
const findRow = statement((db, p: { server: number; chunk: Uint8Array }) =>
  db.selectFrom('replicas').select('state').where('server_no', '=', p.server).where('chunk_id', '=', p.chunk),
)
const anyDiskOf = statement((db, p: { server: number }) =>
  db.selectFrom('disks').select('disk_no').where('server_no', '=', p.server).orderBy('disk_no').limit(1),
)
const enterBad = statement(
  (_db, p: { server: number; chunk: Uint8Array; disk: number; state: number; now: number; sequence: number }) =>
    sql<never>`insert into replicas (server_no, chunk_id, disk_no, state, store_seq, changed_ms)
    values (${p.server}, ${p.chunk}, ${p.disk}, ${p.state}, ${p.sequence}, ${p.now})
    on conflict (server_no, chunk_id) do nothing`,
)
const shardRows = statement((db, p: { server: number; from: Uint8Array; to: Uint8Array }) =>
  db
    .selectFrom('replicas')
    .innerJoin('disks', 'disks.disk_no', 'replicas.disk_no')
    .select(['replicas.chunk_id', 'replicas.state', 'replicas.store_seq', 'disks.state as disk'])
    .where('replicas.server_no', '=', p.server)
    .where('replicas.chunk_id', '>=', p.from)
    .where('replicas.chunk_id', '<', p.to),
)
/** The server does not have that disk any more: its row is history, though the server may hold the chunk on another one. */
const isAway = (row: { readonly disk: string }): boolean => row.disk === 'absent'

export interface CopyFacts {
  readonly chunkId: string
  readonly diskId: string
  readonly lengthBytes: number
  readonly root: string
}

/**
 * Takes up a server's word that it holds a whole copy. The copy of a chunk that the metadata does not know becomes an
 * orphan; one whose length or root differs from what was committed becomes corrupt.
 * @returns false when the disk is none of this server's: it was wiped or replaced since, so the word is history
 */
export function* recordCopy(ctx: OperationContext, serverNo: number, facts: CopyFacts, sequence: number): Operation<boolean> {
  const chunk = toBytes(facts.chunkId)
  const known = yield* one(findChunk, { chunk })
  const isEntered = yield* enterCopy(ctx, serverNo, facts, sequence, known)
  if (isEntered && known?.state === ChunkState.live) yield* reassess(ctx, chunk)
  return isEntered
}

/** What is known of a chunk that somebody has a copy of. */
export type KnownChunk = Pick<ChunkTable, 'state' | 'length_bytes' | 'root'>

/** As {@link recordCopy}, for whoever has looked the chunk up, and reassesses it when all its copies are entered. */
export function* enterCopy(
  ctx: OperationContext,
  serverNo: number,
  facts: CopyFacts,
  sequence: number,
  known: KnownChunk | undefined,
): Operation<boolean> {
  const disk = yield* one(diskOf, { disk: toBytes(facts.diskId), server: serverNo })
  if (!disk) return false
  yield* send(upsert, {
    server_no: serverNo,
    chunk_id: toBytes(facts.chunkId),
    disk_no: disk.disk_no,
    state: stateOfCopy(known, facts),
    store_seq: sequence,
    changed_ms: ctx.nowMs,
  })
  return true
}

function stateOfCopy(known: KnownChunk | undefined, facts: CopyFacts): number {
  if (!known) return ReplicaState.orphan
  if (known.state === ChunkState.deleting) return ReplicaState.deleting
  if (known.length_bytes !== facts.lengthBytes) return ReplicaState.corrupt
  if (known.root !== null && toHex(known.root) !== facts.root) return ReplicaState.corrupt
  return ReplicaState.good
}

/** A server's signed word, already checked for its signature. */
export interface ServerReceipt {
  readonly serverNo: number
  readonly receipt: ReceiptJson
  /** Up to which change the server has told what it holds, as far as is known. */
  readonly toldSequence?: number
}

/** Whether a receipt may still stand for a copy. Not when its server has told since what it holds, and this is not among it. */
export function* isCurrent({ serverNo, receipt, toldSequence }: ServerReceipt): Operation<boolean> {
  if (receipt.storeSeq > (toldSequence ?? 0)) return true
  return (yield* one(findRow, { server: serverNo, chunk: toBytes(receipt.chunkId) })) !== undefined
}

/** A finished repair: the target's receipt. @returns false when it does not stand for a copy any more */
export function* addReplica(ctx: OperationContext, args: ServerReceipt): Operation<boolean> {
  if (!(yield* isCurrent(args))) return false
  return yield* recordCopy(ctx, args.serverNo, args.receipt, args.receipt.storeSeq)
}

/** Applies what changed in a server's store, in the order of its sequence. */
export function* applyChanges(
  ctx: OperationContext,
  args: { serverNo: number; changes: readonly StoreChange[] },
): Operation<void> {
  for (const change of args.changes) {
    const chunk = toBytes(change.chunkId)
    if (change.kind === 'added') {
      if (yield* isEntered(args.serverNo, change)) continue
      yield* recordCopy(ctx, args.serverNo, change, change.sequence)
    } else if (change.kind === 'removed') {
      yield* removeCopy(ctx, args.serverNo, chunk, change.sequence)
    } else {
      yield* corruptCopy(ctx, args.serverNo, chunk, change.sequence)
    }
  }
}

/** Of most copies the receipt was here before the heartbeat that tells of them: nothing is to be done for those. */
function* isEntered(server: number, { sequence, ...copy }: CopyFacts & { readonly sequence: number }): Operation<boolean> {
  const { lengthBytes } = copy
  const found = yield* one(sameCopy, {
    server,
    sequence,
    lengthBytes,
    chunk: toBytes(copy.chunkId),
    disk: toBytes(copy.diskId),
    root: toBytes(copy.root),
  })
  return found !== undefined
}

/** A copy that nothing was known of, or nothing any more, is entered: what has no row is never removed. */
function* corruptCopy(ctx: OperationContext, server: number, chunk: Uint8Array, sequence: number): Operation<void> {
  const changed = yield* run(markCorrupt, { server, chunk, now: ctx.nowMs, sequence })
  const disk = changed > 0 ? undefined : yield* one(anyDiskOf, { server })
  if (disk) {
    // Nobody replaces a bad copy of a chunk on its way out: like its good ones, it is to be deleted.
    const isGoing = (yield* one(findChunk, { chunk }))?.state === ChunkState.deleting
    const state = isGoing ? ReplicaState.deleting : ReplicaState.corrupt
    yield* send(enterBad, { server, chunk, disk: disk.disk_no, state, now: ctx.nowMs, sequence })
  }
  yield* reassess(ctx, chunk)
}

function* removeCopy(ctx: OperationContext, server: number, chunk: Uint8Array, sequence: number): Operation<void> {
  yield* send(removeUpTo, { server, chunk, sequence })
  yield* reassess(ctx, chunk)
  yield* forgetChunkWithoutCopies(chunk)
}

/**
 * Rows of one shard of one server, for comparison with the server's own digest. Corrupt copies are in neither. Undefined
 * when a row means a disk that is gone: whatever the server holds, the rows are to be compared one by one.
 */
export function* shardChunkIds(
  _ctx: OperationContext,
  args: { serverNo: number; shard: number },
): Operation<Uint8Array[] | undefined> {
  const rows = yield* all(shardRows, { server: args.serverNo, from: shardStart(args.shard), to: shardEnd(args.shard) })
  if (rows.some((row) => isAway(row) && row.state !== ReplicaState.corrupt)) return undefined
  return rows.filter((row) => row.state !== ReplicaState.corrupt).map((row) => row.chunk_id)
}

export interface ShardReport {
  readonly serverNo: number
  readonly shard: number
  /** Only rows at most this old can be contradicted by the report. */
  readonly asOfSequence: number
  readonly copies: readonly CopyFacts[]
}

/** Makes a shard's rows agree with what the server holds. */
export function* applyShardReport(ctx: OperationContext, args: ShardReport): Operation<{ added: number; removed: number }> {
  const rows = yield* all(shardRows, { server: args.serverNo, from: shardStart(args.shard), to: shardEnd(args.shard) })
  const held = new Set(args.copies.map((copy) => copy.chunkId))
  const known = new Map(rows.map((row) => [toHex<string>(row.chunk_id), row]))
  let removed = 0
  for (const [chunkId, row] of known) {
    if (held.has(chunkId) || row.store_seq > args.asOfSequence || row.state === ReplicaState.corrupt) continue
    yield* removeCopy(ctx, args.serverNo, row.chunk_id, args.asOfSequence)
    removed += 1
  }
  let added = 0
  for (const copy of args.copies) {
    const row = known.get(copy.chunkId)
    // A corrupt copy that the server lists again has been replaced by a good one.
    if (row && row.state !== ReplicaState.corrupt && !isAway(row)) continue
    if (yield* recordCopy(ctx, args.serverNo, copy, args.asOfSequence)) added += 1
  }
  return { added, removed }
}

const chunkRow = statement((db, p: { chunk: Uint8Array }) => db.selectFrom('chunks').selectAll().where('chunk_id', '=', p.chunk))
const chunkReplicas = statement((db, p: { chunk: Uint8Array }) =>
  db.selectFrom('replicas').select(['server_no', 'state']).where('chunk_id', '=', p.chunk),
)

export interface ChunkFacts {
  readonly state: number
  readonly lengthBytes: number
  readonly root: string | null
  readonly replicas: readonly { readonly serverNo: number; readonly state: number }[]
}

export function* getChunk(_ctx: OperationContext, args: { chunkId: string }): Operation<ChunkFacts | undefined> {
  const chunk = toBytes(args.chunkId)
  const row = yield* one(chunkRow, { chunk })
  if (!row) return undefined
  const replicas = yield* all(chunkReplicas, { chunk })
  return {
    state: row.state,
    lengthBytes: row.length_bytes,
    root: row.root && toHex(row.root),
    replicas: replicas.map((replica) => ({ serverNo: replica.server_no, state: replica.state })),
  }
}
