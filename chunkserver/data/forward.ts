/** The next hop of a chain, seen from the one before it: its failure is recorded, never thrown into our own write. */
import { CairnError, isCairnError, toCairnError } from '../../common/errors/cairn-error.js'
import {
  CAPABILITY_HEADER,
  CHAIN_HEADER,
  chunkPath,
  formatChain,
  HOP_HEADER,
  HOP_TIMEOUT_HEADER,
  PURPOSE_HEADER,
  putResult,
  REQUEST_ID_HEADER,
  type Hop,
  type HopFailure,
  type Purpose,
  type PutResult,
} from '../../common/protocol/chunk-data.js'
import type { ChunkId } from '../../common/ids.js'
import { readAll } from '../../common/rpc/byte-pipe.js'
import { errorOf } from '../../common/rpc/endpoint-client.js'
import type { Exchange, StreamResponse, Transport } from '../../common/rpc/transport.js'
import { KiB } from '../../common/units.js'

/** What the receiver allows its own next hop is this part of what it is allowed itself, so that the hop nearest to a failure names it. */
export const HOP_TIMEOUT_SHARE = 0.75
/** Asking first costs a round trip: worth it where a body would be sent in vain. */
export const GO_AHEAD_BYTES_MIN = 256 * KiB
const RESULT_BYTES_MAX = 64 * KiB

export interface SendOptions {
  readonly chunkId: ChunkId
  readonly capability: string
  readonly hop: Hop
  readonly rest: readonly Hop[]
  readonly place: number
  readonly timeoutMs: number
  readonly contentLength: number
  readonly requestId: string | undefined
  /** Who sends: a client's chain, or the servers among themselves. Clients come first. */
  readonly purpose: Purpose
  readonly signal?: AbortSignal
}

/** Opens the PUT of a chunk to a server. */
export function openPut(transport: Transport, options: SendOptions): Exchange {
  return transport.exchange({
    method: 'PUT',
    url: options.hop.url + chunkPath(options.chunkId),
    headers: {
      [CAPABILITY_HEADER]: options.capability,
      [CHAIN_HEADER]: formatChain(options.rest),
      [HOP_HEADER]: String(options.place),
      [HOP_TIMEOUT_HEADER]: String(Math.round(options.timeoutMs)),
      ...(options.purpose === 'repair' ? { [PURPOSE_HEADER]: 'repair' } : {}),
      ...(options.requestId === undefined ? {} : { [REQUEST_ID_HEADER]: options.requestId }),
    },
    contentLength: options.contentLength,
    expectContinue: options.contentLength >= GO_AHEAD_BYTES_MIN,
    stallTimeoutMs: options.timeoutMs,
    ...(options.signal ? { signal: options.signal } : {}),
  })
}

/** The answer to a PUT. @throws the error that the server answered, or `PROTOCOL_ERROR` */
export async function readPutResult(response: StreamResponse, url: string): Promise<PutResult> {
  if (response.contentLength > RESULT_BYTES_MAX)
    throw new CairnError('PROTOCOL_ERROR', `${url} answered with ${response.contentLength} bytes.`)
  const text = new TextDecoder().decode(await readAll(response.body, response.contentLength))
  const json = text === '' ? undefined : (JSON.parse(text) as unknown)
  if (response.status >= 400) throw errorOf(json, response, url)
  const parsed = putResult.safeParse(json)
  if (!parsed.success) throw new CairnError('PROTOCOL_ERROR', `${url} answered a PUT in a shape unknown here.`)
  return parsed.data
}

export class Downstream {
  readonly #exchange: Exchange
  readonly #hop: Hop
  #failure: CairnError | undefined

  constructor(transport: Transport, options: SendOptions) {
    this.#exchange = openPut(transport, options)
    this.#hop = options.hop
  }

  get broken(): boolean {
    return this.#failure !== undefined || this.#exchange.answered
  }

  /** Waits for the go-ahead. */
  async ready(): Promise<void> {
    await this.#exchange.ready.catch((error: unknown) => this.#fail(error))
  }

  /** Resolves when the memory may be reused, be it because the hop has failed. */
  async write(bytes: Uint8Array): Promise<void> {
    if (this.broken) return
    await this.#exchange.write(bytes).catch((error: unknown) => this.#fail(error))
  }

  /** What became of it and of the hops behind it. */
  async result(): Promise<PutResult> {
    try {
      if (this.#failure && !this.#exchange.answered) throw this.#failure
      return await readPutResult(await this.#exchange.response, this.#hop.url)
    } catch (error) {
      return { receipts: [], failures: [this.#describe(isCairnError(error) ? error : toCairnError(error))] }
    }
  }

  destroy(reason: Error): void {
    this.#exchange.destroy(reason)
  }

  #fail(error: unknown): void {
    this.#failure ??= toCairnError(error)
    this.#exchange.destroy(this.#failure)
  }

  #describe(error: CairnError): HopFailure {
    return { serverId: this.#hop.serverId, code: error.code, message: error.message }
  }
}
