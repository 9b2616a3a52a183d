/**
 * The server half of the bulk path: HTTP/1.1 on {@link SocketStream}, one request at a time per connection.
 * It carries chunk bodies and the few small requests beside them; the REST API runs on Express, not here.
 */
import net from 'node:net'
import { CairnError, messageOf, systemCode } from '../../errors/cairn-error.js'
import { KiB, MiB } from '../../units.js'
import {
  isStreamingBody,
  type ByteReader,
  type IncomingRequest,
  type ListenOptions,
  type Listener,
  type OutgoingResponse,
  type RequestHandler,
} from '../transport.js'
import { errorResponse } from '../error-response.js'
import { produceExactly } from '../streaming-body.js'
import { formatResponseHead, isBodiless, parseRequestHead, type RequestHead } from './head.js'
import { listenLocally } from './local-socket.js'
import { asConnectionError, SocketStream } from './socket-stream.js'

/** A connection on which no head arrives for so long is closed. Longer than clients keep idle ones. */
const IDLE_TIMEOUT_MS = 75_000
/** A body or an answer that does not move for so long belongs to a dead peer. */
const STALL_TIMEOUT_MS = 60_000
/** After an early answer we read on for a while: closing at once could destroy the answer in flight (RFC 9112, 9.6). */
const LINGER_MS = 1_000
const LINGER_BYTES_MAX = 8 * MiB

const ACCEPTING = { pauseOnConnect: true, allowHalfOpen: true }

export async function listenHttp(options: ListenOptions, handler: RequestHandler): Promise<Listener> {
  const connections = new Set<Connection>()
  const accept = (socket: net.Socket): void => {
    const connection = new Connection(SocketStream.accept(socket), handler)
    connections.add(connection)
    void connection.serve().finally(() => connections.delete(connection))
  }
  const server = net.createServer(ACCEPTING, accept)
  const localServer = net.createServer(ACCEPTING, accept)
  await bind(server, options)
  const { port } = server.address() as net.AddressInfo
  await listenLocally(localServer, options.host, port)
  const host = options.host.includes(':') ? `[${options.host}]` : options.host
  const close = async (graceMs = 0): Promise<void> => {
    const closed = Promise.all([server, localServer].map((one) => new Promise<void>((resolve) => one.close(() => resolve()))))
    for (const connection of connections) connection.shutDown()
    const timer = setTimeout(() => connections.forEach((connection) => connection.cut()), graceMs)
    await closed
    clearTimeout(timer)
  }
  return { url: `http://${host}:${port}`, close, [Symbol.asyncDispose]: () => close() }
}

/** Binds a server. @throws `PORT_IN_USE`, `LOCAL_IO_ERROR` */
export function bind(server: net.Server, options: ListenOptions): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once('error', (error) => {
      const taken = systemCode(error) === 'EADDRINUSE'
      const where = `${options.host}:${options.port}`
      reject(
        new CairnError(
          taken ? 'PORT_IN_USE' : 'LOCAL_IO_ERROR',
          taken
            ? `Another program listens on ${where}. Choose another --port, or 0 for any.`
            : `Cannot listen on ${where}: ${messageOf(error)}.`,
          { cause: error },
        ),
      )
    })
    server.listen(options.port, options.host, () => resolve())
  })
}

class Connection {
  readonly #stream: SocketStream
  readonly #handler: RequestHandler
  #busy = false
  #stopping = false

  constructor(stream: SocketStream, handler: RequestHandler) {
    this.#stream = stream
    this.#handler = handler
  }

  /** Ends an idle connection now, a busy one after the request under way. */
  shutDown(): void {
    this.#stopping = true
    if (!this.#busy) this.cut()
  }

  cut(): void {
    this.#stream.destroy(new CairnError('SHUTTING_DOWN', 'The server is stopping.'))
  }

  async serve(): Promise<void> {
    const watch = watchStalls(this.#stream, () => (this.#busy ? STALL_TIMEOUT_MS : IDLE_TIMEOUT_MS))
    try {
      while (await this.#serveOne());
      this.#stream.end()
    } catch (error) {
      this.#stream.destroy(asConnectionError(error))
    } finally {
      clearInterval(watch)
    }
  }

  /** Serves one request. @returns whether the connection can carry another. */
  async #serveOne(): Promise<boolean> {
    const headBytes = await this.#stream.readHead()
    if (!headBytes) return false
    this.#busy = true
    let head: RequestHead
    try {
      head = parseRequestHead(headBytes)
    } catch (error) {
      await this.#send(errorResponse(error), false, 'GET')
      return this.#linger()
    }
    const body = new BodyReader(this.#stream, head, () => this.#interim(100))
    const abort = new AbortController()
    const gone = (): void => abort.abort(new CairnError('CONNECTION_FAILED', 'The client has closed the connection.'))
    const offClose = this.#stream.onClose(gone)
    // A client that ends its direction before it has the answer has given up, or so rarely not that nobody misses it.
    this.#stream.socket.once('end', gone)
    if (body.remaining === 0 || body.goAheadPending) this.#stream.watch()
    let answering = false
    const interim = (status: 100 | 102): void => {
      if (!answering) this.#interim(status)
    }
    const response = await this.#handler(toIncoming(head, body, abort.signal, interim)).catch(errorResponse)
    answering = true
    offClose()
    this.#stream.socket.off('end', gone)
    const reusable = head.keepAlive && !this.#stopping && body.remaining <= 64 * KiB && !body.goAheadPending
    await this.#send(response, reusable, head.method)
    this.#busy = false
    if (!reusable || this.#stopping) return this.#linger()
    await body.discard()
    return true
  }

  #interim(status: 100 | 102): void {
    if (!this.#stream.destroyed) this.#stream.socket.write(formatResponseHead(status, {}))
  }

  async #send(response: OutgoingResponse, keepAlive: boolean, method: string): Promise<void> {
    const { body } = response
    const contentLength = isStreamingBody(body) ? body.contentLength : (body?.length ?? 0)
    const bodiless = method === 'HEAD' || isBodiless(response.status)
    let head: Buffer
    try {
      head = formatResponseHead(response.status, {
        ...response.headers,
        ...(bodiless && method !== 'HEAD' ? {} : { 'content-length': String(contentLength) }),
        ...(keepAlive ? {} : { connection: 'close' }),
      })
    } catch (error) {
      if (isStreamingBody(body)) await body.discard()
      throw error
    }
    if (bodiless && isStreamingBody(body)) await body.discard()
    if (bodiless || body === undefined) return this.#stream.write(head)
    if (!isStreamingBody(body)) return this.#stream.write(Buffer.concat([head, body]))
    this.#stream.socket.write(head)
    await produceExactly(body, this.#stream)
  }

  /** Ends our direction and waits for the other side to end its own, but not for ever. */
  async #linger(): Promise<false> {
    this.#stream.end()
    const timer = setTimeout(() => this.cut(), LINGER_MS)
    const scratch = new Uint8Array(64 * KiB)
    try {
      for (let read = 0; read < LINGER_BYTES_MAX;) {
        const count = await this.#stream.readInto(scratch)
        if (count < scratch.length) break
        read += count
      }
    } catch {
      // The other side has gone, which is all we waited for.
    } finally {
      clearTimeout(timer)
      this.cut()
    }
    return false
  }
}

/** Destroys the stream when nothing moves for the time that `limitMs` says. */
function watchStalls(stream: SocketStream, limitMs: () => number): NodeJS.Timeout {
  let seen = -1
  let since = performance.now()
  return setInterval(() => {
    if (stream.progress !== seen) {
      seen = stream.progress
      since = performance.now()
    } else if (performance.now() - since > limitMs()) {
      stream.destroy(new CairnError('TIMEOUT', 'The connection stood still for too long.'))
    }
  }, 5_000).unref()
}

class BodyReader implements ByteReader {
  readonly #stream: SocketStream
  readonly #goAhead: () => void
  remaining: number
  goAheadPending: boolean

  constructor(stream: SocketStream, head: RequestHead, goAhead: () => void) {
    this.#stream = stream
    this.remaining = head.contentLength
    this.goAheadPending = head.contentLength > 0 && /100-continue/i.test(head.headers['expect'] ?? '')
    this.#goAhead = goAhead
  }

  async readInto(target: Uint8Array, onProgress?: (filledBytes: number) => void): Promise<number> {
    if (this.goAheadPending) this.#goAhead()
    this.goAheadPending = false
    const wanted = Math.min(target.length, this.remaining)
    if (wanted === 0) return 0
    const count = await this.#stream.readInto(wanted === target.length ? target : target.subarray(0, wanted), onProgress)
    this.remaining -= count
    if (this.remaining === 0) this.#stream.watch()
    if (count < wanted) throw new CairnError('CONNECTION_FAILED', 'The connection ended within the request body.')
    return count
  }

  async discard(): Promise<void> {
    const scratch = new Uint8Array(Math.min(this.remaining, 64 * KiB))
    while (this.remaining > 0) await this.readInto(scratch)
  }
}

function toIncoming(
  head: RequestHead,
  body: BodyReader,
  signal: AbortSignal,
  interim: (status: 100 | 102) => void,
): IncomingRequest {
  const question = head.target.indexOf('?')
  return {
    method: head.method,
    path: question < 0 ? head.target : head.target.slice(0, question),
    query: new URLSearchParams(question < 0 ? '' : head.target.slice(question + 1)),
    headers: head.headers,
    contentLength: head.contentLength,
    body,
    signal,
    interim: (status) => {
      // Whoever did not ask for a go-ahead may take one for the answer.
      if (status === 100 && !body.goAheadPending) return
      if (status === 100) body.goAheadPending = false
      interim(status)
    },
  }
}
