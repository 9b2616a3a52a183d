/** The namespace: files, listings, copies, renames, trash. */
import { z } from 'zod'
import { endpoint } from './endpoint.js'
import { precondition } from './precondition.js'
import {
  byteCount,
  checksum64,
  chunkId,
  count,
  fileChecksum,
  fileId,
  label,
  manifestId,
  pageLimit,
  path,
  queryFlag,
  serverId,
  timestampMs,
} from './schemas.js'

export const fileInfo = z
  .object({
    path,
    fileId,
    generation: z.number().int().min(1),
    sizeBytes: byteCount,
    chunkSizeBytes: byteCount,
    chunkCount: count,
    checksum: fileChecksum,
    /** Wanted copies of each chunk. */
    replicas: z.number().int().min(1),
    manifestId,
    createdMs: timestampMs,
    modifiedMs: timestampMs,
  })
  .meta({ id: 'FileInfo' })
export type FileInfo = z.infer<typeof fileInfo>

const filePathParams = z.object({ bucket: z.string(), key: z.string() })

export const getFile = endpoint({
  name: 'getFile',
  method: 'GET',
  path: '/v1/files/:bucket/*key',
  scope: 'read',
  tag: 'files',
  conditional: true,
  summary: 'What is stored at a path. If-None-Match with its ETag answers 304.',
  params: filePathParams,
  query: z.object({}),
  body: z.undefined(),
  result: fileInfo,
})

export const deleteFile = endpoint({
  name: 'deleteFile',
  method: 'DELETE',
  path: '/v1/files/:bucket/*key',
  scope: 'write',
  tag: 'files',
  conditional: true,
  summary: 'Moves a file to the trash, or with purge=true drops it for good.',
  params: filePathParams,
  query: z.object({ purge: queryFlag }),
  body: z.undefined(),
  result: z.object({ path, generation: z.number().int().min(1) }),
})

export const listEntry = z.discriminatedUnion('kind', [
  z.object({
    kind: z.literal('file'),
    path,
    sizeBytes: byteCount,
    generation: z.number().int(),
    checksum: fileChecksum,
    modifiedMs: timestampMs,
  }),
  /** Stands for all paths that begin with it; ends with the delimiter. */
  z.object({ kind: z.literal('prefix'), path }),
])
export type ListEntry = z.infer<typeof listEntry>

export const LIST_PAGE_MAX = 1000

export const listFiles = endpoint({
  name: 'listFiles',
  method: 'GET',
  path: '/v1/listings',
  scope: 'read',
  tag: 'files',
  summary:
    'Files under a prefix, ordered by UTF-8 bytes. With a delimiter, paths that hold it after the prefix fold into one entry.',
  params: z.object({}),
  query: z.object({
    prefix: path,
    delimiter: z
      .string()
      .regex(/^[\x21-\x7e]$/, 'must be one printable ASCII character')
      .optional(),
    after: z.string().max(4096).optional(),
    limit: pageLimit(LIST_PAGE_MAX, LIST_PAGE_MAX),
  }),
  body: z.undefined(),
  /** `next`: pass as `after` for the next page; null at the end. */
  result: z.object({ entries: z.array(listEntry), next: z.string().nullable() }),
})

export const copyFile = endpoint({
  name: 'copyFile',
  method: 'POST',
  path: '/v1/copies',
  scope: 'write',
  tag: 'files',
  conditional: true,
  summary: 'Copies a file inside the cluster by sharing its manifest: no bytes move, whatever the size.',
  params: z.object({}),
  query: z.object({}),
  body: z.object({ from: path, to: path, precondition: precondition.optional() }),
  result: fileInfo,
})

export const renameFile = endpoint({
  name: 'renameFile',
  method: 'POST',
  path: '/v1/renames',
  scope: 'write',
  tag: 'files',
  conditional: true,
  summary: 'Renames a file in one transaction. The condition is about the target.',
  params: z.object({}),
  query: z.object({}),
  body: z.object({ from: path, to: path, precondition: precondition.optional() }),
  result: fileInfo,
})

export const undeleteFile = endpoint({
  name: 'undeleteFile',
  method: 'POST',
  path: '/v1/undeletes',
  scope: 'write',
  tag: 'files',
  summary: 'Brings the newest deleted file of a path back from the trash. Refused when something stands there now.',
  params: z.object({}),
  query: z.object({}),
  body: z.object({ path }),
  result: fileInfo,
})

export const chunkEntry = z.object({
  index: count,
  id: chunkId,
  offset: byteCount,
  sizeBytes: byteCount,
  root: checksum64,
  /** Live, serving servers with a good copy. */
  replicas: z.array(serverId),
  /** Other servers that hold or held a copy: suspect, in maintenance, dead or with a copy reported bad. For when nothing else is left. */
  fallbacks: z.array(serverId),
  /** Read capability; only when asked for. */
  capability: z.string().optional(),
})
export type ChunkEntry = z.infer<typeof chunkEntry>

export const serverAddress = z.object({ id: serverId, url: z.string(), zone: label, rack: label, host: label, load: z.number() })
export type ServerAddress = z.infer<typeof serverAddress>

export const CHUNK_PAGE_MAX = 1000

export const listManifestChunks = endpoint({
  name: 'listManifestChunks',
  method: 'GET',
  path: '/v1/manifests/:manifestId/chunks',
  scope: 'read',
  tag: 'files',
  summary:
    'The chunks of a manifest in order, with where their copies are. A manifest never changes, so a reader sees one generation throughout.',
  params: z.object({ manifestId }),
  query: z.object({
    from: z.coerce.number().int().min(0).default(0),
    limit: pageLimit(CHUNK_PAGE_MAX, 256),
    capabilities: queryFlag,
  }),
  body: z.undefined(),
  /** `next`: the `from` of the next page; null at the end. `servers` holds the address of each server that the page names. */
  result: z.object({ chunks: z.array(chunkEntry), servers: z.array(serverAddress), next: count.nullable() }),
})

/** The index of the chunk that holds a byte, so that a range read need not page through all before it. */
export const findManifestChunk = endpoint({
  name: 'findManifestChunk',
  method: 'GET',
  path: '/v1/manifests/:manifestId/position',
  scope: 'read',
  tag: 'files',
  summary: 'Which chunk of a manifest holds the byte at an offset.',
  params: z.object({ manifestId }),
  query: z.object({ offset: z.coerce.number().int().min(0) }),
  body: z.undefined(),
  result: z.object({ index: count, offset: byteCount }),
})
