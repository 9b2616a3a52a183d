/** From a request to what the store is told about it. */
import { checksumToHex, xxh64 } from '../../common/checksum/xxh64.js'
import { REQUEST_ID_HEADER } from '../../common/protocol/chunk-data.js'
import { NO_PRECONDITION, type Precondition } from '../../common/protocol/precondition.js'
import type { RequestContext } from '../../common/rpc/routes.js'
import { parseFilePath, type FilePath } from '../../common/path-name.js'
import type { RequestKey } from '../store/operations/context.js'

/**
 * What makes a repeated request recognisable. Only a request that brought an id of its own can be repeated, so the
 * others leave no trace in the database.
 */
export function requestKey(context: RequestContext, input: unknown): { request?: RequestKey } {
  if (context.headers[REQUEST_ID_HEADER] === undefined) return {}
  const digest = checksumToHex(xxh64(new TextEncoder().encode(JSON.stringify([input, context.precondition]))))
  return { request: { id: context.requestId, digest } }
}

/** @throws `INVALID_PATH` */
export const pathOf = (params: { readonly bucket: string; readonly key: string }): FilePath =>
  parseFilePath(`/${params.bucket}/${params.key}`)

/** The condition in the body, or else in the headers. */
export const conditionOf = (body: { readonly precondition?: Precondition | undefined }, context: RequestContext): Precondition =>
  body.precondition ?? context.precondition ?? NO_PRECONDITION
