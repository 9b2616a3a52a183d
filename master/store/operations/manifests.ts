/** Manifests: who refers to them, and what they hold. */
import { CairnError } from '../../../common/errors/cairn-error.js'
import type { ChunkId } from '../../../common/ids.js'
import type { Checksum64 } from '../../../common/checksum/xxh64.js'
import { toBytes, toHex } from '../codec.js'
import { all, one, send, statement, type Operation } from '../engine/statement.js'
import { ManifestState, ReplicaState } from '../schema.js'
import { count, type OperationContext } from './context.js'

const setReferences = statement((db, p: { manifest: Uint8Array; references: number; trashed: number }) =>
  db
    .updateTable('manifests')
    .set({ reference_count: p.references, trash_count: p.trashed })
    .where('manifest_id', '=', p.manifest),
)
const becomeGarbage = statement((db, p: { manifest: Uint8Array; now: number }) =>
  db.updateTable('manifests').set({ state: ManifestState.garbage, released_ms: p.now }).where('manifest_id', '=', p.manifest),
)
const findManifest = statement((db, p: { manifest: Uint8Array }) =>
  db.selectFrom('manifests').selectAll().where('manifest_id', '=', p.manifest),
)
const chunkPage = statement((db, p: { manifest: Uint8Array; from: number; limit: number }) =>
  db
    .selectFrom('manifest_chunks')
    .selectAll()
    .where('manifest_id', '=', p.manifest)
    .where('chunk_index', '>=', p.from)
    .orderBy('chunk_index')
    .limit(p.limit),
)
const chunkAt = statement((db, p: { manifest: Uint8Array; offset: number }) =>
  // Chunks of a sealed manifest lie without gaps, so the last one that starts at or before the offset holds it.
  db
    .selectFrom('manifest_chunks')
    .select(['chunk_index', 'offset_bytes'])
    .where('manifest_id', '=', p.manifest)
    .where('offset_bytes', '<=', p.offset)
    .orderBy('chunk_index', 'desc')
    .limit(1),
)
const replicasOf = statement((db, p: { chunk: Uint8Array }) =>
  db
    .selectFrom('replicas')
    .innerJoin('disks', 'disks.disk_no', 'replicas.disk_no')
    .select(['replicas.server_no', 'replicas.state', 'disks.serving', 'disks.reachable'])
    .where('chunk_id', '=', p.chunk),
)

interface Held {
  readonly references: number
  readonly storedBytes: number
}

/** Changes who holds a manifest, and with it whose space its chunks take. @returns how many references are left */
function* changeReferences(ctx: OperationContext, manifest: Uint8Array, references: number, trashed: number): Operation<Held> {
  const row = yield* one(findManifest, { manifest })
  if (!row) return { references: 0, storedBytes: 0 }
  const after = { references: row.reference_count + references, trashed: row.trash_count + trashed }
  yield* send(setReferences, { manifest, ...after })
  const before = holderOf(row.reference_count, row.trash_count)
  const now = holderOf(after.references, after.trashed)
  if (before !== now) {
    if (before) yield* count(ctx, before, -row.stored_bytes)
    if (now) yield* count(ctx, now, row.stored_bytes)
  }
  return { references: after.references, storedBytes: row.stored_bytes }
}

/** Whose space it is: the files' as long as one holds it, then the trash's. */
function holderOf(references: number, trashed: number): 'storedFileBytes' | 'storedTrashBytes' | undefined {
  if (references > trashed) return 'storedFileBytes'
  return references > 0 ? 'storedTrashBytes' : undefined
}

/** One more name holds it. */
export function* shareManifest(ctx: OperationContext, manifest: Uint8Array): Operation<void> {
  yield* changeReferences(ctx, manifest, 1, 0)
}

/** The reference of a name becomes that of a trash entry. */
export function* trashManifest(ctx: OperationContext, manifest: Uint8Array): Operation<void> {
  yield* changeReferences(ctx, manifest, 0, 1)
}

/** The reference of a trash entry becomes that of a name again. */
export function* restoreManifest(ctx: OperationContext, manifest: Uint8Array): Operation<void> {
  yield* changeReferences(ctx, manifest, 0, -1)
}

/**
 * Gives up one reference. The last one makes the manifest garbage, for the collector to take apart after a grace: who is
 * reading the file at this moment still asks for the places of its later chunks.
 * @returns what its copies take on disks when nothing holds it any more, else 0
 */
export function* releaseManifest(
  ctx: OperationContext,
  manifest: Uint8Array,
  from: 'name' | 'trash' = 'name',
): Operation<number> {
  const left = yield* changeReferences(ctx, manifest, -1, from === 'trash' ? -1 : 0)
  if (left.references > 0) return 0
  yield* send(becomeGarbage, { manifest, now: ctx.nowMs })
  return left.storedBytes
}

export interface ManifestChunk {
  readonly index: number
  readonly id: ChunkId
  readonly offset: number
  readonly lengthBytes: number
  readonly root: Checksum64
  /** Server numbers of good copies that are live now, and of all others that might still hold one. */
  readonly serving: readonly number[]
  readonly fallbacks: readonly number[]
}

/** @throws `FILE_NOT_FOUND` when the manifest is gone: its file was replaced or removed, and the grace is over */
export function* listManifestChunks(
  _ctx: OperationContext,
  args: { manifestId: string; from: number; limit: number },
): Operation<ManifestChunk[]> {
  const manifest = toBytes(args.manifestId)
  if (!(yield* one(findManifest, { manifest }))) throw manifestGone(args.manifestId)
  const rows = yield* all(chunkPage, { manifest, from: args.from, limit: args.limit })
  const out: ManifestChunk[] = []
  for (const row of rows) {
    const copies = yield* all(replicasOf, { chunk: row.chunk_id })
    const serving = copies.filter((copy) => copy.state === ReplicaState.good && copy.serving === 1)
    out.push({
      index: row.chunk_index,
      id: toHex(row.chunk_id),
      offset: row.offset_bytes,
      lengthBytes: row.length_bytes,
      root: toHex(row.root),
      serving: serving.map((copy) => copy.server_no),
      fallbacks: copies.filter((copy) => !serving.includes(copy)).map((copy) => copy.server_no),
    })
  }
  return out
}

export function* findManifestChunk(
  _ctx: OperationContext,
  args: { manifestId: string; offset: number },
): Operation<{ index: number; offset: number }> {
  const row = yield* one(chunkAt, { manifest: toBytes(args.manifestId), offset: args.offset })
  if (!row) throw manifestGone(args.manifestId)
  return { index: row.chunk_index, offset: row.offset_bytes }
}

const manifestGone = (id: string): CairnError =>
  new CairnError('FILE_NOT_FOUND', `Manifest ${id} is gone: the file was replaced or removed meanwhile. Look the path up again.`)
