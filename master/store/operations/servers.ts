/** Chunkservers and their disks, as the metadata knows them. Who is alive is decided in cluster/, and recorded here. */
import { CairnError } from '../../../common/errors/cairn-error.js'
import type { ServerId } from '../../../common/ids.js'
import type { DiskReport, MetadataPosition, ServerState } from '../../../common/protocol/cluster.js'
import { toBytes, toHex } from '../codec.js'
import { all, one, send, statement, type Operation } from '../engine/statement.js'
import type { ServerTable } from '../schema.js'
import type { OperationContext } from './context.js'
import { applyState, findDisk, syncDisks } from './disks.js'
import { refreshDomains } from './domains.js'
import { startSweep, sweepNow, wakeRepairs } from './health.js'

const findById = statement((db, p: { id: Uint8Array }) => db.selectFrom('servers').selectAll().where('server_id', '=', p.id))
const findByNo = statement((db, p: { server: number }) => db.selectFrom('servers').selectAll().where('server_no', '=', p.server))
const stateOf = statement((db, p: { server: number }) =>
  db.selectFrom('servers').select('state').where('server_no', '=', p.server),
)
const allServers = statement((db, _p: object) => db.selectFrom('servers').selectAll().orderBy('server_no'))
const highestServer = statement((db, _p: object) =>
  db.selectFrom('servers').select((eb) => eb.fn.max<number | null>('server_no').as('highest')),
)
const insertServer = statement((db, p: ServerTable) =>
  db.insertInto('servers').values({
    server_no: p.server_no,
    server_id: p.server_id,
    instance_id: p.instance_id,
    incarnation: p.incarnation,
    url: p.url,
    zone: p.zone,
    rack: p.rack,
    host: p.host,
    state: p.state,
    receipt_key_id: p.receipt_key_id,
    receipt_secret: p.receipt_secret,
    registered_ms: p.registered_ms,
    heartbeat_ms: p.heartbeat_ms,
    used_bytes: p.used_bytes,
    free_bytes: p.free_bytes,
    chunk_count: p.chunk_count,
    seen_epoch: p.seen_epoch,
    seen_position: p.seen_position,
    sweep_after: p.sweep_after,
    intent: p.intent,
    intent_until_ms: p.intent_until_ms,
    intent_chunks: p.intent_chunks,
  }),
)
const updateServer = statement(
  (
    db,
    p: Pick<
      ServerTable,
      | 'server_no'
      | 'instance_id'
      | 'incarnation'
      | 'url'
      | 'zone'
      | 'rack'
      | 'host'
      | 'state'
      | 'registered_ms'
      | 'heartbeat_ms'
      | 'intent'
    >,
  ) =>
    db
      .updateTable('servers')
      .set({
        instance_id: p.instance_id,
        incarnation: p.incarnation,
        url: p.url,
        zone: p.zone,
        rack: p.rack,
        host: p.host,
        state: p.state,
        registered_ms: p.registered_ms,
        heartbeat_ms: p.heartbeat_ms,
        intent: p.intent,
      })
      .where('server_no', '=', p.server_no),
)
const setState = statement((db, p: { server: number; state: string }) =>
  db.updateTable('servers').set({ state: p.state }).where('server_no', '=', p.server),
)
const recordBeat = statement(
  (db, p: { server: number; now: number; used: number; free: number; chunks: number; epoch: number; position: number }) =>
    db
      .updateTable('servers')
      .set({
        heartbeat_ms: p.now,
        used_bytes: p.used,
        free_bytes: p.free,
        chunk_count: p.chunks,
        seen_epoch: p.epoch,
        seen_position: p.position,
      })
      .where('server_no', '=', p.server),
)
/** What the operator wants of a server. `removed` is for ever: the id is not taken up again. */
export type ServerIntent = 'none' | 'drain' | 'maintenance' | 'removed'

export interface ServerRecord {
  readonly serverNo: number
  readonly serverId: ServerId
  readonly instanceId: string
  readonly incarnation: number
  readonly url: string
  readonly zone: string
  readonly rack: string
  readonly host: string
  readonly state: ServerState
  readonly receiptKey: { readonly keyId: string; readonly secret: string }
  readonly heartbeatMs: number | null
  readonly usedBytes: number
  readonly freeBytes: number
  readonly chunkCount: number
  readonly seen: MetadataPosition
  readonly intent: ServerIntent
  /** Of maintenance: until when its silence is none. */
  readonly intentUntilMs: number | null
  readonly intentChunks: number
}

export const toRecord = (row: ServerTable): ServerRecord => ({
  serverNo: row.server_no,
  serverId: toHex(row.server_id),
  instanceId: row.instance_id,
  incarnation: row.incarnation,
  url: row.url,
  zone: row.zone,
  rack: row.rack,
  host: row.host,
  state: row.state as ServerState,
  receiptKey: { keyId: row.receipt_key_id, secret: row.receipt_secret },
  heartbeatMs: row.heartbeat_ms,
  usedBytes: row.used_bytes,
  freeBytes: row.free_bytes,
  chunkCount: row.chunk_count,
  seen: { epoch: row.seen_epoch, position: row.seen_position },
  intent: row.intent as ServerIntent,
  intentUntilMs: row.intent_until_ms,
  intentChunks: row.intent_chunks,
})

/** All servers. A cluster has at most some thousand, which the master keeps in memory anyway. */
export function* listServers(): Operation<ServerRecord[]> {
  return (yield* all(allServers, {})).map(toRecord)
}

export interface RegisterServerArgs {
  /** Null: a new server, which gets `freshId`. */
  readonly serverId: string | null
  readonly freshId: string
  readonly freshReceiptKey: { readonly keyId: string; readonly secret: string }
  readonly instanceId: string
  readonly url: string
  readonly zone: string
  readonly rack: string
  readonly host: string
  readonly disks: readonly DiskReport[]
  readonly seen: MetadataPosition
}

/** @throws `SERVER_ID_CONFLICT` when a disk belongs to another server */
export function* registerServer(ctx: OperationContext, args: RegisterServerArgs): Operation<ServerRecord> {
  const known = args.serverId === null ? yield* joinedUnheard(args) : yield* one(findById, { id: toBytes(args.serverId) })
  const row = known ? yield* comeBack(ctx, known, args) : yield* join(ctx, args)
  yield* syncDisks(row, args.disks)
  yield* refreshDomains()
  yield* sweepNow(ctx, row.server_no)
  yield* wakeRepairs()
  return toRecord(row)
}

/**
 * Who a server without an id is, if it has joined before: the answer with its id was lost, or it ended before it had
 * written the id down. Its disks say so, at the same place; at another one they are copies.
 */
function* joinedUnheard(args: RegisterServerArgs): Operation<ServerTable | undefined> {
  for (const { diskId, path } of args.disks) {
    const disk = yield* one(findDisk, { id: toBytes(diskId) })
    const server = disk && (yield* one(findByNo, { server: disk.server_no }))
    if (disk?.path === path && server?.host === args.host) return server
  }
  return undefined
}

function* join(ctx: OperationContext, args: RegisterServerArgs): Operation<ServerTable> {
  const row: ServerTable = {
    server_no: ((yield* one(highestServer, {}))?.highest ?? 0) + 1,
    // A server id that this database does not know, for example after a restore, is kept: its chunks go by it.
    server_id: toBytes(args.serverId ?? args.freshId),
    instance_id: args.instanceId,
    incarnation: 1,
    url: args.url,
    zone: args.zone,
    rack: args.rack,
    host: args.host,
    state: 'serving',
    receipt_key_id: args.freshReceiptKey.keyId,
    receipt_secret: args.freshReceiptKey.secret,
    registered_ms: ctx.nowMs,
    heartbeat_ms: ctx.nowMs,
    used_bytes: 0,
    free_bytes: args.disks.reduce((total, disk) => total + disk.freeBytes, 0),
    chunk_count: 0,
    seen_epoch: args.seen.epoch,
    seen_position: args.seen.position,
    sweep_after: null,
    intent: 'none',
    intent_until_ms: null,
    intent_chunks: 0,
  }
  yield* send(insertServer, row)
  return row
}

function* comeBack(ctx: OperationContext, before: ServerTable, args: RegisterServerArgs): Operation<ServerTable> {
  if (before.intent === 'removed') {
    throw new CairnError(
      'SERVER_REMOVED',
      `Server ${args.serverId} was removed from this cluster. Empty its directories to let it join as a new server.`,
    )
  }
  // The same process that registers again, after a lost answer or a restart of the master, is the same incarnation; not
  // so once it was declared dead: what was promised to it before, or ordered from it, is void.
  const sameLife = before.instance_id === args.instanceId && before.state !== 'dead'
  const row: ServerTable = {
    ...before,
    instance_id: args.instanceId,
    incarnation: sameLife ? before.incarnation : before.incarnation + 1,
    url: args.url,
    zone: args.zone,
    rack: args.rack,
    host: args.host,
    state: before.state === 'decommissioned' ? before.state : before.intent === 'drain' ? 'draining' : 'serving',
    // The announced restart is over.
    intent: before.intent === 'maintenance' && !sameLife ? 'none' : before.intent,
    registered_ms: ctx.nowMs,
    heartbeat_ms: ctx.nowMs,
  }
  if (sameLife && before.intent === 'maintenance') row.state = 'maintenance'
  // What another life of it held is not what it holds now: its copies count again once it has told.
  if (row.state !== 'decommissioned' && (!sameLife || before.state === 'starting')) row.state = 'starting'
  yield* send(updateServer, row)
  return row
}

export interface StateChange {
  readonly serverNo: number
  readonly state: ServerState
  /** What the decision was made from: when the server is something else by now, it is void. */
  readonly from?: ServerState
}

/** Records decisions about servers' states, and reassesses their chunks. @returns the servers that were changed */
export function* setServerStates(ctx: OperationContext, args: { changes: readonly StateChange[] }): Operation<number[]> {
  const changed: StateChange[] = []
  for (const change of args.changes) {
    const { serverNo, state, from } = change
    if (from !== undefined && (yield* one(stateOf, { server: serverNo }))?.state !== from) continue
    yield* send(setState, { server: serverNo, state })
    yield* applyState(serverNo, state)
    changed.push(change)
  }
  yield* refreshDomains()
  for (const { serverNo } of changed) yield* sweepNow(ctx, serverNo)
  if (changed.some((change) => change.state === 'serving')) yield* wakeRepairs()
  return changed.map((change) => change.serverNo)
}

export interface BeatRecord {
  readonly serverNo: number
  readonly atMs: number
  readonly disks: readonly DiskReport[]
  readonly seen: MetadataPosition
}

/** The heartbeats since the last call, one row each: kept in memory and written once a second. */
export function* recordBeats(_ctx: OperationContext, args: { beats: readonly BeatRecord[] }): Operation<void> {
  for (const beat of args.beats) {
    const sum = (pick: (disk: DiskReport) => number): number => beat.disks.reduce((total, disk) => total + pick(disk), 0)
    yield* send(recordBeat, {
      server: beat.serverNo,
      now: beat.atMs,
      used: sum((disk) => disk.usedBytes),
      free: sum((disk) => disk.freeBytes),
      chunks: sum((disk) => disk.chunkCount),
      epoch: beat.seen.epoch,
      position: beat.seen.position,
    })
    // What the server is by now: it may have been declared dead since it sent this.
    const server = yield* one(stateOf, { server: beat.serverNo })
    if (server && (yield* syncDisks({ server_no: beat.serverNo, state: server.state }, beat.disks)))
      yield* startSweep(beat.serverNo)
  }
}
