/** Where the chunks of a manifest are: paged, a page ahead of need, read anew when a page has led nowhere. */
import type { ManifestId, ServerId } from '../../common/ids.js'
import type { ChunkEntry, FileInfo, ServerAddress } from '../../common/protocol/files.js'
import type { MasterApi } from '../master-api.js'

const PAGE = 256
/** Chunks that are found and signed for in no time. */
const FEW = 4

export interface LocatedChunk extends ChunkEntry {
  readonly servers: ReadonlyMap<ServerId, ServerAddress>
}

interface Page {
  readonly chunks: readonly ChunkEntry[]
  readonly servers: ReadonlyMap<ServerId, ServerAddress>
}

export class ChunkLocations {
  readonly #api: MasterApi
  readonly #manifestId: ManifestId
  readonly #signal: AbortSignal
  readonly #isSmall: boolean
  readonly #pages = new Map<number, Promise<Page>>()

  constructor(api: MasterApi, { manifestId, chunkCount }: Pick<FileInfo, 'manifestId' | 'chunkCount'>, signal: AbortSignal) {
    this.#api = api
    this.#manifestId = manifestId
    this.#isSmall = chunkCount <= FEW
    this.#signal = signal
  }

  async at(index: number): Promise<LocatedChunk | undefined> {
    const number = Math.floor(index / PAGE)
    const page = await this.#page(number)
    // Pages behind the reader are let go, so that memory does not grow with the file.
    for (const known of this.#pages.keys()) if (known < number - 1) this.#pages.delete(known)
    const entry = page.chunks[index - number * PAGE]
    return entry && { ...entry, servers: page.servers }
  }

  /** Where a chunk is now: servers have died or returned, a capability has expired. */
  async refresh(index: number): Promise<LocatedChunk | undefined> {
    this.#pages.delete(Math.floor(index / PAGE))
    return this.at(index)
  }

  #page(number: number): Promise<Page> {
    const known = this.#pages.get(number)
    if (known) return known
    const loading = this.#load(number)
    this.#pages.set(number, loading)
    loading.catch(() => this.#pages.delete(number))
    return loading
  }

  async #load(number: number): Promise<Page> {
    const { chunks, servers } = await this.#api.call('listManifestChunks', {
      params: { manifestId: this.#manifestId },
      query: { from: number * PAGE, limit: PAGE, capabilities: true },
      signal: this.#signal,
      isSmall: this.#isSmall,
    })
    return { chunks, servers: new Map(servers.map((server) => [server.id, server])) }
  }
}
