/**
 * The simulated network: nodes of one process that reach each other through a {@link MemoryNetwork}, which decides,
 * message by message, whether and when something arrives. Time is the given clock's, so it runs in virtual time.
 */
import type { Clock, Timer } from '../clock/clock.js'
import { CairnError, toCairnError } from '../errors/cairn-error.js'
import { deferred, observed } from '../flow/deferred.js'
import { BytePipe, readAll } from './byte-pipe.js'
import { errorResponse } from './error-response.js'
import { produceExactly } from './streaming-body.js'
import {
  isStreamingBody,
  CALL_RESPONSE_BYTES_MAX,
  type ByteReader,
  type ByteSink,
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
  readonly url: string
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

  /** Lets the exchanges with a service come to their end for up to `graceMs`, then cuts them. */
  async settle(service: Service, graceMs: number): Promise<void> {
    const underWay = [...this.exchanges].filter((exchange) => exchange.service === service)
    const cut = (): void => underWay.forEach((exchange) => exchange.destroy(connectionFailed(`${service.url} has closed`)))
    if (graceMs === 0) return cut()
    const timer = this.clock.setTimer(graceMs, cut)
    await Promise.all(underWay.map((exchange) => exchange.over))
    timer.cancel()
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
    const { body, timeoutMs, url, ...rest } = request
    const exchange = this.exchange({ ...rest, url, contentLength: body?.length ?? 0, stallTimeoutMs: timeoutMs })
    const timer = this.#network.clock.setTimer(timeoutMs, () =>
      exchange.destroy(new CairnError('TIMEOUT', `${url} did not answer within ${timeoutMs} ms.`)),
    )
    try {
      if (body && body.length > 0) await exchange.write(body)
      const response = await exchange.response
      if (response.contentLength > CALL_RESPONSE_BYTES_MAX)
        throw new CairnError('PROTOCOL_ERROR', `${url} answered with ${response.contentLength} bytes.`)
      return { status: response.status, headers: response.headers, body: await readAll(response.body, response.contentLength) }
    } catch (error) {
      exchange.destroy(toCairnError(error))
      throw error
    } finally {
      timer.cancel()
    }
  }

  exchange(request: ExchangeRequest): Exchange {
    return new MemoryExchange(this.#network, this.#node, request)
  }

  async listen(options: ListenOptions, handler: RequestHandler): Promise<Listener> {
    const url = `http://${options.host}:${options.port === 0 ? this.#network.freePort() : options.port}`
    if (this.#network.services.has(url)) throw new CairnError('PORT_IN_USE', `Another program listens on ${url}.`)
    const service = { node: this.#node, url, handler }
    this.#network.services.set(url, service)
    const close = async (graceMs = 0): Promise<void> => {
      if (this.#network.services.get(url) === service) this.#network.services.delete(url)
      await this.#network.settle(service, graceMs)
    }
    const listener: Listener = { url, close, [Symbol.asyncDispose]: () => close() }
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
  /** Resolves when nothing is left to come of it. */
  readonly over: Promise<void>
  readonly service: Service | undefined
  answered = false
  readonly #network: MemoryNetwork
  readonly #request: ExchangeRequest
  readonly #ready = deferred<void>()
  readonly #response = deferred<StreamResponse>()
  readonly #upload = new BytePipe()
  readonly #download = new BytePipe()
  readonly #gone = new AbortController()
  #stall: Timer | undefined
  readonly #over = deferred<void>()
  #done = false
  #mayWrite = false
  #writing = 0
  #reading = 0
  #unsent: number
  #unread: number
  #failure: Error | undefined

  constructor(network: MemoryNetwork, from: string, request: ExchangeRequest) {
    this.#network = network
    this.from = from
    this.#request = request
    this.#unsent = request.contentLength
    this.#unread = request.contentLength
    this.ready = observed(this.#ready.promise)
    this.response = observed(this.#response.promise)
    this.over = this.#over.promise
    const service = network.services.get(originOf(request.url))
    this.service = service
    this.to = service?.node ?? ''
    network.exchanges.add(this)
    if (request.signal?.aborted) {
      this.destroy(request.signal.reason as Error)
      return
    }
    request.signal?.addEventListener('abort', this.#onAbort, { once: true })
    this.#expectProgress()
    this.#deliver(this.from, this.to, () => this.#arrive())
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
    } catch (error) {
      throw this.#failure ?? error
    } finally {
      this.#writing -= 1
      this.#expectProgress()
    }
  }

  destroy(reason: Error): void {
    if (this.#done) return
    this.#failure = reason
    this.#finish()
    this.#ready.reject(reason)
    this.#response.reject(reason)
    // The reason stays on this side: over there, a connection has closed.
    const closed = new CairnError('CONNECTION_FAILED', 'The client has closed the connection.')
    this.#upload.fail(closed)
    this.#download.fail(closed)
    this.#gone.abort(closed)
  }

  /** The request reaches the other node, if that still is who it was. */
  #arrive(): void {
    if (this.#failure) return
    const { service } = this
    if (service && this.#network.services.get(service.url) === service) void this.#serve(service)
    else this.destroy(connectionFailed(`nobody listens at ${this.#request.url}`))
  }

  readonly #onAbort = (): void => this.destroy(this.#request.signal?.reason as Error)

  #finish(): void {
    this.#request.signal?.removeEventListener('abort', this.#onAbort)
    this.#stall?.cancel()
    this.#network.exchanges.delete(this)
    this.#done = true
    this.#over.resolve()
  }

  /** A lost message leaves its sender waiting until the stall timer ends it, as on a real network. */
  #deliver(from: string, to: string, arrive: () => void, response?: OutgoingResponse): void {
    const fate = this.#network.fate(from, to)
    if (fate.kind === 'delivered') this.#network.clock.setTimer(fate.delayMs, arrive)
    else if (isStreamingBody(response?.body)) void response.body.discard()
  }

  #expectProgress(): void {
    this.#stall?.cancel()
    if (this.#done) return
    const theirTurn = this.answered ? this.#reading > 0 : !this.#mayWrite || this.#writing > 0 || this.#unsent === 0
    if (!theirTurn) return
    const ms = this.#request.stallTimeoutMs
    this.#stall = this.#network.clock.setTimer(ms, () =>
      this.destroy(new CairnError('TIMEOUT', `${this.#request.url} made no progress for ${ms} ms.`)),
    )
  }

  async #serve(service: Service): Promise<void> {
    if (!this.#request.expectContinue || this.#request.contentLength === 0) this.#allowWrites()
    if (this.#request.contentLength === 0) this.#upload.end()
    const response = await service.handler(this.#incoming()).catch(errorResponse)
    this.#deliver(this.to, this.from, () => void this.#answer(response), response)
  }

  #allowWrites(): void {
    this.#mayWrite = true
    this.#ready.resolve()
    this.#expectProgress()
  }

  #incoming(): IncomingRequest {
    const url = new URL(this.#request.url)
    const body: ByteReader = {
      readInto: async (target, onProgress) => {
        this.#allowWrites()
        const count = await this.#upload.readInto(target.subarray(0, Math.min(target.length, this.#unread)), onProgress)
        this.#unread -= count
        this.#expectProgress()
        return count
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
        if (status === 100) this.#allowWrites()
        else this.#expectProgress()
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
    this.#allowWrites()
    this.#upload.discard()
    const reader = this.#reader(contentLength)
    this.#response.resolve({ status: response.status, headers: lowerCase(response.headers), contentLength, body: reader })
    try {
      if (contentLength > 0 && isStreamingBody(body)) await produceExactly(body, this.#watched(this.#download))
      else if (contentLength > 0 && body) await this.#download.write(body as Uint8Array)
      this.#download.end()
    } catch (error) {
      this.destroy(connectionFailed(`the answer broke off (${toCairnError(error).message})`))
    }
  }

  /** The answer's body, over once its last byte is read. */
  #reader(contentLength: number): ByteReader {
    let left = contentLength
    if (left === 0) this.#finish()
    return {
      readInto: async (target, onProgress) => {
        const wanted = Math.min(target.length, left)
        if (wanted === 0) return 0
        if (this.#failure) throw this.#failure
        this.#reading += 1
        this.#expectProgress()
        try {
          const count = await this.#download.readInto(target.subarray(0, wanted), onProgress)
          left -= count
          if (left === 0) this.#finish()
          return count
        } catch (error) {
          throw this.#failure ?? error
        } finally {
          this.#reading -= 1
          this.#expectProgress()
        }
      },
    }
  }

  /** Counts what is written as progress. */
  #watched(sink: ByteSink): ByteSink {
    return {
      write: (bytes) => {
        this.#expectProgress()
        return sink.write(bytes)
      },
    }
  }
}

const originOf = (url: string): string => {
  const slash = url.indexOf('/', url.indexOf('//') + 2)
  return slash < 0 ? url : url.slice(0, slash)
}

const lowerCase = (headers: Readonly<Record<string, string>> = {}): Record<string, string> =>
  Object.fromEntries(Object.entries(headers).map(([name, value]) => [name.toLowerCase(), value]))
