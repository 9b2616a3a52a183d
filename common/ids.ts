/**
 * Identifiers: 128 random bits as 32 lower-case hex digits, made only through a {@link Random}, never reused. (Those that the
 * metadata store makes begin with the time.)
 * Each has a type of its own, so that a chunk id cannot be passed where a session id belongs.
 */
import type { Brand } from './brand.js'
import { CairnError } from './errors/cairn-error.js'
import type { Random } from './random/random.js'

export type ChunkId = Brand<string, 'ChunkId'>
export type UploadId = Brand<string, 'UploadId'>
export type ServerId = Brand<string, 'ServerId'>
export type DiskId = Brand<string, 'DiskId'>
export type ManifestId = Brand<string, 'ManifestId'>
export type FileId = Brand<string, 'FileId'>
export type ClusterId = Brand<string, 'ClusterId'>
export type JobId = Brand<string, 'JobId'>
export type TaskId = Brand<string, 'TaskId'>
export type RequestId = Brand<string, 'RequestId'>

type HexId = ChunkId | UploadId | ServerId | DiskId | ManifestId | FileId | ClusterId | JobId | TaskId

export const ID_BYTES = 16
const HEX_ID = /^[0-9a-f]{32}$/

export const isHexId = (value: unknown): value is string => typeof value === 'string' && HEX_ID.test(value)

const parser =
  <Id extends HexId>(what: string) =>
  (value: unknown): Id => {
    if (!isHexId(value))
      throw new CairnError('INVALID_ARGUMENT', `"${String(value)}" is not a ${what}: 32 hex digits are expected.`)
    return value as Id
  }

export const parseChunkId = parser<ChunkId>('chunk id')
export const parseUploadId = parser<UploadId>('upload id')
export const parseServerId = parser<ServerId>('server id')
export const parseDiskId = parser<DiskId>('disk id')
export const parseManifestId = parser<ManifestId>('manifest id')
export const parseJobId = parser<JobId>('job id')

/** A fresh random id of the kind that the type argument names. */
export function newId<Id extends HexId | RequestId>(random: Random): Id {
  return bytesToHex(random.bytes(ID_BYTES)) as Id
}

const REQUEST_ID = /^[A-Za-z0-9._:-]{1,128}$/

/** A request id may be chosen by the caller: up to 128 letters, digits and `._:-`. Undefined when it is none. */
export const asRequestId = (value: unknown): RequestId | undefined =>
  typeof value === 'string' && REQUEST_ID.test(value) ? (value as RequestId) : undefined

export function bytesToHex(bytes: Uint8Array): string {
  let out = ''
  for (const byte of bytes) out += (byte < 16 ? '0' : '') + byte.toString(16)
  return out
}

export function hexToBytes(hex: string): Uint8Array {
  const out = new Uint8Array(hex.length / 2)
  for (let index = 0; index < out.length; index += 1) out[index] = Number.parseInt(hex.slice(index * 2, index * 2 + 2), 16)
  return out
}
