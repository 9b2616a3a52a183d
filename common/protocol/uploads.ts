/** Upload sessions: open, allocate, report, commit. */
import { z } from 'zod'
import { bucketPolicy } from './buckets.js'
import { receipt } from './chunk-data.js'
import { endpoint } from './endpoint.js'
import { fileInfo } from './files.js'
import { precondition } from './precondition.js'
import {
  byteCount,
  checksum64,
  chunkId,
  count,
  fileChecksum,
  label,
  pageLimit,
  path,
  serverId,
  timestampMs,
  uploadId,
} from './schemas.js'

const uploadParams = z.object({ uploadId })
/** Rises when a client takes over a session; a request with an older one is refused with `UPLOAD_SUPERSEDED`. */
const writerEpoch = z.number().int().min(1)

/**
 * Which open session of the same path and fingerprint to go on with. `if-idle`: one that nobody wrote to for 30 s;
 * an active one is answered with `UPLOAD_ACTIVE` and its owner. `take-over`: the one named, though it looks active,
 * because the caller knows that its owner is gone. `none`: always a new session.
 */
export const adoption = z.discriminatedUnion('kind', [
  z.object({ kind: z.literal('if-idle') }),
  z.object({ kind: z.literal('take-over'), uploadId }),
  z.object({ kind: z.literal('none') }),
])
export type Adoption = z.infer<typeof adoption>

export const ALLOCATION_BATCH_MAX = 256

export const chunkTarget = z.object({ serverId, url: z.string(), zone: label })
export const allocatedChunk = z.object({
  index: count,
  chunkId,
  /** Best order for the chain as the master sees it; the client may choose another. */
  targets: z.array(chunkTarget),
  capability: z.string(),
})
export type AllocatedChunk = z.infer<typeof allocatedChunk>

/** A chunk that is to be written for the first time. */
const newChunk = z.object({ index: count, lengthBytes: byteCount })

export const openUpload = endpoint({
  name: 'openUpload',
  method: 'POST',
  path: '/v1/uploads',
  scope: 'write',
  tag: 'uploads',
  conditional: true,
  summary: 'Opens an upload session for a path, or takes up an interrupted one; with its first chunks allocated if so wished.',
  params: z.object({}),
  query: z.object({}),
  body: z.object({
    path,
    /** Null when it is not known beforehand. */
    sizeBytes: byteCount.nullable(),
    /** What tells this source from others; null: the session cannot be resumed. */
    fingerprint: z.string().max(128).nullable(),
    chunkSizeBytes: bucketPolicy.shape.chunkSizeBytes.optional(),
    replicas: bucketPolicy.shape.replicas.optional(),
    precondition: precondition.optional(),
    /** Who writes: shown to others who want the session. */
    owner: label,
    adoption,
    /**
     * The first chunks, to be allocated with the session: a small file takes one request less. Only a hint, which a session
     * that goes on, a chunk size below these lengths or a lack of servers makes void.
     */
    allocate: z
      .object({
        chunks: z.array(newChunk).min(1).max(ALLOCATION_BATCH_MAX),
        /** Where the client is, so that the first hop is near. */
        zone: label.optional(),
      })
      .optional(),
  }),
  result: z
    .object({
      uploadId,
      path,
      writerEpoch,
      chunkSizeBytes: byteCount,
      replicas: z.number().int(),
      minReplicas: z.number().int(),
      /** Whether an earlier session goes on; then its completed chunks can be listed. */
      resumed: z.boolean(),
      /** What was asked for with `allocate`; absent when it came to nothing. */
      chunks: z.array(allocatedChunk).optional(),
    })
    .meta({ id: 'UploadSession' }),
})

export const uploadInfo = z
  .object({
    uploadId,
    path,
    owner: label,
    sizeBytes: byteCount.nullable(),
    uploadedBytes: byteCount,
    writerEpoch,
    createdMs: timestampMs,
    activeMs: timestampMs,
    expiresMs: timestampMs,
  })
  .meta({ id: 'UploadInfo' })

export const listUploads = endpoint({
  name: 'listUploads',
  method: 'GET',
  path: '/v1/uploads',
  scope: 'read',
  tag: 'uploads',
  summary: 'Open upload sessions, oldest id first.',
  params: z.object({}),
  query: z.object({ after: uploadId.optional(), limit: pageLimit(1000, 100) }),
  body: z.undefined(),
  result: z.object({ uploads: z.array(uploadInfo), next: uploadId.nullable() }),
})

export const completedChunk = z.object({ index: count, chunkId, offset: byteCount, lengthBytes: byteCount, root: checksum64 })
export type CompletedChunk = z.infer<typeof completedChunk>

export const listUploadChunks = endpoint({
  name: 'listUploadChunks',
  method: 'GET',
  path: '/v1/uploads/:uploadId/chunks',
  scope: 'read',
  tag: 'uploads',
  summary: 'The completed chunks of an open session that still have enough live copies, by index.',
  params: uploadParams,
  query: z.object({ from: z.coerce.number().int().min(0).default(0), limit: pageLimit(1000, 1000) }),
  body: z.undefined(),
  result: z.object({ chunks: z.array(completedChunk), next: count.nullable() }),
})

export const allocateChunks = endpoint({
  name: 'allocateChunks',
  method: 'POST',
  path: '/v1/uploads/:uploadId/allocations',
  scope: 'write',
  tag: 'uploads',
  summary:
    'Ids, targets and write capabilities for chunks; or, with the id of a chunk whose chain broke, further targets for it.',
  params: uploadParams,
  query: z.object({}),
  body: z.object({
    writerEpoch,
    chunks: z
      .array(
        newChunk.extend({
          /** A chunk that already has copies on `have` and needs more. */
          chunkId: chunkId.optional(),
          have: z.array(serverId).max(16).optional(),
        }),
      )
      .min(1)
      .max(ALLOCATION_BATCH_MAX),
    /** Servers that failed this client just now. */
    avoid: z.array(serverId).max(1000).default([]),
    /** Where the client is, so that the first hop is near. */
    zone: label.optional(),
  }),
  result: z.object({ chunks: z.array(allocatedChunk) }),
})

export const REPORT_BATCH_MAX = 256

/** A completed chunk with the receipts of the servers that hold it. */
const chunkReport = completedChunk.extend({ receipts: z.array(receipt).min(1).max(16) })
const chunkReports = z.array(chunkReport).min(1).max(REPORT_BATCH_MAX)

export const reportChunks = endpoint({
  name: 'reportChunks',
  method: 'POST',
  path: '/v1/uploads/:uploadId/chunks',
  scope: 'write',
  tag: 'uploads',
  summary: 'Completed chunks with the receipts of the servers that hold them. They enter the draft manifest at once.',
  params: uploadParams,
  query: z.object({}),
  body: z.object({
    writerEpoch,
    chunks: chunkReports,
  }),
  result: z.object({ accepted: count }),
})

export const keepUpload = endpoint({
  name: 'keepUpload',
  method: 'POST',
  path: '/v1/uploads/:uploadId/keepalive',
  scope: 'write',
  tag: 'uploads',
  summary: 'Says that the writer is alive, so that nobody takes the session over.',
  params: uploadParams,
  query: z.object({}),
  body: z.object({ writerEpoch }),
  result: z.object({ expiresMs: timestampMs }),
})

export const commitUpload = endpoint({
  name: 'commitUpload',
  method: 'POST',
  path: '/v1/uploads/:uploadId/commit',
  scope: 'write',
  tag: 'uploads',
  summary:
    'Makes the file visible, whole, in one transaction. Size, count and checksum must match the reported chunks, those that come with it included.',
  params: uploadParams,
  query: z.object({}),
  body: z.object({
    writerEpoch,
    sizeBytes: byteCount,
    chunkCount: count,
    checksum: fileChecksum,
    /** Chunks that were not reported yet. They enter with the commit or not at all. */
    chunks: chunkReports.optional(),
  }),
  result: fileInfo,
})

export const abortUpload = endpoint({
  name: 'abortUpload',
  method: 'DELETE',
  path: '/v1/uploads/:uploadId',
  scope: 'write',
  tag: 'uploads',
  summary: 'Drops an open session and its chunks. Of a committed one nothing is touched.',
  params: uploadParams,
  query: z.object({}),
  body: z.undefined(),
  result: z.object({ uploadId }),
})
