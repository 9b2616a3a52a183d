/** Reading HTTP requests for file contents: path, range, conditions, options. */
import type { Request } from 'express'
import { CairnError, isCairnError } from '../common/errors/cairn-error.js'
import { parseFilePath, type FilePath } from '../common/path-name.js'
import { entityTag, preconditionFromHeaders, type Precondition } from '../common/protocol/precondition.js'
import { bearerToken } from '../common/rpc/routes.js'
import { asRequestId } from '../common/ids.js'
import { REQUEST_ID_HEADER } from '../common/protocol/chunk-data.js'
import type { Headers } from '../common/rpc/transport.js'
import type { ByteRange, CairnClient, FileInfo } from '../client/index.js'
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

/**
 * On what condition a change is made. If-Match is compared here, with all that an entity tag says, and becomes the
 * generation that was found, which the master compares again when it makes the change.
 * @throws `PRECONDITION_FAILED`
 */
export async function changeConditionOf(
  request: Request,
  client: CairnClient,
  path: FilePath,
  signal: AbortSignal,
): Promise<Precondition> {
  const wanted = request.headers['if-match']
  if (wanted === undefined) return preconditionFromHeaders(headersOf(request))
  const file = await client.stat(path, signal).catch((error: unknown) => {
    if (!isCairnError(error, 'FILE_NOT_FOUND')) throw error
    throw new CairnError('PRECONDITION_FAILED', `There is no file ${path}, and If-Match asks for one.`, { cause: error })
  })
  checkReadConditions(request, file)
  return wanted.trim() === '*' ? { kind: 'exists' } : { kind: 'generation', generation: file.generation }
}

/**
 * The one range of a Range header; undefined for none, and for what RFC 9110 lets a server ignore: other methods than
 * GET, other units, several ranges, syntax errors, a file without bytes, and an If-Range that names another version.
 * @throws `INVALID_RANGE` when it lies outside the file
 */
export function rangeOf(request: Request, file: FileInfo): ByteRange | undefined {
  const header = request.headers.range
  if (header === undefined || request.method !== 'GET' || file.sizeBytes === 0 || !isSameVersion(request, file)) return undefined
  const match = /^bytes\s*=\s*(\d*)\s*-\s*(\d*)$/i.exec(header.trim())
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

/** Last-Modified has whole seconds. */
const modifiedSecondMs = (file: FileInfo): number => Math.floor(file.modifiedMs / 1000) * 1000

/** If-Range: an entity tag, or the exact date that Last-Modified gave (RFC 9110, 13.1.5). */
function isSameVersion(request: Request, file: FileInfo): boolean {
  const condition = request.headers['if-range']
  if (typeof condition !== 'string') return condition === undefined
  return condition === entityTag(file) || Date.parse(condition) === modifiedSecondMs(file)
}

const tagsOf = (header: string): string[] => header.split(',').map((tag) => tag.trim())

/** Whether the reader has this version already. */
export function isNotModified(request: Request, file: FileInfo): boolean {
  const known = request.headers['if-none-match']
  if (known === undefined) {
    const since = Date.parse(request.headers['if-modified-since'] ?? '')
    return Number.isFinite(since) && modifiedSecondMs(file) <= since
  }
  const tags = tagsOf(known).map((tag) => tag.replace(/^W\//, ''))
  return tags.includes('*') || tags.includes(entityTag(file))
}

/** If-Match, and without it If-Unmodified-Since, on a read (RFC 9110, 13.2.2). @throws `PRECONDITION_FAILED` */
export function checkReadConditions(request: Request, file: FileInfo): void {
  const wanted = request.headers['if-match']
  if (wanted === undefined) {
    const since = Date.parse(request.headers['if-unmodified-since'] ?? '')
    if (!(modifiedSecondMs(file) > since)) return
  } else {
    const tags = tagsOf(wanted)
    if (tags.includes('*') || tags.includes(entityTag(file)) || tags.includes(`"${file.generation}"`)) return
  }
  throw new CairnError(
    'PRECONDITION_FAILED',
    `${file.path} is ${entityTag(file)} of ${new Date(file.modifiedMs).toUTCString()}, not what the condition names. Read it again and decide anew.`,
  )
}

/** `?replicas=2&chunk-size=16MiB` @throws `USAGE`, `INVALID_ARGUMENT` */
export function uploadOptionsOf(request: Request): { replicas?: number; chunkSizeBytes?: number } {
  const { replicas, 'chunk-size': chunkSize } = request.query as Record<string, unknown>
  if (chunkSize !== undefined && typeof chunkSize !== 'string')
    throw new CairnError('INVALID_ARGUMENT', 'chunk-size is given more than once.')
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
