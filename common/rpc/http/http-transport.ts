/** The real network: undici for calls, the bulk path of this folder for exchanges and for listening. */
import { CairnError } from '../../errors/cairn-error.js'
import {
  CALL_RESPONSE_BYTES_MAX,
  type CallRequest,
  type CallResponse,
  type Exchange,
  type ExchangeRequest,
  type ListenOptions,
  type Listener,
  type RequestHandler,
  type Transport,
} from '../transport.js'
import { ConnectionPool } from './connection-pool.js'
import { HttpExchange } from './http-exchange.js'
import { listenHttp } from './http-server.js'
import { asConnectionError } from './socket-stream.js'
import { Agent, request } from './undici-calls.js'

/** Calls to one server at a time; more wait in line. Bounds sockets, not throughput: calls are small. */
const CONNECTIONS_PER_ORIGIN = 64

export class HttpTransport implements Transport {
  readonly #agent = new Agent({
    connections: CONNECTIONS_PER_ORIGIN,
    pipelining: 1,
    keepAliveTimeout: 20_000,
    maxResponseSize: CALL_RESPONSE_BYTES_MAX,
    headersTimeout: 0, // the call's own timeout holds for all of it
    bodyTimeout: 0,
  })
  readonly #pool = new ConnectionPool()

  async call(options: CallRequest): Promise<CallResponse> {
    const abort = new AbortController()
    const timer = setTimeout(
      () => abort.abort(new CairnError('TIMEOUT', `${options.url} did not answer within ${options.timeoutMs} ms.`)),
      options.timeoutMs,
    )
    const onAbort = (): void => abort.abort(options.signal?.reason)
    options.signal?.addEventListener('abort', onAbort, { once: true })
    if (options.signal?.aborted) onAbort()
    try {
      const response = await request(this.#agent, options.url, {
        method: options.method,
        headers: { ...options.headers },
        body: options.body ?? null,
        signal: abort.signal,
      })
      const body = new Uint8Array(await response.body.arrayBuffer())
      return { status: response.statusCode, headers: flatten(response.headers), body }
    } catch (error) {
      throw abort.signal.aborted ? (abort.signal.reason as Error) : describe(error, options.url)
    } finally {
      clearTimeout(timer)
      options.signal?.removeEventListener('abort', onAbort)
    }
  }

  exchange(options: ExchangeRequest): Exchange {
    return new HttpExchange(this.#pool, options)
  }

  listen(options: ListenOptions, handler: RequestHandler): Promise<Listener> {
    return listenHttp(options, handler)
  }

  async close(): Promise<void> {
    this.#pool.close()
    await this.#agent.destroy()
  }
}

/** What undici calls an answer that came, but is none. */
const NOT_THIS_PROTOCOL = [
  'HTTPParserError',
  'HeadersOverflowError',
  'ResponseExceededMaxSizeError',
  'ResponseContentLengthMismatchError',
]

function describe(error: unknown, url: string): CairnError {
  const known = asConnectionError(error)
  const unintelligible = error instanceof Error && NOT_THIS_PROTOCOL.includes(error.name)
  return new CairnError(unintelligible ? 'PROTOCOL_ERROR' : known.code, `${url}: ${known.message}`, {
    cause: error,
    ...(known.data ? { data: known.data } : {}),
  })
}

function flatten(headers: Record<string, string | string[] | undefined>): Record<string, string> {
  const out: Record<string, string> = {}
  for (const [name, value] of Object.entries(headers)) {
    if (value !== undefined) out[name.toLowerCase()] = Array.isArray(value) ? value.join(', ') : value
  }
  return out
}
