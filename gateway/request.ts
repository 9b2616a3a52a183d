/** Reading HTTP requests for file contents: path, range, conditions, options. */
import type { Request } from 'express'
import { CairnError } from '../common/errors/cairn-error.js'
import { parseFilePath, type FilePath } from '../common/path-name.js'
import { entityTag, preconditionFromHeaders, type Precondition } from '../common/protocol/precondition.js'
import { bearerToken } from '../common/rpc/routes.js'
import { asRequestId } from '../common/ids.js'
import { REQUEST_ID_HEADER } from '../common/protocol/chunk-data.js'
import type { Headers } from '../common/rpc/transport.js'
import type { ByteRange, FileInfo } from '../client/index.js'
import { parseSize } from '../common/units.js'

export const headersOf = (request: Request): Headers => request.headers as Headers

/** The path that `/v1/files/{bucket}/{key}/content` is about. @throws `INVALID_PATH` */
export function pathOf(request: Request): FilePath {
  const { bucket, key } = request.params as { bucket?: string; key?: string | string[] }
  return parseFilePath(`/${bucket ?? ''}/${[key ?? ''].flat().join('/')}`)
}

/** For whom the request acts, and the id that its traces carry. */
export function viewOf(request: Request): { token: string | undefined; requestId: string | undefined } {
  return { token: bearerToken(headersOf(request)), requestId: asRequestId(request.headers[REQUEST_ID_HEADER]) }
}

export const preconditionOf = (request: Request): Precondition => preconditionFromHeaders(headersOf(request))

/**
 * The one range of a Range header; undefined for none, and for what RFC 9110 lets a server ignore: other units, several
 * ranges, syntax errors, and If-Range with another entity tag.
 * @throws `INVALID_RANGE` when it lies outside the file
 */
export function rangeOf(request: Request, file: FileInfo): ByteRange | undefined {
  const header = request.headers.range
  const ifRange = request.headers['if-range']
  if (header === undefined || (ifRange !== undefined && ifRange !== entityTag(file))) return undefined
  const match = /^bytes=(\d*)-(\d*)$/.exec(header.trim())
  if (!match) return undefined
  const [, from = '', to = ''] = match
  if (from === '' && to === '') return undefined
  const start = from === '' ? Math.max(0, file.sizeBytes - Number(to)) : Number(from)
  const end = from === '' || to === '' ? file.sizeBytes : Math.min(file.sizeBytes, Number(to) + 1)
  if (from !== '' && to !== '' && Number(to) < start) return undefined
  if (start >= file.sizeBytes || end <= start) {
    throw new CairnError('INVALID_RANGE', `${file.path} has ${file.sizeBytes} bytes; ${header} is no part of it.`, {
      data: { sizeBytes: file.sizeBytes },
    })
  }
  return { start, end }
}

/** Whether the reader has this version already. */
export function isNotModified(request: Request, file: FileInfo): boolean {
  const known = request.headers['if-none-match']
  if (known === undefined) {
    const since = Date.parse(request.headers['if-modified-since'] ?? '')
    return Number.isFinite(since) && Math.floor(file.modifiedMs / 1000) * 1000 <= since
  }
  const tags = known.split(',').map((tag) => tag.trim().replace(/^W\//, ''))
  return tags.includes('*') || tags.includes(entityTag(file))
}

/** If-Match on a read. @throws `PRECONDITION_FAILED` */
export function checkIfMatch(request: Request, file: FileInfo): void {
  const wanted = request.headers['if-match']
  if (wanted === undefined || wanted.trim() === '*') return
  const tags = wanted.split(',').map((tag) => tag.trim())
  if (tags.includes(entityTag(file)) || tags.includes(`"${file.generation}"`)) return
  throw new CairnError(
    'PRECONDITION_FAILED',
    `${file.path} is ${entityTag(file)}, not what If-Match names. Read it again and decide anew.`,
  )
}

/** `?replicas=2&chunk-size=16MiB` @throws `USAGE`, `INVALID_ARGUMENT` */
export function uploadOptionsOf(request: Request): { replicas?: number; chunkSizeBytes?: number } {
  const { replicas, 'chunk-size': chunkSize } = request.query as Record<string, unknown>
  if (replicas !== undefined && !(typeof replicas === 'string' && /^\d{1,2}$/.test(replicas)))
    throw new CairnError('INVALID_ARGUMENT', 'replicas must be a whole number.')
  return {
    ...(replicas === undefined ? {} : { replicas: Number(replicas) }),
    ...(typeof chunkSize === 'string' ? { chunkSizeBytes: parseSize(chunkSize) } : {}),
  }
}

/** The announced length; undefined when the body is chunked. */
export function contentLengthOf(request: Request): number | undefined {
  const text = request.headers['content-length']
  return text === undefined ? undefined : Number(text)
}
