/** What every request about several small chunks begins with. */
import { CairnError } from '../../common/errors/cairn-error.js'
import { SMALL_CHUNKS_BODY_BYTES_MAX } from '../../common/protocol/small-chunks.js'
import type { IncomingRequest } from '../../common/rpc/transport.js'

/** How long the body is. @throws `PAYLOAD_TOO_LARGE` when it is longer than is held in memory at once */
export function smallBodyBytes({ contentLength }: IncomingRequest): number {
  if (contentLength <= SMALL_CHUNKS_BODY_BYTES_MAX) return contentLength
  throw new CairnError(
    'PAYLOAD_TOO_LARGE',
    `The body has ${contentLength} bytes, at most ${SMALL_CHUNKS_BODY_BYTES_MAX} are taken here.`,
  )
}
