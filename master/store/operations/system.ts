/** The cluster itself: identity, epoch, keys, tokens, space. */
import type { ClusterId } from '../../../common/ids.js'
import type { MetadataPosition } from '../../../common/protocol/cluster.js'
import { toHex } from '../codec.js'
import { all, one, run, statement, type Operation } from '../engine/statement.js'
import { readCounters, type OperationContext } from './context.js'
import { openUploadBytes } from './uploads.js'

const readMeta = statement((db, _p: object) => db.selectFrom('meta').selectAll().where('id', '=', 1))
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
  if (!(yield* one(readMeta, {}))) yield* run(insertMeta, { cluster: ctx.newId(), now: ctx.nowMs })
  const row = yield* one(readMeta, {})
  if (!row) throw new Error('the meta row was just written')
  return { clusterId: toHex(row.cluster_id), metadata: { epoch: row.metadata_epoch, position: row.position } }
}

export function* readPosition(): Operation<MetadataPosition> {
  const row = yield* one(readMeta, {})
  return { epoch: row?.metadata_epoch ?? 0, position: row?.position ?? 0 }
}

const HELD = 'deletions-held'
const findSetting = statement((db, p: { name: string }) => db.selectFrom('settings').selectAll().where('name', '=', p.name))
const putSetting = statement((db, p: { name: string; value: string }) =>
  db
    .insertInto('settings')
    .values({ name: p.name, value: p.value })
    .onConflict((conflict) => conflict.column('name').doNothing()),
)
const dropSetting = statement((db, p: { name: string }) => db.deleteFrom('settings').where('name', '=', p.name))
const setEpoch = statement((db, p: { epoch: number }) => db.updateTable('meta').set({ metadata_epoch: p.epoch }))

/** Whether chunkservers have seen later metadata than this, and no operator has decided since. */
export function* deletionsHeld(): Operation<boolean> {
  return (yield* one(findSetting, { name: HELD })) !== undefined
}

/** @param args the epoch that was seen */
export function* holdDeletions(_ctx: OperationContext, args: { epoch: number }): Operation<void> {
  yield* run(putSetting, { name: HELD, value: String(args.epoch) })
}

/** From here on this database is the one to go by: its epoch rises above all that chunkservers can have seen. */
export function* acceptMetadata(): Operation<void> {
  const held = yield* one(findSetting, { name: HELD })
  if (!held) return
  yield* run(dropSetting, { name: HELD })
  const { epoch } = yield* readPosition()
  yield* run(setEpoch, { epoch: Math.max(epoch, Number(held.value)) + 1 })
}

export interface StoredKey {
  readonly keyId: string
  readonly secret: string
}

/** The keys of a kind, newest first; `fresh` becomes the first when there is none. */
export function* ensureKeys(ctx: OperationContext, args: { kind: string; fresh: StoredKey }): Operation<StoredKey[]> {
  const rows = yield* all(keysOfKind, { kind: args.kind })
  if (rows.length > 0) return rows.map((row) => ({ keyId: row.key_id, secret: row.secret }))
  yield* run(insertKey, { ...args.fresh, kind: args.kind, now: ctx.nowMs })
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
  yield* run(insertToken, { hash: args.hash, name: args.name, scopes: JSON.stringify(args.scopes), now: ctx.nowMs })
}

export interface SpaceUse {
  readonly files: number
  readonly fileBytes: number
  readonly liveBytes: number
  readonly openUploadBytes: number
  readonly trashBytes: number
  readonly garbageBytes: number
}

export function* spaceUse(): Operation<SpaceUse> {
  const counters = yield* readCounters()
  const open = yield* openUploadBytes()
  // Copies share chunks, so the bytes of the trash may be live ones too: what files hold comes first.
  const trash = Math.max(0, Math.min(counters.trashBytes, counters.liveChunkBytes - open))
  return {
    files: counters.files,
    fileBytes: counters.fileBytes,
    liveBytes: Math.max(0, counters.liveChunkBytes - open - trash),
    openUploadBytes: open,
    trashBytes: trash,
    garbageBytes: counters.garbageChunkBytes,
  }
}
