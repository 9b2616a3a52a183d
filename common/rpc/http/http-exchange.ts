/** The client half of the bulk path: one streaming request over a pooled connection. */
import { assert } from '../../assert.js'
import { CairnError } from '../../errors/cairn-error.js'
import { deferred, observed, type Deferred } from '../../flow/deferred.js'
import type { ByteReader, Exchange, ExchangeRequest, Headers, StreamResponse } from '../transport.js'
import type { ConnectionPool } from './connection-pool.js'
import { formatRequestHead, parseResponseHead, type ResponseHead } from './head.js'
import { asConnectionError, type SocketStream } from './socket-stream.js'

export class HttpExchange implements Exchange {
  readonly ready: Promise<void>
  readonly response: Promise<StreamResponse>
  answered = false

  readonly #request: ExchangeRequest
  readonly #pool: ConnectionPool
  readonly #ready = deferred<void>()
  readonly #response = deferred<StreamResponse>()
  readonly #answeredEarly = deferred<void>()
  readonly #cleanups: (() => void)[] = []
  #stream: SocketStream | undefined
  #unsentBytes: number
  #writesPending = 0
  #readPending = false
  #failure: Error | undefined
  #done = false
  /** The body may be sent: from here on, standing still before its end is our own doing. */
  #mayWrite = false
  #connected = newConnection()

  constructor(pool: ConnectionPool, request: ExchangeRequest) {
    this.#pool = pool
    this.#request = request
    this.#unsentBytes = request.contentLength
    this.ready = observed(this.#ready.promise)
    this.response = observed(this.#response.promise)
    this.#watch()
    this.#start().catch((error: unknown) => this.destroy(asConnectionError(error)))
  }

  async write(bytes: Uint8Array): Promise<void> {
    await this.#ready.promise
    if (this.answered) return
    const stream = await this.#connected.promise
    if (this.#failure) throw this.#failure
    assert(bytes.length <= this.#unsentBytes, 'a body is as long as was said')
    this.#writesPending += 1
    try {
      await Promise.race([stream.write(bytes), this.#answeredEarly.promise])
      this.#unsentBytes -= bytes.length
    } catch (error) {
      // The answer may already lie in the socket: it says more than "connection reset".
      await this.response.catch(() => undefined)
      if (!this.answered) throw this.#failure ?? error
    } finally {
      this.#writesPending -= 1
    }
  }

  destroy(reason: Error): void {
    if (this.#done || this.#failure) return
    this.#failure = reason
    this.#ready.reject(reason)
    this.#response.reject(reason)
    this.#connected.reject(reason)
    this.#stream?.destroy(reason)
    this.#cleanUp()
  }

  async #start(): Promise<void> {
    const { origin, target } = splitUrl(this.#request.url)
    for (;;) {
      const { stream, reused } = await this.#pool.take(origin, this.#request.signal)
      if (this.#failure) return void this.#pool.giveBack(origin, stream)
      this.#stream = stream
      this.#connected.resolve(stream)
      try {
        await this.#run(stream, origin, target)
        return
      } catch (error) {
        // An idle connection may have been closed by the other side just now; nothing was sent in vain, so try another.
        const untouched =
          reused && !this.answered && this.#unsentBytes === this.#request.contentLength && this.#writesPending === 0
        if (!untouched || this.#failure) throw error
        this.#pool.dropIdle(origin)
        this.#stream = undefined
        this.#connected = newConnection()
      }
    }
  }

  async #run(stream: SocketStream, origin: string, target: string): Promise<void> {
    const { method, headers, contentLength, expectContinue } = this.#request
    const all: Headers = {
      host: origin.slice(origin.indexOf('//') + 2),
      ...headers,
      ...(contentLength > 0 || method === 'PUT' || method === 'POST' ? { 'content-length': String(contentLength) } : {}),
      ...(expectContinue && contentLength > 0 ? { expect: '100-continue' } : {}),
    }
    await stream.write(formatRequestHead(method, target, all))
    const waitsForGoAhead = expectContinue === true && contentLength > 0
    if (!waitsForGoAhead && contentLength > 0) this.#allowWrites()
    const head = await this.#readFinalHead(stream)
    this.answered = true
    this.#allowWrites()
    this.#answeredEarly.resolve()
    this.#deliver(stream, origin, head)
  }

  async #readFinalHead(stream: SocketStream): Promise<ResponseHead> {
    for (;;) {
      const bytes = await stream.readHead()
      if (!bytes) throw new CairnError('CONNECTION_FAILED', `${this.#request.url} closed the connection without an answer.`)
      const head = parseResponseHead(bytes)
      if (head.status >= 200) return head
      if (head.status === 100) this.#allowWrites()
    }
  }

  #allowWrites(): void {
    this.#mayWrite = true
    this.#ready.resolve()
  }

  #deliver(stream: SocketStream, origin: string, head: ResponseHead): void {
    let remaining = this.#request.method === 'HEAD' ? 0 : head.contentLength
    const finish = (): void => {
      this.#done = true
      this.#cleanUp()
      if (head.keepAlive && this.#unsentBytes === 0) this.#pool.giveBack(origin, stream)
      else stream.destroy(new CairnError('CONNECTION_FAILED', 'The exchange is over.'))
    }
    const body: ByteReader = {
      readInto: async (target, onProgress) => {
        const wanted = Math.min(target.length, remaining)
        if (wanted === 0) return 0
        if (this.#failure) throw this.#failure
        this.#readPending = true
        try {
          const count = await stream.readInto(wanted === target.length ? target : target.subarray(0, wanted), onProgress)
          remaining -= count
          if (count < wanted) throw new CairnError('CONNECTION_FAILED', `${origin} ended the connection within its answer.`)
          if (remaining === 0) finish()
          return count
        } catch (error) {
          this.destroy(asConnectionError(error))
          throw this.#failure ?? error
        } finally {
          this.#readPending = false
        }
      },
    }
    if (remaining === 0) finish()
    this.#response.resolve({ status: head.status, headers: head.headers, contentLength: remaining, body })
  }

  /** Is it the other side's turn? Only then does standing still count against it. */
  #waitsForPeer(): boolean {
    if (!this.#stream) return true
    if (this.answered) return this.#readPending
    return !this.#mayWrite || this.#writesPending > 0 || this.#unsentBytes === 0
  }

  #watch(): void {
    const { signal, stallTimeoutMs, url } = this.#request
    if (signal) {
      const onAbort = (): void => this.destroy(signal.reason as Error)
      if (signal.aborted) return onAbort()
      signal.addEventListener('abort', onAbort, { once: true })
      this.#cleanups.push(() => signal.removeEventListener('abort', onAbort))
    }
    let seen = -1
    let since = performance.now()
    const timer = setInterval(
      () => {
        const moved = this.#stream?.progress ?? 0
        if (moved !== seen || !this.#waitsForPeer()) {
          seen = moved
          since = performance.now()
        } else if (performance.now() - since >= stallTimeoutMs) {
          this.destroy(new CairnError('TIMEOUT', `${url} made no progress for ${stallTimeoutMs} ms.`))
        }
      },
      Math.max(20, stallTimeoutMs / 8),
    )
    this.#cleanups.push(() => clearInterval(timer))
  }

  #cleanUp(): void {
    this.#cleanups.splice(0).forEach((undo) => undo())
  }
}

function newConnection(): Deferred<SocketStream> {
  const connected = deferred<SocketStream>()
  void observed(connected.promise)
  return connected
}

function splitUrl(url: string): { origin: string; target: string } {
  const slash = url.indexOf('/', url.indexOf('//') + 2)
  return slash < 0 ? { origin: url, target: '/' } : { origin: url.slice(0, slash), target: url.slice(slash) }
}
