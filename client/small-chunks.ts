/**
 * Small chunks on their way to a chunkserver and from it. Those that are on their way to the same server at about the same
 * time share a request, whichever files they are of; each is stored, read and refused by itself.
 */
import type { Clock } from '../common/clock/clock.js'
import { CairnError, isCairnError, toCairnError } from '../common/errors/cairn-error.js'
import { Gatherer, type Outcome } from '../common/flow/gatherer.js'
import type { ChunkId } from '../common/ids.js'
import { REQUEST_ID_HEADER, type ReceiptJson } from '../common/protocol/chunk-data.js'
import {
  CHUNKS_PATH,
  decodeFound,
  encodePuts,
  parseList,
  READ_CHUNKS_PATH,
  SMALL_CHUNK_BYTES_MAX,
  SMALL_CHUNKS_BODY_BYTES_MAX,
  SMALL_CHUNKS_DATA_BYTES_MAX,
  SMALL_CHUNKS_MAX,
  storedList,
  type SmallData,
  type SmallPut,
} from '../common/protocol/small-chunks.js'
import { readAll } from '../common/rpc/byte-pipe.js'
import { errorOf } from '../common/rpc/endpoint-client.js'
import type { Transport } from '../common/rpc/transport.js'
import { STALL_TIMEOUT_MS, type RequestIds } from './options.js'

/** While one request is being answered another is made. */
const UNDER_WAY_MAX = 2
/** The server as such is in trouble: those that wait for it need not find out one by one. */
const SERVER_FAULTS = ['CONNECTION_FAILED', 'TIMEOUT', 'FENCED', 'SHUTTING_DOWN', 'STARTING', 'ROUTE_NOT_FOUND'] as const

export interface WantedChunk {
  readonly chunkId: ChunkId
  readonly sizeBytes: number
  readonly capability: string
}

interface Lanes {
  readonly puts: Gatherer<SmallPut, ReceiptJson>
  readonly reads: Gatherer<WantedChunk, SmallData>
}

export class SmallChunks {
  readonly #clock: Clock
  readonly #transport: Transport
  readonly #requestIds: RequestIds
  /** By the server's address. */
  readonly #lanes = new Map<string, Lanes>()
  /** There are chunkservers older than this client. */
  #isRefused = false

  constructor(clock: Clock, transport: Transport, requestIds: RequestIds) {
    this.#clock = clock
    this.#transport = transport
    this.#requestIds = requestIds
  }

  /** Whether a chunk of this length should go this way. */
  takes(lengthBytes: number): boolean {
    return lengthBytes <= SMALL_CHUNK_BYTES_MAX && !this.#isRefused
  }

  /** Stores a chunk on one server. @throws what a PUT of its own would be answered */
  put(url: string, put: SmallPut, signal: AbortSignal): Promise<ReceiptJson> {
    return this.#to(url).puts.add(put, signal)
  }

  /** Reads a chunk from one server; nothing of it is checked here. @throws what a GET of its own would be answered */
  read(url: string, wanted: WantedChunk, signal: AbortSignal): Promise<SmallData> {
    return this.#to(url).reads.add(wanted, signal)
  }

  #to(url: string): Lanes {
    const known = this.#lanes.get(url)
    if (known) return known
    const bounds = {
      clock: this.#clock,
      underWayMax: UNDER_WAY_MAX,
      countMax: SMALL_CHUNKS_MAX,
      weightMax: SMALL_CHUNKS_DATA_BYTES_MAX,
    }
    const failsAll = (error: unknown): boolean => isCairnError(error, ...SERVER_FAULTS)
    const lanes: Lanes = {
      puts: new Gatherer({ ...bounds, failsAll, weightOf: (put) => put.lengthBytes, send: (puts) => this.#sendPuts(url, puts) }),
      reads: new Gatherer({ ...bounds, failsAll, weightOf: (one) => one.sizeBytes, send: (all) => this.#sendReads(url, all) }),
    }
    this.#lanes.set(url, lanes)
    return lanes
  }

  async #sendPuts(url: string, puts: readonly SmallPut[]): Promise<Outcome<ReceiptJson>[]> {
    const answer = await this.#ask(url + CHUNKS_PATH, encodePuts(puts))
    const { chunks } = understood(url, () => parseList(new TextDecoder().decode(answer), storedList))
    return puts.map((_, index): Outcome<ReceiptJson> => {
      const chunk = chunks[index]
      return chunk && 'receipt' in chunk ? { ok: true, value: chunk.receipt } : refused(chunk, url)
    })
  }

  async #sendReads(url: string, wanted: readonly WantedChunk[]): Promise<Outcome<SmallData>[]> {
    const chunks = wanted.map(({ chunkId, capability }) => ({ chunkId, capability }))
    const answer = await this.#ask(url + READ_CHUNKS_PATH, new TextEncoder().encode(JSON.stringify({ chunks })))
    const found = understood(url, () => decodeFound(answer))
    return wanted.map((_, index): Outcome<SmallData> => {
      const chunk = found[index]
      return chunk && 'data' in chunk ? { ok: true, value: chunk } : refused(chunk, url)
    })
  }

  async #ask(url: string, body: Uint8Array): Promise<Uint8Array> {
    const exchange = this.#transport.exchange({
      method: 'POST',
      url,
      headers: { [REQUEST_ID_HEADER]: this.#requestIds() },
      contentLength: body.length,
      stallTimeoutMs: STALL_TIMEOUT_MS,
    })
    try {
      await exchange.write(body)
      const response = await exchange.response
      if (response.contentLength > SMALL_CHUNKS_BODY_BYTES_MAX)
        throw new CairnError('PROTOCOL_ERROR', `${url} answered with ${response.contentLength} bytes.`)
      const answer = await readAll(response.body, response.contentLength)
      if (answer.length < response.contentLength) throw new CairnError('CONNECTION_FAILED', `${url} broke off within its answer.`)
      if (response.status >= 400)
        throw errorOf(
          understood(url, () => JSON.parse(new TextDecoder().decode(answer)) as unknown),
          response,
          url,
        )
      return answer
    } catch (error) {
      if (isCairnError(error, 'ROUTE_NOT_FOUND')) this.#isRefused = true
      exchange.destroy(toCairnError(error))
      throw error
    }
  }
}

function refused(chunk: { readonly error?: unknown } | undefined, url: string): { readonly ok: false; readonly error: unknown } {
  const error =
    chunk?.error === undefined
      ? new CairnError('PROTOCOL_ERROR', `${url} did not say what became of a chunk.`)
      : CairnError.fromJSON(chunk.error)
  return { ok: false, error }
}

function understood<T>(url: string, parse: () => T): T {
  try {
    return parse()
  } catch (error) {
    throw new CairnError('PROTOCOL_ERROR', `${url} answered in a shape unknown here.`, { cause: error })
  }
}
