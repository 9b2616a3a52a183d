/**
 * The master's REST API on Express: the route table, the health checks, the metrics, the OpenAPI document. Ordinary
 * requests do not come this way (listener.ts); it answers the others, and in the same shape.
 */
import express, { type ErrorRequestHandler, type Express, type Request, type Response } from 'express'
import { CairnError, isCairnError, toCairnError } from '../../common/errors/cairn-error.js'
import { notJson } from '../../common/rpc/http/route-server.js'
import { JSON_BODY_BYTES_MAX, runRoute, type RawRequest, type Route } from '../../common/rpc/routes.js'
import type { Headers } from '../../common/rpc/transport.js'
import { VERSION } from '../../common/version.js'
import type { Master } from '../master.js'
import { CHECKS } from './checks.js'

export function masterApp(master: Master, routes: readonly Route[]): Express {
  const app = express()
  app.disable('x-powered-by')
  app.disable('etag')
  app.set('query parser', 'simple')
  mountChecks(app, master)
  app.use(express.json({ limit: JSON_BODY_BYTES_MAX, strict: false }))
  mountRoutes(app, routes, master)
  app.use((request) => {
    throw new CairnError(
      'ROUTE_NOT_FOUND',
      `${request.method} ${request.path} is no address of this server. GET /v1/openapi.json lists them; file contents are at the gateway.`,
    )
  })
  app.use(answerError)
  return app
}

function mountChecks(app: Express, master: Master): void {
  for (const [path, check] of Object.entries(CHECKS))
    app.get(path, async (_request, response) => {
      const { contentType, text } = await check(master)
      response.set('content-type', contentType).send(text)
    })
  // Asked for seldom, and made with a library that a start need not wait for.
  let document: Promise<object> | undefined
  const makeDocument = async (): Promise<object> => (await import('./openapi.js')).openApiDocument(VERSION)
  app.get('/v1/openapi.json', async (_request, response) => void response.json(await (document ??= makeDocument())))
}

function mountRoutes(app: Express, routes: readonly Route[], master: Master): void {
  const services = master.routeServices()
  const methods = new Map<string, string[]>()
  for (const route of routes) {
    const { method, path } = route.endpoint
    methods.set(path, [...(methods.get(path) ?? []), method])
    const serve = async (request: Request, response: Response): Promise<void> => {
      const answer = await runRoute(route, rawRequest(request), services)
      response.status(answer.status).set(answer.headers)
      if (answer.json === undefined) response.end()
      else response.json(answer.json)
    }
    app[method.toLowerCase() as 'get'](path, serve)
  }
  for (const [path, allowed] of methods) {
    app.all(path, (request, response) => {
      response.set('allow', allowed.join(', '))
      throw new CairnError('METHOD_NOT_ALLOWED', `${request.path} does not take ${request.method}, only ${allowed.join(', ')}.`)
    })
  }
}

function rawRequest(request: Request): RawRequest {
  const params: Record<string, string> = {}
  for (const [name, value] of Object.entries(request.params)) params[name] = Array.isArray(value) ? value.join('/') : value
  return { params, query: request.query, headers: request.headers as Headers, body: request.body as unknown }
}

/** Errors of Express and its parsers too get the one JSON shape. */
const answerError: ErrorRequestHandler = (error: unknown, _request, response, next) => {
  if (response.headersSent) return next(error)
  const known = asCairnError(error)
  response.status(known.info.httpStatus).json({ error: known })
}

function asCairnError(error: unknown): CairnError {
  if (isCairnError(error)) return error
  const { type, status } = error as { type?: unknown; status?: unknown }
  if (type === 'entity.parse.failed') return notJson(error)
  if (type === 'entity.too.large')
    return new CairnError(
      'PAYLOAD_TOO_LARGE',
      `The body has over ${JSON_BODY_BYTES_MAX} bytes. File contents go to the gateway.`,
      { cause: error },
    )
  if (error instanceof URIError)
    return new CairnError('INVALID_PATH', 'The address has a malformed percent escape.', { cause: error })
  if (typeof status === 'number' && status >= 400 && status < 500)
    return new CairnError('INVALID_ARGUMENT', toCairnError(error).message, { cause: error })
  return toCairnError(error)
}
