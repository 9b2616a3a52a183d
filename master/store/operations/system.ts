/** The cluster itself: identity, epoch, keys, tokens, space. */
import { sql } from 'kysely'
import type { ClusterId } from '../../../common/ids.js'
import type { MetadataPosition } from '../../../common/protocol/cluster.js'
import { toHex } from '../codec.js'
import { all, one, send, statement, type Operation } from '../engine/statement.js'
import type { MetaTable } from '../schema.js'
import { logChange, readCounters, type OperationContext } from './context.js'
import { refreshDomains } from './domains.js'
import { storedDraftBytes } from './uploads.js'

const readMeta = statement(
  (_db, _p: object) => sql<MetaTable>`
    select id, cluster_id, metadata_epoch, created_ms, held_ms,
      position + coalesce((select sum(lanes.position) from lanes), 0) as position from meta where id = 1`,
)
const insertMeta = statement((db, p: { cluster: Uint8Array; now: number }) =>
  db.insertInto('meta').values({ id: 1, cluster_id: p.cluster, metadata_epoch: 1, position: 0, created_ms: p.now }),
)
const keysOfKind = statement((db, p: { kind: string }) =>
  db.selectFrom('signing_keys').selectAll().where('kind', '=', p.kind).orderBy('created_ms', 'desc'),
)
const insertKey = statement((db, p: { keyId: string; kind: string; secret: string; now: number }) =>
  db.insertInto('signing_keys').values({ key_id: p.keyId, kind: p.kind, secret: p.secret, created_ms: p.now }),
)
const findTokenRow = statement((db, p: { hash: string }) => db.selectFrom('tokens').selectAll().where('hash', '=', p.hash))
const insertToken = statement((db, p: { hash: string; name: string; scopes: string; now: number }) =>
  db
    .insertInto('tokens')
    .values({ hash: p.hash, name: p.name, scopes: p.scopes, created_ms: p.now })
    .onConflict((conflict) => conflict.column('hash').doUpdateSet({ name: p.name, scopes: p.scopes })),
)
const anyTokenRow = statement((db, _p: object) => db.selectFrom('tokens').select('hash').limit(1))

export interface ClusterIdentity {
  readonly clusterId: ClusterId
  readonly metadata: MetadataPosition
}

/** The cluster's identity; made on the first call. */
export function* ensureCluster(ctx: OperationContext): Operation<ClusterIdentity> {
  if (!(yield* one(readMeta, {}))) yield* send(insertMeta, { cluster: ctx.newId(), now: ctx.nowMs })
  yield* refreshDomains()
  const row = yield* one(readMeta, {})
  if (!row) throw new Error('the meta row was just written')
  return { clusterId: toHex(row.cluster_id), metadata: { epoch: row.metadata_epoch, position: row.position } }
}

export function* readPosition(): Operation<MetadataPosition> {
  const row = yield* one(readMeta, {})
  return { epoch: row?.metadata_epoch ?? 0, position: row?.position ?? 0 }
}

const hold = statement((db, p: { now: number }) =>
  db.updateTable('meta').set({ held_ms: p.now }).where('id', '=', 1).where('held_ms', 'is', null),
)
const accept = statement((db, p: { epoch: number }) =>
  db.updateTable('meta').set({ metadata_epoch: p.epoch, held_ms: null }).where('id', '=', 1),
)

/** Since when nothing is deleted, or null. */
export function* deletionsHeldSince(): Operation<number | null> {
  return (yield* one(readMeta, {}))?.held_ms ?? null
}

/**
 * Deletes nothing from now on, until {@link acceptMetadata}: chunkservers have seen later metadata than this. It does not
 * lapse when the position has grown past what they saw: these are other changes than those that are missing here.
 */
export function* holdDeletions(ctx: OperationContext): Operation<void> {
  yield* send(hold, { now: ctx.nowMs })
}

/** An operator has decided that this metadata is what counts: it gets an epoch above all that was seen. */
export function* acceptMetadata(ctx: OperationContext, args: { seenEpoch: number }): Operation<MetadataPosition> {
  const before = yield* readPosition()
  const epoch = Math.max(before.epoch, args.seenEpoch) + 1
  yield* send(accept, { epoch })
  yield* logChange(ctx, 'metadata.accepted', '', { epoch, position: before.position })
  return { epoch, position: before.position }
}

export interface StoredKey {
  readonly keyId: string
  readonly secret: string
}

/** The keys of a kind, newest first; `fresh` becomes the first when there is none. */
export function* ensureKeys(ctx: OperationContext, args: { kind: string; fresh: StoredKey }): Operation<StoredKey[]> {
  const rows = yield* all(keysOfKind, { kind: args.kind })
  if (rows.length > 0) return rows.map((row) => ({ keyId: row.key_id, secret: row.secret }))
  yield* send(insertKey, { ...args.fresh, kind: args.kind, now: ctx.nowMs })
  return [args.fresh]
}

export interface StoredToken {
  readonly name: string
  readonly scopes: string[]
}

export function* findToken(_ctx: OperationContext, args: { hash: string }): Operation<StoredToken | undefined> {
  const row = yield* one(findTokenRow, args)
  return row && { name: row.name, scopes: JSON.parse(row.scopes) as string[] }
}

export function* hasTokens(): Operation<boolean> {
  return (yield* one(anyTokenRow, {})) !== undefined
}

/** Stores a token by its hash; the token itself is never stored. */
export function* putToken(
  ctx: OperationContext,
  args: { hash: string; name: string; scopes: readonly string[] },
): Operation<void> {
  yield* send(insertToken, { hash: args.hash, name: args.name, scopes: JSON.stringify(args.scopes), now: ctx.nowMs })
}

/** What the metadata says of space. Stored bytes are those of all wanted copies on disks, footers and padding included. */
export interface SpaceUse {
  readonly files: number
  readonly fileBytes: number
  readonly storedFileBytes: number
  readonly storedTrashBytes: number
  readonly storedDraftBytes: number
}

export function* spaceUse(): Operation<SpaceUse> {
  const { files, fileBytes, storedFileBytes, storedTrashBytes } = yield* readCounters()
  return { files, fileBytes, storedFileBytes, storedTrashBytes, storedDraftBytes: yield* storedDraftBytes() }
}
