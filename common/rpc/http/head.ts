/**
 * Heads of HTTP/1.1 messages (RFC 9112), the part that the bulk path needs: a body has a Content-Length or is empty.
 * Transfer codings, obsolete line folding and upgrades are refused, which also closes the door to request smuggling.
 */
import { CairnError } from '../../errors/cairn-error.js'
import type { Headers } from '../transport.js'

export const HEAD_BYTES_MAX = 16 * 1024

export interface RequestHead {
  readonly method: string
  readonly target: string
  readonly headers: Headers
  readonly contentLength: number
  readonly keepAlive: boolean
}

export interface ResponseHead {
  readonly status: number
  readonly headers: Headers
  readonly contentLength: number
  readonly keepAlive: boolean
}

/** Printable Latin-1. Other characters would be cut to eight bits, and some of them would then be line ends. */
const HEADER_VALUE = /^[\t\x20-\x7e\x80-\xff]*$/
const TARGET = /^\/[\x21-\x7e]*$/
const TOKEN = /^[!#$%&'*+\-.^_`|~0-9A-Za-z]+$/
const REASONS: Readonly<Record<number, string>> = {
  100: 'Continue',
  102: 'Processing',
  200: 'OK',
  206: 'Partial Content',
  404: 'Not Found',
}

const malformed = (why: string): CairnError => new CairnError('PROTOCOL_ERROR', `The HTTP message is malformed: ${why}.`)

function splitHead(bytes: Uint8Array): { startLine: string; headers: Headers } {
  const lines = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).toString('latin1').split('\r\n')
  const headers = Object.create(null) as Record<string, string>
  for (const line of lines.slice(1)) {
    if (line === '') continue
    const colon = line.indexOf(':')
    const name = line.slice(0, Math.max(0, colon)).toLowerCase()
    if (!TOKEN.test(name)) throw malformed('a header name is invalid')
    const value = line.slice(colon + 1).trim()
    // A bare line feed is a line's end to some (RFC 9112, 2.2), so what follows it could pass for a header of its own.
    if (!HEADER_VALUE.test(value)) throw malformed(`header ${name} has a control character`)
    if (name === 'content-length' && headers[name] !== undefined && headers[name] !== value)
      throw malformed('two different content lengths')
    headers[name] = headers[name] === undefined || name === 'content-length' ? value : `${headers[name]}, ${value}`
  }
  return { startLine: lines[0] ?? '', headers }
}

function bodyLength(headers: Headers): number {
  if (headers['transfer-encoding'] !== undefined) {
    throw new CairnError('LENGTH_REQUIRED', 'Transfer-Encoding is not taken here. Send the body with a Content-Length.')
  }
  const text = headers['content-length']
  if (text === undefined) return 0
  if (!/^\d{1,15}$/.test(text)) throw malformed('the content length is not a number')
  return Number(text)
}

/** An answer of this status has no body, whatever its head says (RFC 9112, 6.3). */
export const isBodiless = (status: number): boolean => status < 200 || status === 204 || status === 304

function responseLength(status: number, headers: Headers): number {
  if (isBodiless(status)) return 0
  if (headers['transfer-encoding'] !== undefined || headers['content-length'] === undefined)
    throw malformed('the answer does not say how long it is')
  return bodyLength(headers)
}

const keepsAlive = (version: string, headers: Headers): boolean =>
  version === 'HTTP/1.1' && !/\bclose\b/i.test(headers['connection'] ?? '')

export function parseRequestHead(bytes: Uint8Array): RequestHead {
  const { startLine, headers } = splitHead(bytes)
  const match = /^([A-Z]{1,16}) (\/[^\s]*) (HTTP\/1\.[01])$/.exec(startLine)
  if (!match) throw malformed('the request line is invalid')
  const [, method = '', target = '', version = ''] = match
  return { method, target, headers, contentLength: bodyLength(headers), keepAlive: keepsAlive(version, headers) }
}

export function parseResponseHead(bytes: Uint8Array): ResponseHead {
  const { startLine, headers } = splitHead(bytes)
  const match = /^(HTTP\/1\.[01]) (\d{3})(?: .*)?$/.exec(startLine)
  if (!match) throw malformed('the status line is invalid')
  const [, version = '', status = ''] = match
  return {
    status: Number(status),
    headers,
    contentLength: responseLength(Number(status), headers),
    keepAlive: keepsAlive(version, headers),
  }
}

function formatHeaders(headers: Headers): string {
  let out = ''
  for (const [name, value] of Object.entries(headers)) {
    if (!TOKEN.test(name) || !HEADER_VALUE.test(value)) throw malformed(`header ${JSON.stringify(name)} cannot be sent`)
    out += `${name}: ${value}\r\n`
  }
  return out
}

export function formatRequestHead(method: string, target: string, headers: Headers): Buffer {
  if (!TARGET.test(target)) throw malformed(`the address ${JSON.stringify(target)} cannot be sent`)
  return Buffer.from(`${method} ${target} HTTP/1.1\r\n${formatHeaders(headers)}\r\n`, 'latin1')
}

export const formatResponseHead = (status: number, headers: Headers): Buffer =>
  Buffer.from(`HTTP/1.1 ${status} ${REASONS[status] ?? 'Status'}\r\n${formatHeaders(headers)}\r\n`, 'latin1')
