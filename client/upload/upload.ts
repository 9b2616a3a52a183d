/**
 * An upload: opens a session or takes up an interrupted one, sends the chunks in parallel, commits. An interruption
 * leaves the session as it is, to go on later; a stream, which nobody can go on with, is dropped instead.
 */
import { fileChecksum } from '../../common/checksum/tree.js'
import type { Checksum64 } from '../../common/checksum/xxh64.js'
import { sleep } from '../../common/clock/clock.js'
import { CairnError, isCairnError } from '../../common/errors/cairn-error.js'
import { linkedAbort, untilAborted } from '../../common/flow/abort.js'
import type { FileInfo } from '../../common/protocol/files.js'
import type { Precondition } from '../../common/protocol/precondition.js'
import type { CompletedChunk } from '../../common/protocol/uploads.js'
import { SECOND_MS } from '../../common/units.js'
import type { MasterApi } from '../master-api.js'
import { PATIENCE_MS, type TransferContext, type TransferOptions } from '../options.js'
import { ChunkSender, type SentChunk } from './chunk-sender.js'
import { openSession, type OwnerIdentity } from './open-session.js'
import { payloadRoot } from './local-checksum.js'
import type { StoredChunkReport, UploadSession } from './session.js'
import type { ChunkPayload, UploadSource } from './source.js'

export interface UploadOptions extends TransferOptions {
  readonly precondition?: Precondition | undefined
  readonly chunkSizeBytes?: number | undefined
  readonly replicas?: number | undefined
}

export interface UploadServices {
  readonly api: MasterApi
  readonly context: TransferContext
  readonly owner: OwnerIdentity
}

const COMMIT_RETRY_MS = 1 * SECOND_MS

/**
 * @returns the committed file; from then on it is durable on at least minReplicas servers per chunk
 * @throws on abort the signal's reason, and on any failure its error; a resumable source's session stays open then
 */
export async function upload(
  services: UploadServices,
  source: UploadSource,
  path: string,
  options: UploadOptions,
): Promise<FileInfo> {
  const abort = linkedAbort(options.signal)
  let session: UploadSession | undefined
  try {
    session = await openOrDrop(services, source, path, options, abort.signal)
    return await new Upload(services, source, session, options, abort).run()
  } catch (error) {
    abort.abort(error)
    // Nobody can go on with a stream: what it has sent must not lie about.
    if (session && !source.resumable) await session.abort().catch(() => undefined)
    throw error
  } finally {
    session?.close()
    abort.abort(new CairnError('ABORTED', 'The upload is over.'))
    abort.dispose()
    await source.close()
  }
}

/** On abort a session of a stream that is just being opened is not left behind: it is dropped once it is there. */
async function openOrDrop(
  services: UploadServices,
  source: UploadSource,
  path: string,
  options: UploadOptions,
  signal: AbortSignal,
): Promise<UploadSession> {
  const opening = openSession(services, source, path, options, signal)
  if (source.resumable) return opening
  try {
    return await untilAborted(opening, signal)
  } catch (error) {
    const drop = async (late: UploadSession): Promise<void> => {
      late.close()
      await late.abort()
    }
    if (signal.aborted) opening.then(drop).catch(() => undefined)
    throw error
  }
}

class Upload {
  readonly #context: TransferContext
  readonly #source: UploadSource
  readonly #session: UploadSession
  readonly #options: UploadOptions
  readonly #abort: { readonly signal: AbortSignal; abort(reason: unknown): void }
  readonly #sender: ChunkSender
  readonly #done = new Map<number, SentChunk>()
  #completed = new Map<number, CompletedChunk>()
  #doneBytes = 0
  #skippedBytes = 0

  constructor(
    services: UploadServices,
    source: UploadSource,
    session: UploadSession,
    options: UploadOptions,
    abort: { readonly signal: AbortSignal; abort(reason: unknown): void },
  ) {
    this.#context = services.context
    this.#source = source
    this.#session = session
    this.#options = options
    this.#abort = abort
    this.#sender = new ChunkSender(services.context, session, abort.signal, {
      onBytes: (bytes) => this.#progress(bytes),
      onNotice: (notice) => options.onNotice?.(notice),
    })
  }

  async run(): Promise<FileInfo> {
    if (this.#session.info.resumed) this.#completed = await this.#session.completed()
    const chunks = this.#source.chunks(this.#session.info.chunkSizeBytes, this.#abort.signal)[Symbol.asyncIterator]()
    if (this.#isOneChunk) return this.#sendWhole(chunks)
    await this.#inParallel(chunks)
    await this.#source.checkUnchanged()
    return this.#commit()
  }

  get #isOneChunk(): boolean {
    // A master that allocates with the session also takes chunks with the commit.
    return this.#source.isSmall && this.#session.info.chunks?.length === 1
  }

  /** The one chunk of a small file is entered by the commit itself: one request and one synced transaction less. */
  async #sendWhole(chunks: AsyncIterator<ChunkPayload>): Promise<FileInfo> {
    const only = await chunks.next()
    // A source that turns out shorter than it said has thrown; one that has more throws here, before anything is sent.
    if (only.done) throw new CairnError('INTERNAL', 'a file that is not empty has a chunk')
    let file: FileInfo | undefined
    try {
      await chunks.next()
      await this.#sender.send(only.value, async (report) => void (file = await this.#commitWith(report)))
    } finally {
      only.value.release()
    }
    if (!file) throw new CairnError('INTERNAL', 'a chunk that was sent has been entered')
    return file
  }

  /** @throws `NOT_ENOUGH_REPLICAS` to have the chunk sent again; what else the master says ends the upload */
  async #commitWith(chunk: StoredChunkReport): Promise<FileInfo> {
    try {
      await this.#source.checkUnchanged()
      const file = { sizeBytes: chunk.lengthBytes, chunkCount: 1, checksum: fileChecksum([chunk]) }
      return await this.#session.commit(file, [chunk])
    } catch (error) {
      if (!isCairnError(error, 'NOT_ENOUGH_REPLICAS')) this.#abort.abort(error)
      throw error
    }
  }

  async #inParallel(chunks: AsyncIterator<ChunkPayload>): Promise<void> {
    // Pulling the next chunk is one at a time; sending is not.
    let pulling: Promise<unknown> = Promise.resolve()
    const pull = (): Promise<IteratorResult<ChunkPayload>> => {
      const result = pulling.then(() => chunks.next())
      pulling = result.catch(() => undefined)
      return result
    }
    const worker = async (): Promise<void> => {
      for (let next = await pull(); !next.done; next = await pull()) await this.#process(next.value)
    }
    const workers = Array.from({ length: this.#options.concurrency ?? this.#context.concurrency }, async () => {
      try {
        await worker()
      } catch (error) {
        this.#abort.abort(error)
        throw error
      }
    })
    const outcomes = await Promise.allSettled(workers)
    const failed = outcomes.find((outcome) => outcome.status === 'rejected')
    if (failed) {
      await chunks.return?.()
      throw this.#abort.signal.aborted ? this.#abort.signal.reason : failed.reason
    }
  }

  async #process(payload: ChunkPayload): Promise<void> {
    try {
      this.#abort.signal.throwIfAborted()
      const sent = (await this.#alreadyThere(payload)) ?? (await this.#sender.send(payload))
      this.#done.set(sent.index, sent)
    } finally {
      payload.release()
    }
  }

  /** A chunk of an earlier run counts only if the local bytes still are those. */
  async #alreadyThere(payload: ChunkPayload): Promise<SentChunk | undefined> {
    const { index, offset, lengthBytes } = payload
    const known = this.#completed.get(index)
    if (!known || known.lengthBytes !== lengthBytes || known.offset !== offset) return undefined
    if ((await this.#localRoot(payload)) !== known.root) return undefined
    this.#skippedBytes += lengthBytes
    this.#progress(lengthBytes)
    return { index, offset, lengthBytes, root: known.root }
  }

  async #localRoot(payload: ChunkPayload): Promise<Checksum64> {
    const block = await this.#context.blocks.acquire(this.#abort.signal)
    try {
      return await payloadRoot(payload, block)
    } finally {
      block.release()
    }
  }

  async #commit(): Promise<FileInfo> {
    const { clock } = this.#context
    const startedMs = clock.monotonic()
    for (;;) {
      const chunks = [...this.#done.values()].sort((one, other) => one.index - other.index)
      const sizeBytes = chunks.reduce((sum, chunk) => sum + chunk.lengthBytes, 0)
      try {
        return await this.#session.commit({ sizeBytes, chunkCount: chunks.length, checksum: fileChecksum(chunks) })
      } catch (error) {
        if (!isCairnError(error, 'NOT_ENOUGH_REPLICAS') || clock.monotonic() - startedMs >= PATIENCE_MS) throw error
        this.#options.onNotice?.(`${error.message} Sending the chunks again that lost their copies.`)
        await sleep(clock, COMMIT_RETRY_MS, this.#abort.signal)
        await this.#sendLostAgain()
      }
    }
  }

  /** Servers have died between report and commit. A stream's bytes are gone; its chunks wait for repair or for the servers. */
  async #sendLostAgain(): Promise<void> {
    if (!this.#source.resumable) return
    const standing = await this.#session.completed()
    for (const index of this.#done.keys()) {
      if (standing.has(index)) continue
      const payload = this.#source.chunkAt(index, this.#session.info.chunkSizeBytes)
      this.#done.set(index, await this.#sender.send(payload))
    }
  }

  #progress(bytes: number): void {
    this.#doneBytes += bytes
    this.#options.onProgress?.({
      doneBytes: this.#doneBytes,
      totalBytes: this.#source.sizeBytes,
      skippedBytes: this.#skippedBytes,
    })
  }
}
