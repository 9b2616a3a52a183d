/**
 * The simulated network: nodes of one process that reach each other through a {@link MemoryNetwork}, which decides,
 * message by message, whether and when something arrives. Time is the given clock's, so it runs in virtual time.
 */
import type { Clock, Timer } from '../clock/clock.js'
import { CairnError, toCairnError } from '../errors/cairn-error.js'
import { deferred, observed } from '../flow/deferred.js'
import { BytePipe, readAll } from './byte-pipe.js'
import { errorResponse } from './error-response.js'
import {
  isStreamingBody,
  type ByteReader,
  type CallRequest,
  type CallResponse,
  type Exchange,
  type ExchangeRequest,
  type IncomingRequest,
  type ListenOptions,
  type Listener,
  type OutgoingResponse,
  type RequestHandler,
  type StreamResponse,
  type Transport,
} from './transport.js'

/** What becomes of one message from one node to another. `lost`: nobody hears of it, as with an unplugged cable. */
export type Fate = { readonly kind: 'delivered'; readonly delayMs: number } | { readonly kind: 'lost' }

interface Service {
  readonly node: string
  readonly handler: RequestHandler
}

export class MemoryNetwork {
  readonly clock: Clock
  readonly services = new Map<string, Service>()
  readonly exchanges = new Set<MemoryExchange>()
  /** Replace to partition, delay or lose. Asked for each request and each answer. */
  fate: (from: string, to: string) => Fate = () => ({ kind: 'delivered', delayMs: 0 })
  #nextPort = 1

  constructor(clock: Clock) {
    this.clock = clock
  }

  transport(node: string): MemoryTransport {
    return new MemoryTransport(this, node)
  }

  /** A node's process ends: its listeners are gone, its connections break. */
  kill(node: string): void {
    for (const [origin, service] of this.services) if (service.node === node) this.services.delete(origin)
    for (const exchange of [...this.exchanges]) {
      if (exchange.from === node || exchange.to === node) exchange.destroy(connectionFailed(`${node} has died`))
    }
  }

  freePort(): number {
    return this.#nextPort++
  }
}

const connectionFailed = (why: string): CairnError =>
  new CairnError('CONNECTION_FAILED', `The connection failed: ${why}.`, { data: { systemCode: 'ECONNREFUSED' } })

export class MemoryTransport implements Transport {
  readonly #network: MemoryNetwork
  readonly #node: string
  #listeners: Listener[] = []

  constructor(network: MemoryNetwork, node: string) {
    this.#network = network
    this.#node = node
  }

  async call(request: CallRequest): Promise<CallResponse> {
    const { body, ...rest } = request
    const exchange = this.exchange({ ...rest, contentLength: body?.length ?? 0, stallTimeoutMs: request.timeoutMs })
    if (body && body.length > 0) await exchange.write(body)
    const response = await exchange.response
    return { status: response.status, headers: response.headers, body: await readAll(response.body, response.contentLength) }
  }

  exchange(request: ExchangeRequest): Exchange {
    return new MemoryExchange(this.#network, this.#node, request)
  }

  async listen(options: ListenOptions, handler: RequestHandler): Promise<Listener> {
    const url = `http://${options.host}:${options.port === 0 ? this.#network.freePort() : options.port}`
    if (this.#network.services.has(url)) throw new CairnError('PORT_IN_USE', `Another program listens on ${url}.`)
    this.#network.services.set(url, { node: this.#node, handler })
    const close = async (): Promise<void> => {
      this.#network.services.delete(url)
    }
    const listener: Listener = { url, close, [Symbol.asyncDispose]: close }
    this.#listeners.push(listener)
    return listener
  }

  async close(): Promise<void> {
    for (const listener of this.#listeners) await listener.close()
  }
}

class MemoryExchange implements Exchange {
  readonly from: string
  readonly to: string
  readonly ready: Promise<void>
  readonly response: Promise<StreamResponse>
  answered = false
  readonly #network: MemoryNetwork
  readonly #request: ExchangeRequest
  readonly #ready = deferred<void>()
  readonly #response = deferred<StreamResponse>()
  readonly #upload = new BytePipe()
  readonly #download = new BytePipe()
  readonly #gone = new AbortController()
  #stall: Timer | undefined
  #writing = 0
  /** Whether the request has reached the other side. */
  #arrived = false
  #unsent: number
  #failure: Error | undefined

  constructor(network: MemoryNetwork, from: string, request: ExchangeRequest) {
    this.#network = network
    this.from = from
    this.#request = request
    this.#unsent = request.contentLength
    this.ready = observed(this.#ready.promise)
    this.response = observed(this.#response.promise)
    const service = network.services.get(originOf(request.url))
    this.to = service?.node ?? ''
    network.exchanges.add(this)
    request.signal?.addEventListener('abort', this.#onAbort, { once: true })
    if (request.signal?.aborted) this.destroy(request.signal.reason as Error)
    this.#expectProgress()
    this.#deliver(this.from, this.to, () =>
      service ? void this.#serve(service) : this.destroy(connectionFailed(`nobody listens at ${request.url}`)),
    )
  }

  async write(bytes: Uint8Array): Promise<void> {
    await this.#ready.promise
    if (this.#failure) throw this.#failure
    if (this.answered) return
    this.#writing += 1
    this.#expectProgress()
    try {
      await this.#upload.write(bytes)
      this.#unsent -= bytes.length
      if (this.#unsent === 0) this.#upload.end()
    } finally {
      this.#writing -= 1
      this.#expectProgress()
    }
  }

  destroy(reason: Error): void {
    if (this.#failure) return
    this.#failure = reason
    this.#finish()
    this.#ready.reject(reason)
    this.#response.reject(reason)
    this.#upload.fail(reason)
    this.#download.fail(reason)
    this.#gone.abort(new CairnError('CONNECTION_FAILED', 'The client has closed the connection.'))
  }

  readonly #onAbort = (): void => this.destroy(this.#request.signal?.reason as Error)

  #finish(): void {
    this.#request.signal?.removeEventListener('abort', this.#onAbort)
    this.#stall?.cancel()
    this.#network.exchanges.delete(this)
  }

  /** A lost message leaves its sender waiting until the stall timer ends it, as on a real network. */
  #deliver(from: string, to: string, arrive: () => void, response?: OutgoingResponse): void {
    const fate = this.#network.fate(from, to)
    if (fate.kind === 'delivered') this.#network.clock.setTimer(fate.delayMs, arrive)
    else if (isStreamingBody(response?.body)) void response.body.discard()
  }

  #expectProgress(): void {
    this.#stall?.cancel()
    if (this.#failure) return
    const theirTurn = !this.#arrived || this.#writing > 0 || this.#unsent === 0 || this.#request.expectContinue === true
    if (!theirTurn) return
    const ms = this.#request.stallTimeoutMs
    this.#stall = this.#network.clock.setTimer(ms, () =>
      this.destroy(new CairnError('TIMEOUT', `${this.#request.url} made no progress for ${ms} ms.`)),
    )
  }

  async #serve(service: Service): Promise<void> {
    this.#arrived = true
    this.#expectProgress()
    if (!this.#request.expectContinue || this.#request.contentLength === 0) this.#ready.resolve()
    if (this.#request.contentLength === 0) this.#upload.end()
    const response = await service.handler(this.#incoming()).catch(errorResponse)
    this.#deliver(this.to, this.from, () => void this.#answer(response), response)
  }

  #incoming(): IncomingRequest {
    const url = new URL(this.#request.url)
    const body: ByteReader = {
      readInto: (target, onProgress) => {
        this.#ready.resolve()
        return this.#upload.readInto(target, onProgress)
      },
    }
    return {
      method: this.#request.method,
      path: this.#request.url.slice(originOf(this.#request.url).length).split('?')[0] ?? '/',
      query: url.searchParams,
      headers: { ...this.#request.headers },
      contentLength: this.#request.contentLength,
      body,
      signal: this.#gone.signal,
      interim: (status) => {
        if (status === 100) this.#ready.resolve()
        this.#expectProgress()
      },
    }
  }

  async #answer(response: OutgoingResponse): Promise<void> {
    const { body } = response
    const unwanted = this.#failure !== undefined || this.#request.method === 'HEAD'
    if (unwanted && isStreamingBody(body)) await body.discard()
    if (this.#failure) return
    const contentLength = this.#request.method === 'HEAD' ? 0 : isStreamingBody(body) ? body.contentLength : (body?.length ?? 0)
    this.answered = true
    this.#stall?.cancel()
    this.#ready.resolve()
    this.#upload.discard()
    this.#response.resolve({ status: response.status, headers: lowerCase(response.headers), contentLength, body: this.#download })
    try {
      if (contentLength > 0 && isStreamingBody(body)) await body.produce(this.#download)
      else if (contentLength > 0 && body) await this.#download.write(body as Uint8Array)
      this.#download.end()
      this.#finish()
    } catch (error) {
      this.destroy(connectionFailed(`the answer broke off (${toCairnError(error).message})`))
    }
  }
}

const originOf = (url: string): string => {
  const slash = url.indexOf('/', url.indexOf('//') + 2)
  return slash < 0 ? url : url.slice(0, slash)
}

const lowerCase = (headers: Readonly<Record<string, string>> = {}): Record<string, string> =>
  Object.fromEntries(Object.entries(headers).map(([name, value]) => [name.toLowerCase(), value]))
