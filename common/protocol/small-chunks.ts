/**
 * Several small chunks in one request, to one chunkserver and from it: what one of them costs is mostly that it is a request.
 * Byte by byte in docs/formats/chunk-transfer.md.
 */
import { z } from 'zod'
import { LEAF_SUM_BYTES } from '../checksum/tree.js'
import { CairnError } from '../errors/cairn-error.js'
import { KiB, MiB } from '../units.js'
import { receipt } from './chunk-data.js'
import { chunkId } from './schemas.js'

/** Where several chunks are stored at once. */
export const CHUNKS_PATH = '/v1/chunks'
/** Where several are read at once. */
export const READ_CHUNKS_PATH = '/v1/chunks/read'

/** A larger chunk goes by itself: its bytes cost more than its request. */
export const SMALL_CHUNK_BYTES_MAX = 32 * KiB
export const SMALL_CHUNKS_MAX = 64
/** What a request or an answer may weigh; a sender stops well before. */
export const SMALL_CHUNKS_BODY_BYTES_MAX = 1 * MiB
/** Of chunk data that one request is about. */
export const SMALL_CHUNKS_DATA_BYTES_MAX = 512 * KiB

const LIST_LENGTH_BYTES = 4
const CAPABILITY_LENGTH_MAX = 8 * KiB

const capability = z.string().max(CAPABILITY_LENGTH_MAX)
const smallLength = z.number().int().min(1).max(SMALL_CHUNK_BYTES_MAX)
/** What precedes the data of chunks to be stored. */
const putList = z.object({
  chunks: z
    .array(z.object({ chunkId, lengthBytes: smallLength, capability }))
    .min(1)
    .max(SMALL_CHUNKS_MAX),
})
/** What asks for chunks. */
export const readList = z.object({ chunks: z.array(z.object({ chunkId, capability })).min(1).max(SMALL_CHUNKS_MAX) })

/** What was wrong with one chunk; the error as it would be an answer. */
const failed = z.object({ error: z.unknown() })
/** In the order of the chunks. */
export const storedList = z.object({ chunks: z.array(z.union([z.object({ receipt }), failed])) })
/** What precedes the data of an answer; only chunks with a length have data there. */
const foundList = z.object({ chunks: z.array(z.union([z.object({ lengthBytes: smallLength }), failed])) })
export type StoredList = z.infer<typeof storedList>
export type FoundList = z.infer<typeof foundList>
export type ReadList = z.infer<typeof readList>

/** A chunk's bytes, and the one leaf sum that follows them on the wire. */
export interface SmallData {
  readonly data: Uint8Array
  /** 8 bytes. */
  readonly leafSum: Uint8Array
}

export type SmallPut = z.infer<typeof putList>['chunks'][number] & SmallData

const withData = (list: unknown, items: readonly SmallData[]): Uint8Array[] => {
  const text = Buffer.from(JSON.stringify(list))
  const length = Buffer.alloc(LIST_LENGTH_BYTES)
  length.writeUInt32LE(text.length)
  return [length, text, ...items.flatMap(({ data, leafSum }) => [data, leafSum])]
}

export const encodePuts = (puts: readonly SmallPut[]): Uint8Array => {
  const chunks = puts.map(({ chunkId: id, lengthBytes, capability: sealed }) => ({
    chunkId: id,
    lengthBytes,
    capability: sealed,
  }))
  return Buffer.concat(withData({ chunks }, puts))
}

/** @throws `INVALID_ARGUMENT` */
export function decodePuts(body: Uint8Array): SmallPut[] {
  const { list, rest } = split(body, putList)
  const data = cut(rest, list.chunks)
  return list.chunks.map((chunk, index) => ({ ...chunk, ...(data[index] as SmallData) }))
}

export const encodeFound = (list: FoundList, items: readonly SmallData[]): Uint8Array => Buffer.concat(withData(list, items))

/** @returns for each chunk its data, or why there are none @throws `INVALID_ARGUMENT` */
export function decodeFound(body: Uint8Array): (SmallData | { readonly error: unknown })[] {
  const { list, rest } = split(body, foundList)
  const data = cut(
    rest,
    list.chunks.filter((chunk) => 'lengthBytes' in chunk),
  )
  let next = 0
  return list.chunks.map((chunk) => ('lengthBytes' in chunk ? (data[next++] as SmallData) : chunk))
}

const malformed = (why: string): CairnError =>
  new CairnError('INVALID_ARGUMENT', `The list of small chunks is malformed: ${why}.`)

/** Parses JSON by a schema. @throws `INVALID_ARGUMENT` */
export function parseList<T>(text: string, schema: z.ZodType<T, unknown>): T {
  let json: unknown
  try {
    json = JSON.parse(text)
  } catch {
    throw malformed('it is no JSON')
  }
  const parsed = schema.safeParse(json)
  if (parsed.success) return parsed.data
  const issue = parsed.error.issues[0]
  throw malformed(`${issue?.path.join('.')}: ${issue?.message}`)
}

function split<T>(body: Uint8Array, schema: z.ZodType<T, unknown>): { list: T; rest: Uint8Array } {
  const bytes = Buffer.from(body.buffer, body.byteOffset, body.length)
  if (bytes.length < LIST_LENGTH_BYTES) throw malformed('it is too short')
  const end = LIST_LENGTH_BYTES + bytes.readUInt32LE()
  if (end > bytes.length) throw malformed('it is longer than the body')
  return { list: parseList(bytes.toString('utf8', LIST_LENGTH_BYTES, end), schema), rest: body.subarray(end) }
}

function cut(bytes: Uint8Array, chunks: readonly { readonly lengthBytes: number }[]): SmallData[] {
  let at = 0
  const out = chunks.map(({ lengthBytes }) => {
    const end = at + lengthBytes
    const data = bytes.subarray(at, end)
    at = end + LEAF_SUM_BYTES
    return { data, leafSum: bytes.subarray(end, at) }
  })
  if (at !== bytes.length) throw malformed(`its data have ${bytes.length} bytes, not ${at}`)
  return out
}
