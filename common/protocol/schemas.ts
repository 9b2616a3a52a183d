/** Building blocks of the protocol's schemas: ids, checksums, paths, counts. */
import { z } from 'zod'
import type { Checksum64 } from '../checksum/xxh64.js'
import type { ChunkId, DiskId, ManifestId, ServerId, UploadId, JobId, TaskId, FileId, ClusterId } from '../ids.js'

/** A schema whose text is known by a nominal type once it has been parsed. */
const branded = <T extends string>(schema: z.ZodString): z.ZodType<T, T> => schema as unknown as z.ZodType<T, T>

const hexId = <T extends string>(): z.ZodType<T, T> => branded<T>(z.string().regex(/^[0-9a-f]{32}$/, 'must be 32 hex digits'))

export const chunkId = hexId<ChunkId>()
export const uploadId = hexId<UploadId>()
export const serverId = hexId<ServerId>()
export const diskId = hexId<DiskId>()
export const manifestId = hexId<ManifestId>()
export const fileId = hexId<FileId>()
export const clusterId = hexId<ClusterId>()
export const jobId = hexId<JobId>()
export const taskId = hexId<TaskId>()

export const checksum64 = branded<Checksum64>(z.string().regex(/^[0-9a-f]{16}$/, 'must be 16 hex digits'))
export const fileChecksum = z.string().regex(/^xxh64-tree:[0-9a-f]{16}$/, 'must be xxh64-tree: and 16 hex digits')
export const byteCount = z.number().int().min(0).max(Number.MAX_SAFE_INTEGER)
export const count = z.number().int().min(0).max(Number.MAX_SAFE_INTEGER)
export const timestampMs = z.number().int()
export const label = z.string().max(255)
/** Checked further by `parseFilePath`, whose messages say what is wrong. */
export const path = z.string().min(1).max(4096)

/** A page size in a query string. */
export const pageLimit = (max: number, fallback: number): z.ZodType<number, unknown> =>
  z.coerce.number().int().min(1).max(max).default(fallback)
/** A flag in a query string: `?purge=true`. */
export const queryFlag = z
  .enum(['true', 'false'])
  .default('false')
  .transform((value) => value === 'true')
