/** The client: the whole of Cairn as seen from outside. One instance serves any number of transfers, within one memory budget. */
import { BLOCK_BYTES, BlockPool } from '../common/bytes/block-pool.js'
import { Semaphore } from '../common/flow/semaphore.js'
import type { Disk } from '../common/disk/disk.js'
import { bytesToHex, type RequestId } from '../common/ids.js'
import { bucketOf, keyOf, parseFilePath } from '../common/path-name.js'
import type { Random } from '../common/random/random.js'
import type { FileInfo, ListEntry } from '../common/protocol/files.js'
import type { Precondition } from '../common/protocol/precondition.js'
import { openRun, type DownloadOptions } from './download/download.js'
import { downloadToFile } from './download/file-target.js'
import { streamDownload } from './download/stream-target.js'
import { MasterApi } from './master-api.js'
import {
  DEFAULT_BUDGET_BYTES,
  DEFAULT_CONCURRENCY,
  type ClientOptions,
  type ClientParts,
  type RequestIds,
  type TransferContext,
} from './options.js'
import { SmallChunks } from './small-chunks.js'
import { FileSource } from './upload/file-source.js'
import type { OwnerIdentity } from './upload/open-session.js'
import { StreamSource, type StreamBudget } from './upload/stream-source.js'
import { upload, type UploadOptions } from './upload/upload.js'
import { verifyFile, type CheckedChunk } from './verify.js'

/** What a platform gives a client to stand on. */
export interface ClientPlatform extends ClientParts {
  readonly disk: Disk
  readonly owner: OwnerIdentity
}

export interface StreamUploadOptions extends UploadOptions {
  /** When it is known: the stream must then have exactly so many. */
  readonly sizeBytes?: number | undefined
}

export interface ListOptions {
  readonly delimiter?: string | undefined
  readonly after?: string | undefined
  readonly signal?: AbortSignal | undefined
}

export interface ChangeOptions {
  readonly precondition?: Precondition | undefined
  readonly signal?: AbortSignal | undefined
}

/** What all views of one client share. */
interface Shared {
  readonly platform: ClientPlatform
  readonly options: ClientOptions
  readonly blocks: BlockPool
  readonly budget: StreamBudget
  readonly smallChunks: SmallChunks
}

/** For whom and under which name a view of the client works. */
export interface ViewOptions {
  readonly token?: string | undefined
  /** What the ids of its requests begin with; a fresh one without. */
  readonly requestId?: string | undefined
}

export class CairnClient implements AsyncDisposable {
  /** The master's API, for everything that is not a transfer. */
  readonly api: MasterApi
  readonly #shared: Shared
  readonly #context: TransferContext

  constructor(
    platform: ClientPlatform,
    options: ClientOptions,
    view: ViewOptions = {},
    shared: Shared = share(platform, options),
  ) {
    this.#shared = shared
    const requestIds = requestIdSource(platform.random, view.requestId)
    this.api = new MasterApi(platform, options.masters, view.token ?? options.token, requestIds)
    const { clock, random, log, transport } = platform
    this.#context = {
      clock,
      random,
      log,
      transport,
      requestIds,
      zone: options.zone,
      concurrency: options.concurrency ?? DEFAULT_CONCURRENCY,
      blocks: shared.blocks,
      smallChunks: shared.smallChunks,
    }
  }

  /** The same client on behalf of someone else: it shares memory and connections. Closing it is not needed. */
  view(view: ViewOptions): CairnClient {
    return new CairnClient(this.#shared.platform, this.#shared.options, view, this.#shared)
  }

  /**
   * Uploads a local file. Interrupted, it goes on when called again with the same file and path, by another process too.
   * @returns the committed file: durable, with each chunk on at least minReplicas servers
   */
  async uploadFile(localPath: string, path: string, options: UploadOptions = {}): Promise<FileInfo> {
    parseFilePath(path)
    return upload(this.#services(), await FileSource.open(this.#shared.platform.disk, localPath), path, options)
  }

  /** Uploads a stream, read once. When it fails or is aborted nothing is left behind. */
  async uploadStream(stream: AsyncIterable<Uint8Array>, path: string, options: StreamUploadOptions = {}): Promise<FileInfo> {
    parseFilePath(path)
    const { budget, platform } = this.#shared
    const source = new StreamSource({ stream, sizeBytes: options.sizeBytes ?? null, budget, clock: platform.clock })
    return upload(this.#services(), source, path, options)
  }

  /** Downloads into a local file, which appears whole or not at all; a partial one beside it serves to go on. */
  async downloadFile(path: string, localPath: string, options: DownloadOptions = {}): Promise<FileInfo> {
    const file = await this.stat(path, options.signal)
    using run = openRun(this.api, this.#context, file, options)
    await downloadToFile(this.#shared.platform.disk, run, localPath)
    return file
  }

  /** The bytes of a file or a range of it, in order. Each piece is valid until the next one is asked for. */
  async *download(file: FileInfo, options: DownloadOptions = {}): AsyncGenerator<Uint8Array> {
    using run = openRun(this.api, this.#context, file, options)
    yield* streamDownload(run)
  }

  /** Has every copy of a file read and checked by the servers that hold them. */
  verify(file: FileInfo, signal?: AbortSignal): AsyncGenerator<CheckedChunk> {
    return verifyFile({ api: this.api, transport: this.#context.transport }, file, signal)
  }

  /** @throws `FILE_NOT_FOUND` */
  stat(path: string, signal?: AbortSignal): Promise<FileInfo> {
    return this.api.call('getFile', { params: fileParams(path), signal, isSmall: true })
  }

  /** All entries under a prefix (`/bucket/…`), in order, page by page as they are consumed. */
  async *list(prefix: string, options: ListOptions = {}): AsyncGenerator<ListEntry> {
    for (let after = options.after; ;) {
      const page = await this.api.call('listFiles', {
        query: {
          prefix,
          ...(options.delimiter === undefined ? {} : { delimiter: options.delimiter }),
          ...(after === undefined ? {} : { after }),
        },
        signal: options.signal,
      })
      yield* page.entries
      if (page.next === null) return
      after = page.next
    }
  }

  /** Moves a file to the trash, or drops it for good. @throws `FILE_NOT_FOUND`, `PRECONDITION_FAILED` */
  async delete(
    path: string,
    options: ChangeOptions & { readonly purge?: boolean } = {},
  ): Promise<{ path: string; generation: number }> {
    return this.api.call('deleteFile', {
      params: fileParams(path),
      query: { purge: options.purge ?? false },
      ...changes(options),
    })
  }

  /** @throws `FILE_NOT_FOUND`, `ALREADY_EXISTS`, `PRECONDITION_FAILED` */
  copy(from: string, to: string, options: ChangeOptions = {}): Promise<FileInfo> {
    return this.api.call('copyFile', { body: { from: parseFilePath(from), to: parseFilePath(to) }, ...changes(options) })
  }

  /** @throws as {@link copy} */
  rename(from: string, to: string, options: ChangeOptions = {}): Promise<FileInfo> {
    return this.api.call('renameFile', { body: { from: parseFilePath(from), to: parseFilePath(to) }, ...changes(options) })
  }

  /** @throws `TRASH_ENTRY_NOT_FOUND`, `ALREADY_EXISTS` */
  undelete(path: string): Promise<FileInfo> {
    return this.api.call('undeleteFile', { body: { path: parseFilePath(path) } })
  }

  async close(): Promise<void> {
    await this.#shared.platform.transport.close()
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close()
  }

  #services() {
    return { api: this.api, context: this.#context, owner: this.#shared.platform.owner }
  }
}

function share(platform: ClientPlatform, options: ClientOptions): Shared {
  const blockCount = Math.floor((options.budgetBytes ?? DEFAULT_BUDGET_BYTES) / BLOCK_BYTES)
  const held = new BlockPool(Math.max(2, blockCount))
  return {
    platform,
    options,
    blocks: new BlockPool(Math.max(8, Math.floor(blockCount / 2))),
    budget: { blocks: held, units: new Semaphore(held.capacity), active: 0 },
    smallChunks: new SmallChunks(platform.clock, platform.transport, requestIdSource(platform.random, undefined)),
  }
}

/** A base that was given may be given twice, by a user's retry; what is added keeps our requests apart. */
function requestIdSource(random: Random, base: string | undefined): RequestIds {
  const prefix = base === undefined ? bytesToHex(random.bytes(8)) : `${base.slice(0, 64)}.${bytesToHex(random.bytes(3))}`
  let count = 0
  return () => `${prefix}.${(count += 1)}` as RequestId
}

const changes = (options: ChangeOptions) => ({
  ...(options.precondition ? { precondition: options.precondition } : {}),
  signal: options.signal,
})

function fileParams(path: string): { bucket: string; key: string } {
  const parsed = parseFilePath(path)
  return { bucket: bucketOf(parsed), key: keyOf(parsed) }
}
