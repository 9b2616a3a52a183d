/** Uploads as clients see them: places chunks, signs capabilities, checks receipts; what is durable happens in the store. */
import { sealCapability } from '../../common/auth/capability.js'
import { isReceiptGenuine } from '../../common/auth/receipt.js'
import { CairnError, isCairnError } from '../../common/errors/cairn-error.js'
import { newId, type ChunkId, type ServerId, type UploadId } from '../../common/ids.js'
import type { ReceiptJson } from '../../common/protocol/chunk-data.js'
import type { FileInfo } from '../../common/protocol/files.js'
import { bucketOf, type FilePath } from '../../common/path-name.js'
import { shardOf } from '../../common/protocol/cluster.js'
import type { AllocatedChunk, CompletedChunk } from '../../common/protocol/uploads.js'
import type { ClusterService } from '../cluster/cluster-service.js'
import { freeBytesOf } from '../cluster/server-view.js'
import type { MasterContext } from '../context.js'
import { place, type Placement, type PlacementServer } from '../placement/placement.js'
import { placementServer } from '../cluster/placement-snapshot.js'
import type { CommitUploadArgs } from '../store/operations/commit.js'
import type { RequestKey } from '../store/operations/context.js'
import type { StartUploadArgs } from '../store/operations/short-uploads.js'
import type { ReportedChunk } from '../store/operations/upload-chunks.js'
import type { OpenedUpload, OpenUploadArgs } from '../store/operations/uploads.js'
import type { ServerReceipt } from '../store/operations/replicas.js'

export interface AllocationWish {
  readonly index: number
  readonly lengthBytes: number
  readonly chunkId?: ChunkId | undefined
  readonly have?: readonly ServerId[] | undefined
}

/** The first chunks of a session that is yet to be opened. */
export interface OpenWish {
  readonly chunks: readonly { readonly index: number; readonly lengthBytes: number }[]
  readonly zone?: string | undefined
}

export interface AllocateOptions {
  readonly uploadId: UploadId
  readonly writerEpoch: number
  readonly chunks: readonly AllocationWish[]
  readonly avoid: readonly ServerId[]
  readonly zone: string | undefined
  readonly request?: RequestKey
}

/** What a commit says, with the chunks that were not reported before. */
export interface CommitOptions extends Omit<CommitUploadArgs, 'request'> {
  readonly chunks?: readonly ReportedByClient[] | undefined
  readonly request?: RequestKey
}

type ReportedByClient = CompletedChunk & { readonly receipts: readonly ReceiptJson[] }

/** No session has so few copies: what is opened has no chunks yet. */
const NOTHING_PLACED: StartUploadArgs['placed'] = { replicas: 0, chunks: [] }

export class UploadService {
  readonly #context: MasterContext
  readonly #cluster: ClusterService

  constructor(context: MasterContext, cluster: ClusterService) {
    this.#context = context
    this.#cluster = cluster
  }

  /** Opens a session, with its first chunks allocated where that can be. @throws as the store's operation */
  async open(args: OpenUploadArgs, wish: OpenWish | undefined): Promise<OpenedUpload & { chunks?: AllocatedChunk[] }> {
    const { store } = this.#context
    if (!wish) return store.openUpload(args)
    // The same operation whether or not there was room: a repeated request must meet its kept result.
    const placed = (await this.#placeAhead(args, wish)) ?? NOTHING_PLACED
    const { chunks, ...opened } = await store.startUpload({ ...args, placed })
    return chunks ? { ...opened, chunks: chunks.map((chunk) => this.#seal(opened, chunk)) } : opened
  }

  /** Undefined when there is no room: the client then asks for targets by themselves, and hears why it gets none. */
  async #placeAhead(args: OpenUploadArgs, { chunks, zone }: OpenWish): Promise<StartUploadArgs['placed'] | undefined> {
    const { store, random } = this.#context
    const policy = (await store.getBucket({ name: bucketOf(args.path as FilePath) })) ?? args.bucketDefaults
    const replicas = args.replicas ?? policy.replicas
    const upload = { replicas, minReplicas: Math.min(policy.minReplicas, replicas) }
    const servers = this.#cluster.views.all().map(placementServer)
    try {
      return {
        replicas,
        chunks: chunks.map((wish) => ({
          ...wish,
          chunkId: newId<ChunkId>(random),
          isNew: true,
          targets: this.#choose(wish, { avoid: [], zone }, servers, upload),
        })),
      }
    } catch (error) {
      if (!isCairnError(error, 'NOT_ENOUGH_SERVERS', 'DISK_FULL')) throw error
      return undefined
    }
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
    options: Pick<AllocateOptions, 'avoid' | 'zone'>,
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
    options: Pick<AllocateOptions, 'uploadId'>,
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
  report(options: {
    uploadId: UploadId
    writerEpoch: number
    chunks: readonly ReportedByClient[]
  }): Promise<{ accepted: number }> {
    return this.#entering(options.chunks, (chunks) => this.#context.store.reportChunks({ ...options, chunks }))
  }

  /** @throws as {@link report} when it brings chunks, and as the store's operation */
  commit({ chunks: reported, ...options }: CommitOptions): Promise<FileInfo> {
    const { store } = this.#context
    if (!reported) return store.commitUpload(options)
    return this.#entering(reported, (chunks) => store.finishUpload({ ...options, chunks }))
  }

  async #entering<T>(reported: readonly ReportedByClient[], enter: (chunks: readonly ReportedChunk[]) => Promise<T>): Promise<T> {
    const chunks = reported.map((chunk) => ({ ...chunk, receipts: this.#genuine(chunk.receipts) }))
    try {
      return await enter(chunks)
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
