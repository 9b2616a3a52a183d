/**
 * Routes: endpoints with the functions that serve them. One table serves Node's HTTP server, Express and the simulated
 * network alike; {@link runRoute} is where a request is authenticated, parsed, served and answered, whichever it came by.
 */
import type { z } from 'zod'
import { CairnError, isCairnError, toCairnError } from '../errors/cairn-error.js'
import { asRequestId, newId, type RequestId } from '../ids.js'
import type { Logger } from '../observe/logger.js'
import type { Endpoint, Scope } from '../protocol/endpoint.js'
import { NO_PRECONDITION, preconditionFromHeaders, type Precondition } from '../protocol/precondition.js'
import type { Random } from '../random/random.js'
import type { Headers, IncomingRequest, OutgoingResponse, RequestHandler } from './transport.js'
import { readAll } from './byte-pipe.js'
import { RouteTable } from './route-table.js'
import { REQUEST_ID_HEADER } from '../protocol/chunk-data.js'

/** What a JSON body may weigh: a shard report of a large server is the largest. */
export const JSON_BODY_BYTES_MAX = 16 * 1024 * 1024

/** Who is asking, as the token says. */
export interface Principal {
  readonly name: string
  readonly scopes: ReadonlySet<Scope>
}

export interface RequestContext {
  readonly requestId: RequestId
  readonly principal: Principal
  readonly precondition: Precondition
  readonly headers: Headers
  /** Adds a header to the answer. */
  setHeader(name: string, value: string): void
}

export interface EndpointInput<Params, Query, Body> {
  readonly params: Params
  readonly query: Query
  readonly body: Body
}

export type EndpointHandler<E> =
  E extends Endpoint<infer P, infer Q, infer B, infer R>
    ? (input: EndpointInput<P, Q, B>, context: RequestContext) => Promise<R>
    : never

/** An endpoint and its handler, their types forgotten: the schemas guard them at run time. */
export interface Route {
  readonly endpoint: Endpoint
  readonly handler: (input: EndpointInput<never, never, never>, context: RequestContext) => Promise<unknown>
}

/** A handler for each endpoint of a table; the compiler sees to it that none is missing. */
export function bindRoutes<T extends Readonly<Record<string, unknown>>>(
  table: T,
  handlers: { [K in keyof T]: EndpointHandler<T[K]> },
): Route[] {
  return Object.keys(table).map((name) => ({
    endpoint: table[name] as Endpoint,
    handler: handlers[name] as unknown as Route['handler'],
  }))
}

export interface RouteServices {
  readonly random: Random
  readonly log: Logger
  /** @throws `UNAUTHENTICATED` */
  readonly authenticate: (token: string | undefined) => Promise<Principal>
  /** Told of each request served, for metrics. */
  readonly onServed?: (served: { readonly endpoint: string; readonly status: number; readonly seconds: number }) => void
  readonly monotonic: () => number
}

export interface RawRequest {
  readonly params: Readonly<Record<string, string>>
  readonly query: Readonly<Record<string, unknown>>
  readonly headers: Headers
  /** Already parsed JSON, or undefined. */
  readonly body: unknown
}

export interface RouteAnswer {
  readonly status: number
  readonly headers: Record<string, string>
  /** To be sent as JSON; undefined for an empty body. */
  readonly json: unknown
}

/** Serves one request. Never rejects: an error becomes its answer. */
export async function runRoute(route: Route, raw: RawRequest, services: RouteServices): Promise<RouteAnswer> {
  const startedMs = services.monotonic()
  const requestId = asRequestId(raw.headers[REQUEST_ID_HEADER]) ?? newId<RequestId>(services.random)
  const { name: endpoint, method, scope, conditional } = route.endpoint
  const headers: Record<string, string> = { [REQUEST_ID_HEADER]: requestId }
  const finish = (status: number, json: unknown): RouteAnswer => {
    const seconds = (services.monotonic() - startedMs) / 1000
    services.onServed?.({ endpoint, status, seconds })
    // Changes that users ask for leave a trace in every log; reads and the talk between servers only when asked to.
    const isChange = method !== 'GET' && scope !== 'server'
    services.log[isChange ? 'info' : 'debug']({ requestId, endpoint, status, seconds }, 'request served')
    return { status, headers, json }
  }
  try {
    const principal = await authorize(route.endpoint, raw.headers, services)
    const input = {
      params: parse(route.endpoint.params, raw.params, 'path'),
      query: parse(route.endpoint.query, raw.query, 'query'),
      body: parse(route.endpoint.body, raw.body, 'body'),
    }
    const precondition = conditional && method !== 'GET' ? preconditionFromHeaders(raw.headers) : NO_PRECONDITION
    const context: RequestContext = {
      requestId,
      principal,
      precondition,
      headers: raw.headers,
      setHeader: (name, value) => (headers[name] = value),
    }
    return finish(200, await route.handler(input as EndpointInput<never, never, never>, context))
  } catch (error) {
    const known = toCairnError(error)
    known.requestId ??= requestId
    if (!isCairnError(error) || known.code === 'INTERNAL') services.log.error({ requestId, endpoint, error }, 'request failed')
    return finish(known.info.httpStatus, known.info.httpStatus === 304 ? undefined : { error: known })
  }
}

async function authorize(endpoint: Endpoint, headers: Headers, services: RouteServices): Promise<Principal> {
  if (endpoint.scope === 'none') return { name: 'anonymous', scopes: new Set() }
  const principal = await services.authenticate(bearerToken(headers))
  if (!principal.scopes.has(endpoint.scope) && !principal.scopes.has('admin')) {
    throw new CairnError('FORBIDDEN', `The token "${principal.name}" lacks the scope "${endpoint.scope}" that this needs.`)
  }
  return principal
}

export function bearerToken(headers: Headers): string | undefined {
  return /^Bearer\s+(\S+)$/i.exec(headers['authorization'] ?? '')?.[1]
}

/** @throws `INVALID_ARGUMENT` naming the field */
export function parse<T>(schema: z.ZodType<T, unknown>, value: unknown, where: string): T {
  const result = schema.safeParse(value)
  if (result.success) return result.data
  const issue = result.error.issues[0]
  const field = [where, ...(issue?.path ?? [])].join('.')
  throw new CairnError('INVALID_ARGUMENT', `${field}: ${issue?.message ?? 'invalid'}.`)
}

/** Serves a route table straight on a {@link Transport}: for the simulated network, and wherever Express is not needed. */
export function routeHandler(routes: readonly Route[], services: RouteServices): RequestHandler {
  const table = new RouteTable(routes)
  return async (request: IncomingRequest): Promise<OutgoingResponse> => {
    const found = table.find(request.method, request.path)
    if (!found) throw new CairnError('ROUTE_NOT_FOUND', `${request.method} ${request.path} is no address of this server.`)
    const { route, params } = found
    const query = Object.fromEntries(request.query)
    return toResponse(await runRoute(route, { params, query, headers: request.headers, body: await readJson(request) }, services))
  }
}

async function readJson(request: IncomingRequest): Promise<unknown> {
  if (request.contentLength === 0) return undefined
  if (request.contentLength > JSON_BODY_BYTES_MAX)
    throw new CairnError(
      'PAYLOAD_TOO_LARGE',
      `The body has ${request.contentLength} bytes, at most ${JSON_BODY_BYTES_MAX} are taken here.`,
    )
  const text = new TextDecoder().decode(await readAll(request.body, request.contentLength))
  try {
    return JSON.parse(text) as unknown
  } catch (error) {
    throw new CairnError('INVALID_ARGUMENT', 'The body is not valid JSON.', { cause: error })
  }
}

const toResponse = (answer: RouteAnswer): OutgoingResponse => ({
  status: answer.status,
  headers: { 'content-type': 'application/json', ...answer.headers },
  ...(answer.json === undefined ? {} : { body: new TextEncoder().encode(JSON.stringify(answer.json)) }),
})
