/**
 * Serves a route table on Node's own HTTP server, without a framework between: the ordinary request, which is nearly
 * every one. What is out of the ordinary (an unknown address, a HEAD, a body that is compressed, chunked or no JSON)
 * goes to a fallback before anything of it has been read, so that it is judged in one place.
 */
import type { IncomingMessage, RequestListener, ServerResponse } from 'node:http'
import { parse as parseQuery } from 'node:querystring'
import { CairnError } from '../../errors/cairn-error.js'
import type { FoundRoute, RouteTable } from '../route-table.js'
import { JSON_BODY_BYTES_MAX, runRoute, type RouteServices } from '../routes.js'
import type { Headers } from '../transport.js'

export interface RouteServerOptions {
  readonly table: RouteTable
  readonly services: RouteServices
  readonly fallback: RequestListener
}

const JSON_TYPES: ReadonlySet<string> = new Set(['application/json', 'application/json; charset=utf-8'])
const JSON_ANSWER = 'application/json; charset=utf-8'
const BYTE_ORDER_MARK = '\uFEFF'

export function routeListener({ table, services, fallback }: RouteServerOptions): RequestListener {
  return (request, response) => {
    const url = request.url as string
    const at = url.indexOf('?')
    const found = isOrdinary(request, url) ? find(table, request.method as string, at < 0 ? url : url.slice(0, at)) : undefined
    if (!found) return void fallback(request, response)
    const serve = (body: unknown): void => {
      const query = at < 0 ? {} : parseQuery(url.slice(at + 1))
      const raw = { params: found.params, query, headers: request.headers as Headers, body }
      void runRoute(found.route, raw, services).then((answer) => sendJson(response, answer.status, answer.json, answer.headers))
    }
    if (lengthOf(request) === 0) serve(undefined)
    else readBody(request, response, serve)
  }
}

const lengthOf = (request: IncomingMessage): number => Number(request.headers['content-length'] ?? 0)

function isOrdinary(request: IncomingMessage, url: string): boolean {
  const { headers } = request
  if (!url.startsWith('/') || url.includes('#') || headers['transfer-encoding'] !== undefined) return false
  if (headers['content-encoding'] !== undefined) return false
  const length = lengthOf(request)
  const type = headers['content-type']
  if (length === 0) return type === undefined
  return length <= JSON_BODY_BYTES_MAX && type !== undefined && JSON_TYPES.has(type.toLowerCase())
}

/** Undefined when it is not exactly an address of the table; a malformed escape is none either. */
function find(table: RouteTable, method: string, path: string): FoundRoute | undefined {
  // Whether a slash at the end says anything is for the fallback to judge.
  if (path.endsWith('/')) return undefined
  try {
    return table.find(method, path)
  } catch {
    return undefined
  }
}

/** Reads the body and passes it on parsed. When the sender goes away in mid-body there is nobody to answer. */
function readBody(request: IncomingMessage, response: ServerResponse, serve: (body: unknown) => void): void {
  const pieces: Buffer[] = []
  request.on('data', (piece: Buffer) => pieces.push(piece))
  request.on('error', () => undefined)
  request.on('end', () => {
    const text = (pieces.length === 1 ? (pieces[0] as Buffer) : Buffer.concat(pieces)).toString()
    let body: unknown
    try {
      body = JSON.parse(text.startsWith(BYTE_ORDER_MARK) ? text.slice(1) : text)
    } catch (error) {
      return sendError(response, notJson(error))
    }
    serve(body)
  })
}

export const notJson = (cause: unknown): CairnError =>
  new CairnError('INVALID_ARGUMENT', 'The body is not valid JSON.', { cause })

export const sendError = (response: ServerResponse, error: CairnError): void =>
  sendJson(response, error.info.httpStatus, { error }, {})

/** @param json undefined: an empty body */
function sendJson(response: ServerResponse, status: number, json: unknown, headers: Readonly<Record<string, string>>): void {
  if (json === undefined) {
    response.writeHead(status, headers).end()
    return
  }
  const text = JSON.stringify(json)
  response.writeHead(status, { ...headers, 'content-type': JSON_ANSWER, 'content-length': Buffer.byteLength(text) }).end(text)
}
