/**
 * An open upload session, from the writer's side: allocates chunks ahead of need, reports them in batches, keeps the
 * session alive, commits it.
 */
import type { Timer } from '../../common/clock/clock.js'
import { isCairnError } from '../../common/errors/cairn-error.js'
import { deferred, observed, type Deferred } from '../../common/flow/deferred.js'
import type { ChunkId, ServerId, UploadId } from '../../common/ids.js'
import type { ReceiptJson } from '../../common/protocol/chunk-data.js'
import type { FileInfo } from '../../common/protocol/files.js'
import { REPORT_BATCH_MAX, type AllocatedChunk, type CompletedChunk } from '../../common/protocol/uploads.js'
import { SECOND_MS } from '../../common/units.js'
import type { MasterApi } from '../master-api.js'
import type { TransferContext } from '../options.js'
import { AllocationAhead, type ChunkWish } from './allocation-ahead.js'

export interface SessionInfo {
  readonly uploadId: UploadId
  readonly writerEpoch: number
  readonly chunkSizeBytes: number
  readonly replicas: number
  readonly minReplicas: number
  readonly resumed: boolean
  /** Chunks that were allocated with the session. */
  readonly chunks?: readonly AllocatedChunk[] | undefined
}

export interface StoredChunkReport extends CompletedChunk {
  readonly receipts: ReceiptJson[]
}

interface QueuedReport {
  readonly chunk: StoredChunkReport
  readonly done: Deferred<void>
}

/** Well below the 30 s after which others may take an idle session over. */
const KEEPALIVE_MS = 10 * SECOND_MS
/** How long a server that failed us is asked for no more chunks. */
const AVOID_MS = 30 * SECOND_MS

export class UploadSession {
  readonly info: SessionInfo
  readonly #api: MasterApi
  readonly #context: TransferContext
  readonly #signal: AbortSignal
  readonly #ahead: AllocationAhead
  readonly #avoided = new Map<ServerId, number>()
  #queue: QueuedReport[] = []
  #reporting = false
  #keepalive: Timer | undefined
  #closed = false

  /** @param upcoming the chunks that will follow a given one, as far as the source knows */
  constructor(
    info: SessionInfo,
    api: MasterApi,
    context: TransferContext,
    signal: AbortSignal,
    upcoming: (after: ChunkWish, count: number) => ChunkWish[],
  ) {
    this.info = info
    this.#api = api
    this.#context = context
    this.#signal = signal
    this.#ahead = new AllocationAhead((wishes) => this.#allocate(wishes), upcoming, info.chunks)
    this.#keepAlive()
  }

  /** Targets for a new chunk. */
  allocate(chunk: ChunkWish): Promise<AllocatedChunk> {
    return this.#ahead.take(chunk)
  }

  /** Further targets for a chunk that has copies on `have`. */
  async allocateMore(chunk: ChunkWish, chunkId: ChunkId, have: ServerId[]): Promise<AllocatedChunk> {
    const [more] = await this.#allocate([{ ...chunk, chunkId, have }])
    return more as AllocatedChunk
  }

  async #allocate(chunks: (ChunkWish & { chunkId?: ChunkId; have?: ServerId[] })[]): Promise<AllocatedChunk[]> {
    const answer = await this.#api.call('allocateChunks', {
      params: { uploadId: this.info.uploadId },
      body: {
        writerEpoch: this.info.writerEpoch,
        chunks,
        avoid: this.#avoidList(),
        ...(this.#context.zone === undefined ? {} : { zone: this.#context.zone }),
      },
      signal: this.#signal,
    })
    return answer.chunks
  }

  /** A server has just failed us: no new chunks for it for a while. */
  avoid(serverId: ServerId): void {
    this.#avoided.set(serverId, this.#context.clock.monotonic() + AVOID_MS)
    this.#ahead.forget()
  }

  /** Whether a server failed us lately. */
  isAvoided(serverId: ServerId): boolean {
    return (this.#avoided.get(serverId) ?? -Infinity) > this.#context.clock.monotonic()
  }

  #avoidList(): ServerId[] {
    return [...this.#avoided.keys()].filter((serverId) => this.isAvoided(serverId))
  }

  /**
   * Enters a stored chunk into the draft; several at once travel together.
   * @throws `NOT_ENOUGH_REPLICAS` when the master counts fewer live copies than we do
   */
  report(chunk: StoredChunkReport): Promise<void> {
    const done = deferred<void>()
    this.#queue.push({ chunk, done })
    if (!this.#reporting) {
      this.#reporting = true
      void this.#drain()
    }
    return observed(done.promise)
  }

  async #drain(): Promise<void> {
    while (this.#queue.length > 0) {
      const batch = this.#queue.splice(0, REPORT_BATCH_MAX)
      await this.#send(batch)
    }
    this.#reporting = false
  }

  async #send(batch: readonly QueuedReport[]): Promise<void> {
    try {
      await this.#api.call('reportChunks', {
        params: { uploadId: this.info.uploadId },
        body: { writerEpoch: this.info.writerEpoch, chunks: batch.map(({ chunk }) => chunk) },
        signal: this.#signal,
      })
      for (const { done } of batch) done.resolve()
    } catch (error) {
      // One weak chunk spoils a batch: alone, each gets its own answer.
      if (batch.length > 1 && isCairnError(error, 'NOT_ENOUGH_REPLICAS')) {
        for (const one of batch) await this.#send([one])
      } else {
        for (const { done } of batch) done.reject(error)
      }
    }
  }

  /** All completed chunks that still have enough copies, by index. */
  async completed(): Promise<Map<number, CompletedChunk>> {
    const out = new Map<number, CompletedChunk>()
    for (let from: number | null = 0; from !== null;) {
      const page: { chunks: CompletedChunk[]; next: number | null } = await this.#api.call('listUploadChunks', {
        params: { uploadId: this.info.uploadId },
        query: { from },
        signal: this.#signal,
      })
      for (const chunk of page.chunks) out.set(chunk.index, chunk)
      from = page.next
    }
    return out
  }

  /** @param chunks not reported before: they are entered with the commit, or not at all */
  commit(file: { sizeBytes: number; chunkCount: number; checksum: string }, chunks?: StoredChunkReport[]): Promise<FileInfo> {
    return this.#api.call('commitUpload', {
      params: { uploadId: this.info.uploadId },
      body: { writerEpoch: this.info.writerEpoch, ...file, ...(chunks ? { chunks } : {}) },
      signal: this.#signal,
      // One that checks thousands of chunks is no company for others.
      isSmall: chunks !== undefined || file.chunkCount === 0,
    })
  }

  /** Drops the session and what was sent. For uploads that nobody can go on with. */
  async abort(): Promise<void> {
    await this.#api.call('abortUpload', { params: { uploadId: this.info.uploadId } })
  }

  /** Lets the session be: it can be taken up again. */
  close(): void {
    this.#closed = true
    this.#keepalive?.cancel()
  }

  #keepAlive(): void {
    this.#keepalive = this.#context.clock.setTimer(KEEPALIVE_MS, () => {
      if (this.#closed) return
      this.#api
        .call('keepUpload', {
          params: { uploadId: this.info.uploadId },
          body: { writerEpoch: this.info.writerEpoch },
          signal: this.#signal,
        })
        // If the session is lost, the next report says so.
        .catch((error: unknown) => this.#context.log.debug({ error }, 'keepalive failed'))
      this.#keepAlive()
    })
  }
}
