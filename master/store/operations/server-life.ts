/**
 * What an operator wants of a server: drained, in maintenance, removed. The wish is kept beside its state, so that a
 * server which falls silent while it is being drained is still being drained when it is back.
 */
import { sql } from 'kysely'
import { CairnError } from '../../../common/errors/cairn-error.js'
import type { ServerState } from '../../../common/protocol/cluster.js'
import { BEFORE_ALL_IDS, toBytes, toHex } from '../codec.js'
import { all, one, send, statement, type Operation } from '../engine/statement.js'
import { ChunkState, ReplicaState } from '../schema.js'
import { logChange, once, type OperationContext, type RequestKey } from './context.js'
import { applyState } from './disks.js'
import { refreshDomains } from './domains.js'
import { forgetChunkWithoutCopies } from './garbage.js'
import { reassess, sweepNow, wakeRepairs } from './health.js'
import { toRecord, type ServerIntent, type ServerRecord } from './servers.js'

const find = statement((db, p: { server: number }) => db.selectFrom('servers').selectAll().where('server_no', '=', p.server))
const setIntent = statement((db, p: { server: number; state: string; intent: string; until: number | null; chunks: number }) =>
  db
    .updateTable('servers')
    .set({ state: p.state, intent: p.intent, intent_until_ms: p.until, intent_chunks: p.chunks })
    .where('server_no', '=', p.server),
)

export interface IntendServerArgs {
  readonly serverNo: number
  readonly intent: ServerIntent
  /** The state that follows from it now. */
  readonly state: ServerState
  readonly untilMs: number | null
  /** Copies held now, for the progress. */
  readonly chunks: number
  readonly request?: RequestKey
}

/** Records the wish and the state that follows from it, and reassesses the server's chunks. Durable on return. */
export function* intendServer(ctx: OperationContext, args: IntendServerArgs): Operation<ServerRecord> {
  yield* once(ctx, 'intendServer', args.request, intend(ctx, args))
  const row = yield* one(find, { server: args.serverNo })
  if (!row) throw new CairnError('SERVER_NOT_FOUND', `There is no server number ${args.serverNo}.`)
  return toRecord(row)
}

function* intend(ctx: OperationContext, args: IntendServerArgs): Operation<boolean> {
  const { serverNo: server, state, intent, untilMs: until, chunks } = args
  yield* send(setIntent, { server, state, intent, until, chunks })
  yield* applyState(server, state)
  yield* refreshDomains()
  yield* sweepNow(ctx, server)
  yield* wakeRepairs()
  yield* logChange(ctx, 'server.changed', '', { serverNo: server, intent, state })
  return true
}

const holdings = statement(
  (_db, p: { server: number; after: Uint8Array; limit: number }) => sql<{
    chunk_id: Uint8Array
    length_bytes: number
    wanted: number
    elsewhere: number
  }>`
    select c.chunk_id as chunk_id, c.length_bytes as length_bytes, c.wanted as wanted,
      (select coalesce(sum(d.serving), 0) from replicas o join disks d on d.disk_no = o.disk_no
        where o.chunk_id = c.chunk_id and o.server_no <> ${p.server} and o.state = ${sql.lit(ReplicaState.good)}) as elsewhere
    from replicas r join chunks c on c.chunk_id = r.chunk_id
    where r.server_no = ${p.server} and r.state in (${sql.lit(ReplicaState.good)}, ${sql.lit(ReplicaState.corrupt)})
      and r.chunk_id > ${p.after} and c.state = ${sql.lit(ChunkState.live)}
    order by r.chunk_id limit ${p.limit}`,
)

export interface HoldingsPage {
  readonly chunks: number
  readonly bytes: number
  /** Chunks that have no live copy on any other server. */
  readonly sole: number
  /** Chunks that have fewer than their wanted live copies on other servers, and what those copies weigh. */
  readonly needed: number
  readonly neededBytes: number
  readonly largestBytes: number
  /** The most copies that one of the chunks is to have. */
  readonly wanted: number
  /** Null: this was the last page. */
  readonly next: string | null
}

/** What a server holds, a page at a time: the ground of every plan about it. */
export function* surveyServer(
  _ctx: OperationContext,
  args: { serverNo: number; after: string; limit: number },
): Operation<HoldingsPage> {
  const rows = yield* all(holdings, { server: args.serverNo, after: toBytes(args.after), limit: args.limit })
  const needed = rows.filter((row) => row.elsewhere < row.wanted)
  const sum = (list: typeof rows): number => list.reduce((total, row) => total + row.length_bytes, 0)
  return {
    chunks: rows.length,
    bytes: sum(rows),
    sole: rows.filter((row) => row.elsewhere === 0).length,
    needed: needed.length,
    neededBytes: sum(needed),
    largestBytes: Math.max(0, ...rows.map((row) => row.length_bytes)),
    wanted: Math.max(0, ...rows.map((row) => row.wanted)),
    next: rows.length === args.limit ? toHex((rows.at(-1) as { chunk_id: Uint8Array }).chunk_id) : null,
  }
}

const anyCopy = statement((db, p: { server: number }) =>
  db
    .selectFrom('replicas')
    .select('chunk_id')
    .where('server_no', '=', p.server)
    // A surplus copy may still be given back.
    .where('state', 'in', [ReplicaState.good, ReplicaState.corrupt, ReplicaState.surplus])
    .limit(1),
)

/** Whether nothing on the server is, or could become, a copy that counts. */
export function* isDrained(_ctx: OperationContext, args: { serverNo: number }): Operation<boolean> {
  return (yield* one(anyCopy, { server: args.serverNo })) === undefined
}

const removedServer = statement((db, _p: object) =>
  db
    .selectFrom('servers')
    .innerJoin('replicas', 'replicas.server_no', 'servers.server_no')
    .select('servers.server_no')
    .where('servers.intent', '=', 'removed')
    .limit(1),
)
const rowsOf = statement((db, p: { server: number; after: Uint8Array; limit: number }) =>
  db
    .selectFrom('replicas')
    .select('chunk_id')
    .where('server_no', '=', p.server)
    .where('chunk_id', '>', p.after)
    .orderBy('chunk_id')
    .limit(p.limit),
)
const dropRow = statement((db, p: { server: number; chunk: Uint8Array }) =>
  db.deleteFrom('replicas').where('server_no', '=', p.server).where('chunk_id', '=', p.chunk),
)

/** Forgets a page of what removed servers held. @returns whether there may be more */
export function* forgetRemoved(ctx: OperationContext, args: { limit: number }): Operation<boolean> {
  const server = yield* one(removedServer, {})
  if (!server) return false
  for (const row of yield* all(rowsOf, { server: server.server_no, after: BEFORE_ALL_IDS, limit: args.limit })) {
    yield* send(dropRow, { server: server.server_no, chunk: row.chunk_id })
    yield* reassess(ctx, row.chunk_id)
    yield* forgetChunkWithoutCopies(row.chunk_id)
  }
  return true
}
