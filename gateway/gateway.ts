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

/** Transfers at once; more wait. Each holds at least one block of the client's budget. */
const UPLOADS_AT_ONCE = 32
const DOWNLOADS_AT_ONCE = 20
const LINGER_MS = 1_000

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
    app.all(content, (request, response) => {
      response.set('allow', 'PUT, GET, HEAD, DELETE, POST')
      throw new CairnError('METHOD_NOT_ALLOWED', `Contents do not take ${request.method}.`)
    })
  }

  /** Gives the request its id, and counts and logs it when it is over. */
  #observe(request: Request, response: Response): void {
    const requestId = asRequestId(request.headers[REQUEST_ID_HEADER]) ?? newId<RequestId>(this.random)
    request.headers[REQUEST_ID_HEADER] = requestId
    response.set(REQUEST_ID_HEADER, requestId)
    const startedMs = this.clock.monotonic()
    response.once('close', () => {
      const seconds = (this.clock.monotonic() - startedMs) / 1000
      this.#requests.inc({ method: request.method, status: String(response.statusCode) })
      this.#seconds.observe({ method: request.method }, seconds)
      this.log.info(
        {
          requestId,
          method: request.method,
          path: request.path,
          status: response.statusCode,
          seconds,
          whole: response.writableFinished,
        },
        'request served',
      )
    })
  }

  /**
   * The rest of a body that nobody wants is read for a moment, because closing at once could destroy the answer on its
   * way (RFC 9112, 9.6); then the connection ends.
   */
  #drain(request: Request, response: Response): void {
    response.set('connection', 'close')
    request.on('error', () => undefined)
    request.resume()
    this.clock.setTimer(LINGER_MS, () => request.destroy())
  }

  readonly #answerError: ErrorRequestHandler = (error: unknown, request, response, _next) => {
    const known = asCairnError(error)
    known.requestId ??= asRequestId(request.headers[REQUEST_ID_HEADER])
    if (!isCairnError(error) || known.code === 'INTERNAL') this.log.error({ requestId: known.requestId, error }, 'request failed')
    if (response.headersSent) {
      // Too late for an answer: a broken connection at least tells the reader that something is missing.
      response.destroy()
      return
    }
    for (const name of ['content-length', 'content-range', 'etag', 'last-modified', 'content-type']) response.removeHeader(name)
    if (known.code === 'INVALID_RANGE') response.set('content-range', `bytes */${Number(known.data?.['sizeBytes'] ?? 0)}`)
    if (!request.complete) this.#drain(request, response)
    if (known.code === 'UNAUTHENTICATED') response.set('www-authenticate', 'Bearer')
    response.status(known.info.httpStatus).json({ error: known })
  }
}

function asCairnError(error: unknown): CairnError {
  if (error instanceof URIError)
    return new CairnError('INVALID_PATH', 'The address has a malformed percent escape.', { cause: error })
  return isCairnError(error) ? error : toCairnError(error)
}
