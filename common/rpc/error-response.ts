/** How an error looks over HTTP, the same on every server. */
import { toCairnError } from '../errors/cairn-error.js'
import type { OutgoingResponse } from './transport.js'

/** Any error as the one JSON shape. */
export function errorResponse(error: unknown): OutgoingResponse {
  const known = toCairnError(error)
  return {
    status: known.info.httpStatus,
    headers: { 'content-type': 'application/json' },
    body: new TextEncoder().encode(JSON.stringify({ error: known })),
  }
}
