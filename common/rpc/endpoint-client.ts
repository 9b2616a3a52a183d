/** Calls endpoints over a {@link Transport}: builds the URL, sends JSON, parses the answer, turns error answers into errors. */
import { CairnError } from '../errors/cairn-error.js'
import type { RequestId } from '../ids.js'
import { encodePath } from '../path-name.js'
import { REQUEST_ID_HEADER } from '../protocol/chunk-data.js'
import type { Endpoint } from '../protocol/endpoint.js'
import { preconditionHeaders, type Precondition } from '../protocol/precondition.js'
import type { CallResponse, Headers, Transport } from './transport.js'

export interface EndpointCall<Params, Query, Body> {
  readonly params: Params
  readonly query?: Partial<Query>
  readonly body?: Body
  readonly precondition?: Precondition
  readonly requestId: RequestId
  readonly token: string | undefined
  readonly timeoutMs: number
  readonly signal?: AbortSignal | undefined
}

/** @throws the error that the server answered, or what {@link Transport.call} throws, or `PROTOCOL_ERROR` */
export async function callEndpoint<P, Q, B, R>(
  transport: Transport,
  baseUrl: string,
  endpoint: Endpoint<P, Q, B, R>,
  call: EndpointCall<P, Q, B>,
): Promise<R> {
  const url = baseUrl + buildPath(endpoint.path, call.params as Record<string, string>) + buildQuery(call.query)
  const body = call.body === undefined ? undefined : new TextEncoder().encode(JSON.stringify(call.body))
  const headers: Headers = {
    accept: 'application/json',
    [REQUEST_ID_HEADER]: call.requestId,
    ...(call.token === undefined ? {} : { authorization: `Bearer ${call.token}` }),
    ...(body === undefined ? {} : { 'content-type': 'application/json' }),
    ...(call.precondition ? preconditionHeaders(call.precondition) : {}),
  }
  const response = await transport.call({
    method: endpoint.method,
    url,
    headers,
    timeoutMs: call.timeoutMs,
    ...(body === undefined ? {} : { body }),
    ...(call.signal ? { signal: call.signal } : {}),
  })
  const json = parseJson(response, url)
  if (response.status >= 400) throw errorOf(json, response, url)
  return resultOf(endpoint, json, url)
}

/** The result in an answer. @throws `PROTOCOL_ERROR` */
export function resultOf<R>(endpoint: Pick<Endpoint<never, never, never, R>, 'result'>, json: unknown, url: string): R {
  const result = endpoint.result.safeParse(json)
  if (!result.success) {
    const issue = result.error.issues[0]
    throw new CairnError(
      'PROTOCOL_ERROR',
      `${url} answered in a shape unknown here (${issue?.path.join('.')}: ${issue?.message}). Are both sides of one version?`,
    )
  }
  return result.data
}

function parseJson(response: CallResponse, url: string): unknown {
  const text = new TextDecoder().decode(response.body)
  if (text === '') return undefined
  try {
    return JSON.parse(text) as unknown
  } catch {
    throw new CairnError(
      'PROTOCOL_ERROR',
      `${url} answered ${response.status} with something other than JSON. Is this the address of a Cairn server?`,
    )
  }
}

/** The error in an answer of status 400 or above. */
export function errorOf(json: unknown, response: { readonly status: number }, url: string): CairnError {
  const error = typeof json === 'object' && json !== null ? (json as { error?: unknown }).error : undefined
  if (error === undefined) return new CairnError('PROTOCOL_ERROR', `${url} answered ${response.status} without saying why.`)
  return CairnError.fromJSON(error)
}

export function buildPath(pattern: string, params: Readonly<Record<string, string>>): string {
  const parts = pattern.split('/').map((part) => {
    if (part.startsWith(':')) return encodeURIComponent(params[part.slice(1)] ?? '')
    if (part.startsWith('*')) return encodePath(params[part.slice(1)] ?? '')
    return part
  })
  return parts.join('/')
}

function buildQuery(query: Readonly<Record<string, unknown>> | undefined): string {
  const entries = Object.entries(query ?? {}).filter(([, value]) => value !== undefined)
  if (entries.length === 0) return ''
  return `?${entries.map(([name, value]) => `${encodeURIComponent(name)}=${encodeURIComponent(String(value))}`).join('&')}`
}
