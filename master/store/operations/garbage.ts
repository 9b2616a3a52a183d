/**
 * Garbage: from an unreferenced manifest to a chunk that is gone. Chunk life is live → condemned → deleting → gone.
 *
 * Invariants: a chunk is condemned only when no manifest holds it, checked again when it goes on to `deleting`; a
 * delete command leaves only after `deleting` is committed, so from then on no transaction can refer to the chunk; a
 * copy stops counting before its deletion is asked for.
 *
 * States in conditions are written as literals where a partial index depends on them: SQLite proves nothing about parameters.
 */
import { sql } from 'kysely'
import type { ChunkId } from '../../../common/ids.js'
import { toBytes, toHex } from '../codec.js'
import { all, one, send, statement, type Operation } from '../engine/statement.js'
import { ChunkState, ManifestState, ReplicaState } from '../schema.js'
import { count, type OperationContext } from './context.js'
import { reassess } from './health.js'
import { findReplica, hasAllCopies, setReplicaState } from './surplus.js'

const findChunk = statement((db, p: { chunk: Uint8Array }) => db.selectFrom('chunks').selectAll().where('chunk_id', '=', p.chunk))
const setChunkState = statement((db, p: { chunk: Uint8Array; state: number; now: number }) =>
  db.updateTable('chunks').set({ state: p.state, changed_ms: p.now }).where('chunk_id', '=', p.chunk),
)
const dropChunk = statement((db, p: { chunk: Uint8Array }) => db.deleteFrom('chunks').where('chunk_id', '=', p.chunk))
const anyReference = statement((db, p: { chunk: Uint8Array }) =>
  db.selectFrom('manifest_chunks').select('chunk_index').where('chunk_id', '=', p.chunk).limit(1),
)
const garbageManifest = statement((db, p: { before: number }) =>
  db
    .selectFrom('manifests')
    .select('manifest_id')
    .where('state', '=', sql.lit(ManifestState.garbage))
    .where('released_ms', '<=', p.before)
    .orderBy('released_ms')
    .limit(1),
)
const manifestPage = statement((db, p: { manifest: Uint8Array; limit: number }) =>
  db
    .selectFrom('manifest_chunks')
    .select(['chunk_index', 'chunk_id'])
    .where('manifest_id', '=', p.manifest)
    .orderBy('chunk_index')
    .limit(p.limit),
)
const dropManifestChunk = statement((db, p: { manifest: Uint8Array; index: number }) =>
  db.deleteFrom('manifest_chunks').where('manifest_id', '=', p.manifest).where('chunk_index', '=', p.index),
)
const dropManifest = statement((db, p: { manifest: Uint8Array }) =>
  db.deleteFrom('manifests').where('manifest_id', '=', p.manifest),
)
const chunksInState = statement((db, p: { state: number; before: number; limit: number }) =>
  db
    .selectFrom('chunks')
    .select('chunk_id')
    .where('state', '<>', sql.lit(ChunkState.live))
    .where('state', '=', p.state)
    .where('changed_ms', '<=', p.before)
    .orderBy('changed_ms')
    .limit(p.limit),
)
const replicasToDeleting = statement((db, p: { chunk: Uint8Array; now: number }) =>
  db.updateTable('replicas').set({ state: ReplicaState.deleting, changed_ms: p.now }).where('chunk_id', '=', p.chunk),
)
const anyReplica = statement((db, p: { chunk: Uint8Array }) =>
  db.selectFrom('replicas').select('server_no').where('chunk_id', '=', p.chunk).limit(1),
)
const replicasInState = statement((db, p: { server: number; state: number; before: number; limit: number }) =>
  db
    .selectFrom('replicas')
    .select('chunk_id')
    .where('server_no', '=', p.server)
    .where('state', '<>', sql.lit(ReplicaState.good))
    .where('state', '=', p.state)
    .where('changed_ms', '<=', p.before)
    .orderBy('changed_ms')
    .limit(p.limit),
)
const serverNumbers = statement((db, _p: object) => db.selectFrom('servers').select('server_no'))

/** Ends the life of a chunk that nothing refers to. A referenced one, or one already on its way out, is left alone. */
export function* condemnChunk(ctx: OperationContext, chunk: Uint8Array): Operation<void> {
  const row = yield* one(findChunk, { chunk })
  if (!row || row.state === ChunkState.condemned || row.state === ChunkState.deleting) return
  if (yield* one(anyReference, { chunk })) return
  yield* send(setChunkState, { chunk, state: ChunkState.condemned, now: ctx.nowMs })
  if (row.state === ChunkState.live) yield* count(ctx, 'liveChunks', -1)
  yield* reassess(ctx, chunk)
}

/** Takes one manifest that was released before `before` apart, a page at a time. @returns whether there may be more to do */
export function* collectManifests(ctx: OperationContext, args: { before: number; limit: number }): Operation<boolean> {
  const manifest = yield* one(garbageManifest, args)
  if (!manifest) return false
  const rows = yield* all(manifestPage, { manifest: manifest.manifest_id, limit: args.limit })
  for (const row of rows) {
    yield* send(dropManifestChunk, { manifest: manifest.manifest_id, index: row.chunk_index })
    yield* condemnChunk(ctx, row.chunk_id)
  }
  if (rows.length < args.limit) yield* send(dropManifest, { manifest: manifest.manifest_id })
  return true
}

/** Condemns chunks that were allocated before `before` and never reported: their write tokens have long expired. */
export function* condemnAllocations(ctx: OperationContext, args: { before: number; limit: number }): Operation<number> {
  const rows = yield* all(chunksInState, { state: ChunkState.allocated, ...args })
  for (const row of rows) yield* condemnChunk(ctx, row.chunk_id)
  return rows.length
}

/** Chunks condemned before `before` begin to be deleted; those without any copy are gone at once. @returns how many */
export function* markDeleting(ctx: OperationContext, args: { before: number; limit: number }): Operation<number> {
  const rows = yield* all(chunksInState, { state: ChunkState.condemned, before: args.before, limit: args.limit })
  for (const { chunk_id: chunk } of rows) {
    if (yield* one(anyReference, { chunk })) {
      // Cannot happen while the invariants hold; if it does, the reference wins.
      yield* reviveChunk(ctx, chunk)
      continue
    }
    yield* send(setChunkState, { chunk, state: ChunkState.deleting, now: ctx.nowMs })
    yield* send(replicasToDeleting, { chunk, now: ctx.nowMs })
    yield* forgetChunkWithoutCopies(chunk)
  }
  return rows.length
}

/** A condemned chunk is wanted again. @returns false when it is too late: deletions may be on their way */
export function* reviveChunk(ctx: OperationContext, chunk: Uint8Array): Operation<boolean> {
  const row = yield* one(findChunk, { chunk })
  if (!row || row.state === ChunkState.deleting) return false
  if (row.state !== ChunkState.condemned) return true
  yield* send(setChunkState, { chunk, state: ChunkState.live, now: ctx.nowMs })
  yield* count(ctx, 'liveChunks', 1)
  yield* reassess(ctx, chunk)
  return true
}

/** Drops the row of a chunk in deletion once no server has a row for it. */
export function* forgetChunkWithoutCopies(chunk: Uint8Array): Operation<void> {
  const row = yield* one(findChunk, { chunk })
  if (row?.state !== ChunkState.deleting || (yield* one(anyReplica, { chunk }))) return
  yield* send(dropChunk, { chunk })
}

export interface PendingDeletion {
  readonly serverNo: number
  readonly chunkIds: ChunkId[]
}

/** What each server still has to delete, oldest first. */
export function* listDeletions(ctx: OperationContext, args: { limitPerServer: number }): Operation<PendingDeletion[]> {
  const out: PendingDeletion[] = []
  for (const server of yield* all(serverNumbers, {})) {
    const chunkIds: ChunkId[] = []
    for (const state of [ReplicaState.deleting, ReplicaState.surplus]) {
      const limit = args.limitPerServer - chunkIds.length
      const rows = yield* all(replicasInState, { server: server.server_no, state, before: ctx.nowMs, limit })
      chunkIds.push(...rows.map((row) => toHex<ChunkId>(row.chunk_id)))
    }
    if (chunkIds.length > 0) out.push({ serverNo: server.server_no, chunkIds })
  }
  return out
}

/**
 * Of these copies of a server, the ones whose deletion may be asked for at this moment: asked again right before the command
 * leaves, because it may have waited while other copies died. When it left is kept in the row.
 */
export function* handOutDeletions(
  ctx: OperationContext,
  args: { serverNo: number; chunkIds: readonly ChunkId[] },
): Operation<ChunkId[]> {
  const out: ChunkId[] = []
  for (const chunkId of args.chunkIds) {
    const chunk = toBytes(chunkId)
    const row = yield* one(findReplica, { server: args.serverNo, chunk })
    if (row?.state !== ReplicaState.deleting && row?.state !== ReplicaState.surplus) continue
    if (row.state === ReplicaState.surplus && !(yield* hasAllCopies(chunk, 'lasting'))) continue
    yield* send(setReplicaState, { server: args.serverNo, chunk, state: row.state, now: ctx.nowMs })
    out.push(chunkId)
  }
  return out
}

/** Copies of chunks that the metadata does not know, once they have been seen for long enough, are deleted too. */
export function* condemnOrphans(ctx: OperationContext, args: { before: number; limit: number }): Operation<number> {
  let condemned = 0
  for (const server of yield* all(serverNumbers, {})) {
    for (const state of [ReplicaState.orphan, ReplicaState.corrupt]) {
      const rows = yield* all(replicasInState, { server: server.server_no, state, before: args.before, limit: args.limit })
      for (const row of rows) {
        if (yield* one(findChunk, { chunk: row.chunk_id })) continue
        yield* send(setReplicaState, {
          server: server.server_no,
          chunk: row.chunk_id,
          state: ReplicaState.deleting,
          now: ctx.nowMs,
        })
        condemned += 1
      }
    }
  }
  return condemned
}
