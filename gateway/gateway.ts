/** The gateway: file contents over plain HTTP, for programs that know nothing of Cairn. Stateless; run as many as you like. */
import express, { type ErrorRequestHandler, type Express, type Request, type Response } from 'express'
import type { CairnClient } from '../client/index.js'
import type { Clock } from '../common/clock/clock.js'
import { CairnError, isCairnError, toCairnError } from '../common/errors/cairn-error.js'
import { Semaphore } from '../common/flow/semaphore.js'
import { newId, type RequestId } from '../common/ids.js'
import type { Logger } from '../common/observe/logger.js'
import { Metrics } from '../common/observe/metrics.js'
import { REQUEST_ID_HEADER } from '../common/protocol/chunk-data.js'
import type { Random } from '../common/random/random.js'
import { asRequestId } from '../common/ids.js'
import { deleteContent, getContent, putContent } from './content-routes.js'
import { postContent, postFiles } from './form-upload.js'

export interface GatewayOptions {
  readonly client: CairnClient
  readonly clock: Clock
  readonly random: Random
  readonly log: Logger
  /** Whether a master can be reached now. */
  readonly masterReady: () => Promise<boolean>
}

/** Transfers at once; more wait. Each has a block or two of the client's budget for itself, however slow the others are. */
const UPLOADS_AT_ONCE = 32
const DOWNLOADS_AT_ONCE = 32
/** How long the rest of a refused body is read away. */
const LINGER_MS = 2_000
/** The status that is counted when the other side left before the answer was out. */
const CLIENT_CLOSED_STATUS = 499

export class Gateway {
  readonly client: CairnClient
  readonly clock: Clock
  readonly random: Random
  readonly log: Logger
  readonly uploads = new Semaphore(UPLOADS_AT_ONCE)
  readonly downloads = new Semaphore(DOWNLOADS_AT_ONCE)
  readonly #metrics = new Metrics(true)
  readonly #requests
  readonly #seconds
  readonly #masterReady: () => Promise<boolean>

  constructor(options: GatewayOptions) {
    this.client = options.client
    this.clock = options.clock
    this.random = options.random
    this.log = options.log
    this.#masterReady = options.masterReady
    this.#requests = this.#metrics.counter({
      name: 'cairn_gateway_requests_total',
      help: 'Requests served',
      labelNames: ['method', 'status'],
    })
    this.#seconds = this.#metrics.histogram({
      name: 'cairn_gateway_request_seconds',
      help: 'Time until a request is fully answered',
      labelNames: ['method'],
    })
    this.#metrics.gauge(
      { name: 'cairn_gateway_transfers_waiting', help: 'Transfers waiting for their turn' },
      () => this.uploads.waiting + this.downloads.waiting,
    )
  }

  app(): Express {
    const app = express()
    app.disable('x-powered-by')
    app.disable('etag')
    app.set('query parser', 'simple')
    app.use((request, response, next) => {
      this.#observe(request, response)
      next()
    })
    app.get('/livez', (_request, response) => void response.type('text/plain').send('ok\n'))
    app.get('/readyz', async (_request, response) => {
      if (!(await this.#masterReady())) throw new CairnError('MASTER_UNREACHABLE', 'No master can be reached.')
      response.type('text/plain').send('ok\n')
    })
    app.get('/metrics', async (_request, response) => {
      const { contentType, text } = await this.#metrics.expose()
      response.set('content-type', contentType).send(text)
    })
    this.#mountFiles(app)
    app.use((request) => {
      throw new CairnError(
        'ROUTE_NOT_FOUND',
        `${request.method} ${request.path} is no address of a gateway. Contents are at /v1/files/{bucket}/{key}/content; metadata is at the master.`,
      )
    })
    app.use(this.#answerError)
    return app
  }

  #mountFiles(app: Express): void {
    const content = '/v1/files/:bucket/*key/content'
    app.put(content, (request, response) => putContent(this, request, response))
    app.get(content, (request, response) => getContent(this, request, response))
    app.delete(content, (request, response) => deleteContent(this, request, response))
    app.post(content, (request, response) => postContent(this, request, response))
    app.post('/v1/files/:bucket', (request, response) => postFiles(this, request, response))
    const refuse = (route: string, allowed: string, what: string): void => {
      app.all(route, (request, response) => {
        response.set('allow', allowed)
        throw new CairnError('METHOD_NOT_ALLOWED', `${what} do not take ${request.method} here, but ${allowed}.`)
      })
    }
    refuse(content, 'PUT, GET, HEAD, DELETE, POST', 'Contents')
    refuse('/v1/files/:bucket', 'POST', 'Buckets')
  }

  /** Gives the request its id, and counts and logs it when it is over. */
  #observe(request: Request, response: Response): void {
    const requestId = asRequestId(request.headers[REQUEST_ID_HEADER]) ?? newId<RequestId>(this.random)
    request.headers[REQUEST_ID_HEADER] = requestId
    response.set(REQUEST_ID_HEADER, requestId)
    const startedMs = this.clock.monotonic()
    response.once('close', () => {
      const seconds = (this.clock.monotonic() - startedMs) / 1000
      const whole = response.writableFinished
      const status = whole || response.headersSent ? response.statusCode : CLIENT_CLOSED_STATUS
      this.#requests.inc({ method: request.method, status: String(status) })
      this.#seconds.observe({ method: request.method }, seconds)
      this.log.info(
        {
          requestId,
          method: request.method,
          path: request.path,
          status,
          seconds,
          whole,
        },
        'request served',
      )
    })
  }

  /**
   * Answers while the body is still on its way. The answer is whole for its reader at once, but the connection ends only
   * when the body does, or a little later: closing it with bytes unread would reset it and could destroy the answer on
   * its way (RFC 9112, 9.6), and Node closes as soon as an answer ends that says `Connection: close`.
   */
  #answerEarly(request: Request, response: Response, text: string): void {
    response.set({ connection: 'close', 'content-length': String(Buffer.byteLength(text)) })
    response.write(text)
    const end = (): void => {
      timer.cancel()
      response.end()
    }
    const timer = this.clock.setTimer(LINGER_MS, end)
    response.once('close', () => timer.cancel())
    request.on('error', () => undefined)
    request.once('end', end)
    request.removeAllListeners('readable')
    request.resume()
  }

  readonly #answerError: ErrorRequestHandler = (error: unknown, request, response, _next) => {
    const known = asCairnError(error)
    // Our own id, not that of the call that failed, which begins with it: one id finds the lines of all servers.
    known.requestId = asRequestId(request.headers[REQUEST_ID_HEADER])
    if (!isCairnError(error) || known.code === 'INTERNAL') this.log.error({ requestId: known.requestId, error }, 'request failed')
    if (response.headersSent) {
      // Too late for an answer: a broken connection at least tells the reader that something is missing.
      response.destroy()
      return
    }
    for (const name of ['content-length', 'content-range', 'etag', 'last-modified', 'content-type']) response.removeHeader(name)
    if (known.code === 'INVALID_RANGE') response.set('content-range', `bytes */${Number(known.data?.['sizeBytes'] ?? 0)}`)
    if (known.code === 'UNAUTHENTICATED') response.set('www-authenticate', 'Bearer')
    response.status(known.info.httpStatus)
    const hasBody = request.headers['transfer-encoding'] !== undefined || Number(request.headers['content-length'] ?? 0) > 0
    if (request.complete || !hasBody) return void response.json({ error: known })
    response.type('json')
    this.#answerEarly(request, response, JSON.stringify({ error: known }))
  }
}

function asCairnError(error: unknown): CairnError {
  if (error instanceof URIError)
    return new CairnError('INVALID_PATH', 'The address has a malformed percent escape.', { cause: error })
  return isCairnError(error) ? error : toCairnError(error)
}
