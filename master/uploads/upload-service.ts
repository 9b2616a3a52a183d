/** Uploads as clients see them: places chunks, signs capabilities, checks receipts; what is durable happens in the store. */
import { sealCapability } from '../../common/auth/capability.js'
import { isReceiptGenuine } from '../../common/auth/receipt.js'
import { CairnError, isCairnError } from '../../common/errors/cairn-error.js'
import { newId, type ChunkId, type ServerId, type UploadId } from '../../common/ids.js'
import type { ReceiptJson } from '../../common/protocol/chunk-data.js'
import { shardOf } from '../../common/protocol/cluster.js'
import type { AllocatedChunk, CompletedChunk } from '../../common/protocol/uploads.js'
import type { ClusterService } from '../cluster/cluster-service.js'
import { freeBytesOf } from '../cluster/server-view.js'
import type { MasterContext } from '../context.js'
import { place, type Placement, type PlacementServer } from '../placement/placement.js'
import { placementServer } from '../cluster/placement-snapshot.js'
import type { RequestKey } from '../store/operations/context.js'
import type { ServerReceipt } from '../store/operations/replicas.js'

export interface AllocationWish {
  readonly index: number
  readonly lengthBytes: number
  readonly chunkId?: ChunkId | undefined
  readonly have?: readonly ServerId[] | undefined
}

export interface AllocateOptions {
  readonly uploadId: UploadId
  readonly writerEpoch: number
  readonly chunks: readonly AllocationWish[]
  readonly avoid: readonly ServerId[]
  readonly zone: string | undefined
  readonly request?: RequestKey
}

export class UploadService {
  readonly #context: MasterContext
  readonly #cluster: ClusterService

  constructor(context: MasterContext, cluster: ClusterService) {
    this.#context = context
    this.#cluster = cluster
  }

  /** @throws `NOT_ENOUGH_SERVERS`, and as the store's operation */
  async allocate(options: AllocateOptions): Promise<AllocatedChunk[]> {
    const { store, random } = this.#context
    const upload = await store.getUpload({ uploadId: options.uploadId })
    const servers = this.#cluster.views.all().map(placementServer)
    const placed = options.chunks.map((wish) => ({
      index: wish.index,
      lengthBytes: wish.lengthBytes,
      chunkId: wish.chunkId ?? newId<ChunkId>(random),
      isNew: wish.chunkId === undefined,
      targets: this.#choose(wish, options, servers, upload),
    }))
    const allocated = await store.allocateChunks({
      uploadId: options.uploadId,
      writerEpoch: options.writerEpoch,
      chunks: placed,
      ...(options.request ? { request: options.request } : {}),
    })
    return allocated.map((chunk) => this.#seal(options, chunk))
  }

  /** The targets of one chunk, the first hop near the client where there is one. */
  #choose(
    wish: AllocationWish,
    options: AllocateOptions,
    servers: readonly PlacementServer[],
    upload: { replicas: number; minReplicas: number },
  ): ServerId[] {
    const have = wish.have ?? []
    const avoided = new Set(options.avoid.map((id) => this.#cluster.views.byId(id)?.record.serverNo ?? -1))
    const request = {
      copies: Math.max(1, upload.replicas - have.length),
      lengthBytes: wish.lengthBytes,
      servers,
      existing: have.map((id) => this.#cluster.views.byId(id)?.record.serverNo ?? -1),
    }
    let placement = place({ ...request, excluded: avoided }, this.#context.random)
    // Servers that failed the client are a last resort, not forbidden: it may have been the network.
    const needed = Math.max(1, upload.minReplicas - have.length)
    if (placement.chosen.length < needed) placement = place({ ...request, excluded: new Set<number>() }, this.#context.random)
    if (placement.chosen.length < needed) throw noServers(wish, needed, placement)
    const near = (serverId: ServerId): number => (this.#cluster.views.byId(serverId)?.record.zone === options.zone ? 0 : 1)
    const targets = placement.chosen.map((choice) => choice.server.serverId)
    this.#promise(targets, wish.lengthBytes)
    return options.zone === undefined ? targets : targets.sort((one, other) => near(one) - near(other))
  }

  #promise(targets: readonly ServerId[], lengthBytes: number): void {
    for (const id of targets) {
      const view = this.#cluster.views.byId(id)
      if (view)
        this.#cluster.views.update(view.record.serverNo, {
          promisedBytes: Math.min(view.promisedBytes + lengthBytes, view.promisedBytes + freeBytesOf(view)),
        })
    }
  }

  #seal(
    options: AllocateOptions,
    chunk: { index: number; chunkId: string; lengthBytes: number; targets: readonly string[] },
  ): AllocatedChunk {
    const key = this.#context.capabilityKeys[0]
    if (!key) throw new CairnError('STARTING', 'The master has no signing key yet. Try again shortly.')
    const views = chunk.targets.map((id) => this.#cluster.views.byId(id as ServerId)).filter((view) => view !== undefined)
    const capability = sealCapability(key, {
      kind: 'write',
      chunkId: chunk.chunkId as ChunkId,
      uploadId: options.uploadId,
      chunkIndex: chunk.index,
      lengthBytes: chunk.lengthBytes,
      targets: views.map((view) => [view.record.serverId, view.record.incarnation] as const),
      metadataEpoch: this.#context.metadataEpoch,
      expiresMs: this.#context.store.now() + this.#context.settings.capabilityLifeMs,
    })
    const targets = views.map(({ record }) => ({ serverId: record.serverId, url: record.url, zone: record.zone }))
    return { index: chunk.index, chunkId: chunk.chunkId as ChunkId, targets, capability }
  }

  /** @throws `NOT_ENOUGH_REPLICAS`, and as the store's operation */
  async report(options: {
    uploadId: UploadId
    writerEpoch: number
    chunks: readonly (CompletedChunk & { receipts: readonly ReceiptJson[] })[]
  }): Promise<{ accepted: number }> {
    const chunks = options.chunks.map((chunk) => ({ ...chunk, receipts: this.#genuine(chunk.receipts) }))
    try {
      return await this.#context.store.reportChunks({ ...options, chunks })
    } catch (error) {
      if (isCairnError(error, 'NOT_ENOUGH_REPLICAS')) this.#askAgain(chunks.flatMap((chunk) => chunk.receipts))
      throw error
    }
  }

  /** Receipts older than what their servers have told may have been passed over in error: the servers say what is there. */
  #askAgain(receipts: readonly ServerReceipt[]): void {
    for (const { serverNo, receipt, toldSequence } of receipts) {
      if (receipt.storeSeq <= (toldSequence ?? 0))
        this.#cluster.send(serverNo, { kind: 'report', shards: [shardOf(receipt.chunkId)] })
    }
  }

  /** Receipts that their servers signed; each server counts once. */
  #genuine(receipts: readonly ReceiptJson[]): ServerReceipt[] {
    const out = new Map<number, ServerReceipt>()
    for (const receipt of receipts) {
      const record = this.#cluster.recordOf(receipt.serverId)
      if (record && isReceiptGenuine(record.receiptKey, receipt))
        out.set(record.serverNo, { serverNo: record.serverNo, receipt, toldSequence: this.#cluster.toldSequence(record) })
      else this.#context.log.warn({ receipt }, 'a receipt is not genuine')
    }
    return [...out.values()]
  }
}

function noServers(wish: AllocationWish, needed: number, placement: Placement): CairnError {
  const counts = new Map<string, number>()
  for (const { reason } of placement.rejected) counts.set(reason, (counts.get(reason) ?? 0) + 1)
  const reasons = [...counts].map(([reason, count]) => `${count} ${reason}`).join(', ') || 'no others have registered'
  const full = counts.has('no-space') && !counts.has('not-serving')
  return new CairnError(
    full ? 'DISK_FULL' : 'NOT_ENOUGH_SERVERS',
    `Chunk ${wish.index} (${wish.lengthBytes} bytes) needs ${needed} more chunkservers, ${placement.chosen.length} can take it: ${reasons}. ${full ? 'Add disks or servers, or remove files with --purge.' : 'Start chunkservers; `cairn status` shows them.'}`,
    {
      data: Object.fromEntries(counts),
    },
  )
}
