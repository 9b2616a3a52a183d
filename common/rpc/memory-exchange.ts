/**
 * One exchange on a {@link MemoryNetwork}: a request with its body, and its answer with its own. The processes at its two
 * ends are held back while they are paused; what happens on the way is the network's business.
 */
import { sleep, type Timer } from '../clock/clock.js'
import { CairnError, toCairnError } from '../errors/cairn-error.js'
import { deferred, observed } from '../flow/deferred.js'
import { SECOND_MS } from '../units.js'
import { BytePipe } from './byte-pipe.js'
import { errorResponse } from './error-response.js'
import { connectionFailed, type MemoryNetwork, type NetworkProcess, type Service } from './memory-network.js'
import { produceExactly } from './streaming-body.js'
import {
  isStreamingBody,
  type ByteReader,
  type ByteSink,
  type Exchange,
  type ExchangeRequest,
  type IncomingRequest,
  type OutgoingResponse,
  type StreamResponse,
} from './transport.js'

/** A server that hears nothing for so long cuts the connection, as the one behind {@link HttpTransport} does. */
const SERVER_STALL_MS = 60 * SECOND_MS

export class MemoryExchange implements Exchange {
  readonly from: string
  readonly to: string
  readonly ready: Promise<void>
  readonly response: Promise<StreamResponse>
  /** Resolves when nothing is left to come of it. */
  readonly over: Promise<void>
  readonly service: Service | undefined
  answered = false
  readonly #network: MemoryNetwork
  readonly #process: NetworkProcess
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
  #severed = false
  /** The last piece on its way in each direction: none overtakes another. */
  #lastUp: Promise<void> = Promise.resolve()
  #lastDown: Promise<void> = Promise.resolve()

  constructor(network: MemoryNetwork, from: string, process: NetworkProcess, request: ExchangeRequest) {
    this.#network = network
    this.#process = process
    this.from = from
    this.#request = request
    this.#unsent = request.contentLength
    this.#unread = request.contentLength
    this.ready = observed(this.#ready.promise)
    this.response = observed(this.#response.promise)
    this.over = this.#over.promise
    const service = network.services.get(originOf(request.url))
    this.service = service
    this.to = service?.node ?? new URL(request.url).hostname
    network.exchanges.add(this)
    if (request.signal?.aborted) {
      this.destroy(request.signal.reason as Error)
      return
    }
    request.signal?.addEventListener('abort', this.#onAbort, { once: true })
    this.#expectProgress()
    void this.#send(this.#process, this.from, this.to, `${request.method} ${request.url}`, () => this.#arrive())
  }

  async write(bytes: Uint8Array): Promise<void> {
    await this.#ready.promise
    await this.#process.gate?.()
    if (this.#failure) throw this.#failure
    if (this.answered) return
    this.#writing += 1
    this.#expectProgress()
    try {
      if (this.#network.flow) await (this.#lastUp = this.#carry(this.#lastUp, this.from, this.to, bytes.length))
      this.#expectNoFailure()
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
    const tell = (): void => {
      this.#upload.fail(closed)
      this.#download.fail(closed)
      this.#gone.abort(closed)
    }
    // Over there it is heard of when the network lets it through, or when the server has heard nothing for too long.
    const isCut = this.#severed || this.#network.flow?.(this.from, this.to, 0).kind === 'stalls'
    if (isCut) this.#network.clock.setTimer(SERVER_STALL_MS, tell)
    else tell()
  }

  #expectNoFailure(): void {
    if (this.#failure) throw this.#failure
  }

  /** From now on nothing passes, and nobody is told. */
  sever(): void {
    this.#severed = true
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
  async #send(
    process: NetworkProcess,
    from: string,
    to: string,
    what: string,
    arrive: () => void,
    response?: OutgoingResponse,
  ): Promise<void> {
    const held = process.gate?.()
    if (held) await held
    const fate = this.#severed ? ({ kind: 'lost' } as const) : this.#network.fate(from, to)
    this.#network.onMessage?.(from, to, what, this.#request.contentLength, fate)
    if (fate.kind === 'delivered') {
      this.#network.clock.setTimer(fate.delayMs, arrive)
      return
    }
    if (isStreamingBody(response?.body)) void response.body.discard()
    if (fate.kind === 'reset') this.destroy(connectionFailed(`the way to ${to} broke`))
  }

  /** Lets a piece of a body travel, after those before it. */
  async #carry(before: Promise<void>, from: string, to: string, bytes: number): Promise<void> {
    await before
    while (!this.#failure) {
      const flow = this.#severed ? undefined : this.#network.flow?.(from, to, bytes)
      if (flow?.kind === 'flows') return flow.delayMs > 0 ? sleep(this.#network.clock, flow.delayMs) : undefined
      if (!flow) return this.over
      await sleep(this.#network.clock, flow.retryMs)
    }
  }

  #expectProgress(): void {
    this.#stall?.cancel()
    if (this.#done) return
    const theirTurn = this.answered ? this.#reading > 0 : !this.#mayWrite || this.#writing > 0 || this.#unsent === 0
    if (!theirTurn) return
    const ms = this.#request.stallTimeoutMs
    this.#stall = this.#process.setTimer(ms, () =>
      this.destroy(new CairnError('TIMEOUT', `${this.#request.url} made no progress for ${ms} ms.`)),
    )
  }

  async #serve(service: Service): Promise<void> {
    if (!this.#request.expectContinue || this.#request.contentLength === 0) this.#allowWrites()
    if (this.#request.contentLength === 0) this.#upload.end()
    await service.process.gate?.()
    const response = await service.handler(this.#incoming(service)).catch(errorResponse)
    const answer = (): void => void this.#answer(service, response)
    await this.#send(service.process, this.to, this.from, `answer ${response.status}`, answer, response)
  }

  #allowWrites(): void {
    this.#mayWrite = true
    this.#ready.resolve()
    this.#expectProgress()
  }

  #incoming(service: Service): IncomingRequest {
    const url = new URL(this.#request.url)
    const body: ByteReader = {
      readInto: async (target, onProgress) => {
        this.#allowWrites()
        await service.process.gate?.()
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

  async #answer(service: Service, response: OutgoingResponse): Promise<void> {
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
      if (contentLength > 0 && isStreamingBody(body)) await produceExactly(body, this.#sink(service))
      else if (contentLength > 0 && body) await this.#sink(service).write(body as Uint8Array)
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
        await this.#process.gate?.()
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

  /** Takes the answer's body. What is written counts as progress. */
  #sink(service: Service): ByteSink {
    return {
      write: async (bytes) => {
        await service.process.gate?.()
        this.#expectProgress()
        if (this.#network.flow) await (this.#lastDown = this.#carry(this.#lastDown, this.to, this.from, bytes.length))
        if (this.#failure) throw connectionFailed('the client has gone')
        await this.#download.write(bytes)
      },
    }
  }
}

export const originOf = (url: string): string => {
  const slash = url.indexOf('/', url.indexOf('//') + 2)
  return slash < 0 ? url : url.slice(0, slash)
}

const lowerCase = (headers: Readonly<Record<string, string>> = {}): Record<string, string> =>
  Object.fromEntries(Object.entries(headers).map(([name, value]) => [name.toLowerCase(), value]))
