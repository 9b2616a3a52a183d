/**
 * Paths of the namespace: `/bucket/any/key`, flat, ordered by UTF-8 bytes. Directories are implied by `/`.
 * Nothing is normalised: what was stored is what is listed.
 */
import type { Brand } from './brand.js'
import { CairnError } from './errors/cairn-error.js'

export type FilePath = Brand<string, 'FilePath'>
export type BucketName = Brand<string, 'BucketName'>

export const PATH_BYTES_MAX = 1024

const encoder = new TextEncoder()
const utf8Length = (text: string): number => encoder.encode(text).length

/** As S3 has them, and capitals and underscores besides: letters, digits, `.`, `-`, `_`; 1 to 255 long. */
const BUCKET = /^[A-Za-z0-9][A-Za-z0-9._-]{0,254}$/

const invalid = (path: string, why: string): CairnError =>
  new CairnError('INVALID_PATH', `"${path.length > 200 ? `${path.slice(0, 200)}…` : path}" is not a valid path: ${why}.`)

/** True when every surrogate is paired, that is, when the string has a UTF-8 form. */
const isWellFormed = (text: string): boolean =>
  !/[\uD800-\uDBFF](?![\uDC00-\uDFFF])|(?<![\uD800-\uDBFF])[\uDC00-\uDFFF]/.test(text)

export function parseBucketName(value: string): BucketName {
  if (!BUCKET.test(value) || value === '.' || value === '..') {
    throw new CairnError(
      'INVALID_PATH',
      `"${value.slice(0, 200)}" is not a bucket name: letters, digits, ".", "-" and "_", starting with a letter or digit, at most 255.`,
    )
  }
  return value as BucketName
}

/** @throws `INVALID_PATH` with the reason */
export function parseFilePath(value: string): FilePath {
  if (!value.startsWith('/')) throw invalid(value, 'it must start with "/"')
  const segments = value.slice(1).split('/')
  if (segments.length < 2) throw invalid(value, 'it names a bucket only; add "/key"')
  parseBucketName(segments[0] ?? '')
  checkSegments(value, segments)
  return value as FilePath
}

function checkSegments(path: string, segments: readonly string[]): void {
  for (const segment of segments) {
    if (segment === '') throw invalid(path, 'it has an empty segment ("//", or "/" at its end)')
    if (segment === '.' || segment === '..') throw invalid(path, `it has a "${segment}" segment`)
  }
  if (path.includes('\0')) throw invalid(path, 'it holds a NUL character')
  if (!isWellFormed(path)) throw invalid(path, 'it holds an unpaired surrogate, which has no UTF-8 form')
  const bytes = utf8Length(path)
  if (bytes > PATH_BYTES_MAX) throw invalid(path, `it has ${bytes} bytes, at most ${PATH_BYTES_MAX} are allowed`)
}

/** A listing prefix: `/bucket/` followed by anything, not necessarily whole segments. @throws `INVALID_PATH` */
export function parseListPrefix(value: string): string {
  const match = /^\/([^/]+)\//.exec(value)
  if (!match) throw invalid(value, 'a listing needs a prefix of the form /bucket/ or /bucket/key-prefix')
  parseBucketName(match[1] ?? '')
  if (value.includes('\0') || !isWellFormed(value)) throw invalid(value, 'it holds NUL or an unpaired surrogate')
  if (utf8Length(value) > PATH_BYTES_MAX) throw invalid(value, `it has over ${PATH_BYTES_MAX} bytes`)
  return value
}

export const bucketOf = (path: FilePath): BucketName => path.slice(1, path.indexOf('/', 1)) as BucketName
export const keyOf = (path: FilePath): string => path.slice(path.indexOf('/', 1) + 1)

/** The path as it stands in a URL: each segment percent-encoded, the slashes between them kept. */
export const encodePath = (path: string): string => path.split('/').map(encodeURIComponent).join('/')

/** The inverse of {@link encodePath}. @throws `INVALID_PATH` on a malformed escape */
export function decodePath(encoded: string): string {
  try {
    return encoded.split('/').map(decodeURIComponent).join('/')
  } catch {
    throw invalid(encoded, 'it has a malformed percent escape')
  }
}
