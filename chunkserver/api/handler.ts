/** The chunkserver's addresses: chunk bodies, where a chunk lies, health checks, metrics. */
import { CairnError, isCairnError, toCairnError } from '../../common/errors/cairn-error.js'
import { isHexId, type ChunkId } from '../../common/ids.js'
import { CAPABILITY_HEADER, REQUEST_ID_HEADER, type VerifyAnswer } from '../../common/protocol/chunk-data.js'
import { CHUNKS_PATH, READ_CHUNKS_PATH } from '../../common/protocol/small-chunks.js'
import type { IncomingRequest, OutgoingResponse, RequestHandler } from '../../common/rpc/transport.js'
import { errorResponse } from '../../common/rpc/error-response.js'
import type { ChunkserverMetrics } from '../metrics.js'
import type { ChunkserverContext } from '../server-context.js'
import { checkReadCapability, getChunk } from '../data/get-chunk.js'
import { putChunk } from '../data/put-chunk.js'
import { putTogether } from '../data/put-together.js'
import { readTogether } from '../data/read-together.js'

export interface HandlerServices {
  readonly context: ChunkserverContext
  readonly metrics: ChunkserverMetrics
  readonly ready: () => boolean
  /** Checks a copy from the disk; the master hears of a bad one at once. */
  readonly verify: (chunkId: ChunkId, signal: AbortSignal) => Promise<VerifyAnswer['outcome']>
}

const text = (status: number, body: string, contentType = 'text/plain; charset=utf-8'): OutgoingResponse => ({
  status,
  headers: { 'content-type': contentType },
  body: new TextEncoder().encode(body),
})

export function chunkserverHandler(services: HandlerServices): RequestHandler {
  return async (request) => {
    const { operation, serve } = route(services, request)
    const startedMs = services.context.clock.monotonic()
    const requestId = request.headers[REQUEST_ID_HEADER]
    let response: OutgoingResponse
    try {
      response = await serve()
    } catch (error) {
      response = failure(services, error, operation, requestId)
    }
    services.metrics.onServed(operation, response.status, (services.context.clock.monotonic() - startedMs) / 1000)
    const level = operation.startsWith('put') ? 'info' : 'debug'
    services.context.log[level]({ requestId, operation, status: response.status }, 'request served')
    return requestId === undefined ? response : { ...response, headers: { ...response.headers, [REQUEST_ID_HEADER]: requestId } }
  }
}

function failure(services: HandlerServices, error: unknown, operation: string, requestId: string | undefined): OutgoingResponse {
  const known = toCairnError(error)
  if (requestId !== undefined) known.requestId ??= requestId
  const unexpected = !isCairnError(error) || known.code === 'INTERNAL'
  services.context.log[unexpected ? 'error' : 'info'](
    { requestId, operation, code: known.code, error: unexpected ? error : undefined },
    'request failed',
  )
  return errorResponse(known)
}

function route(
  services: HandlerServices,
  request: IncomingRequest,
): { operation: string; serve: () => Promise<OutgoingResponse> } {
  const { context, metrics } = services
  const [, version, kind, id, detail, ...rest] = request.path.split('/')
  if (version === 'v1' && kind === 'chunks' && isHexId(id) && rest.length === 0) {
    const chunkId = id as ChunkId
    if (request.method === 'PUT' && detail === undefined)
      return { operation: 'put', serve: () => putChunk(context, request, chunkId) }
    if (request.method === 'GET' && detail === undefined)
      return { operation: 'get', serve: () => getChunk(context, request, chunkId) }
    if (request.method === 'POST' && detail === 'verify')
      return { operation: 'verify', serve: () => verify(services, request, chunkId) }
    if (request.method === 'GET' && detail === 'location')
      return { operation: 'locate', serve: async () => locate(context, request, chunkId) }
  }
  if (request.method === 'POST' && request.path === CHUNKS_PATH)
    return { operation: 'put-together', serve: () => putTogether(context, request) }
  if (request.method === 'POST' && request.path === READ_CHUNKS_PATH)
    return { operation: 'get-together', serve: () => readTogether(context, request) }
  if (request.method === 'GET' && request.path === '/livez') return { operation: 'check', serve: async () => text(200, 'ok\n') }
  if (request.method === 'GET' && request.path === '/readyz')
    return { operation: 'check', serve: async () => readiness(services) }
  if (request.method === 'GET' && request.path === '/metrics') {
    return {
      operation: 'check',
      serve: async () => {
        const exposed = await metrics.metrics.expose()
        return text(200, exposed.text, exposed.contentType)
      },
    }
  }
  const unknown = async (): Promise<OutgoingResponse> => {
    throw new CairnError(
      'ROUTE_NOT_FOUND',
      `${request.method} ${request.path} is no address of a chunkserver. File names are known to masters and gateways only.`,
    )
  }
  return { operation: 'unknown', serve: unknown }
}

function readiness(services: HandlerServices): OutgoingResponse {
  if (!services.ready()) throw new CairnError('STARTING', 'The chunkserver has not registered with a master yet, or is stopping.')
  return text(200, 'ok\n')
}

/** Reads the copy from the disk, leaf by leaf, and says what it is. A bad one is set aside and reported as any other. */
async function verify(services: HandlerServices, request: IncomingRequest, chunkId: ChunkId): Promise<OutgoingResponse> {
  const { context } = services
  checkReadCapability(context, request.headers[CAPABILITY_HEADER], chunkId)
  const outcome = await context.admission.withSignsOfLife(request, () => services.verify(chunkId, request.signal))
  const answer: VerifyAnswer = { outcome, lengthBytes: context.store.find(chunkId)?.lengthBytes ?? 0 }
  return text(200, JSON.stringify(answer), 'application/json')
}

function locate(context: ChunkserverContext, request: IncomingRequest, chunkId: ChunkId): OutgoingResponse {
  checkReadCapability(context, request.headers[CAPABILITY_HEADER], chunkId)
  const place = context.store.locate(chunkId)
  if (!place) throw new CairnError('CHUNK_NOT_FOUND', `This chunkserver does not hold chunk ${chunkId}.`)
  return text(200, JSON.stringify(place), 'application/json')
}
