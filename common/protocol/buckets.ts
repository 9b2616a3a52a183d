/** Buckets: the unit of policy. The first put to a new name makes one with the defaults. */
import { z } from 'zod'
import { CHUNK_BYTES_MAX, CHUNK_BYTES_MIN } from '../checksum/tree.js'
import { REPLICAS_MAX } from './chunk-data.js'
import { endpoint } from './endpoint.js'
import { pageLimit, timestampMs } from './schemas.js'

export const bucketPolicy = z.object({
  /** Wanted copies of each chunk. */
  replicas: z.number().int().min(1).max(REPLICAS_MAX),
  /** Synced live copies that a commit needs. */
  minReplicas: z.number().int().min(1).max(REPLICAS_MAX),
  chunkSizeBytes: z.number().int().min(CHUNK_BYTES_MIN).max(CHUNK_BYTES_MAX),
  /** How long a deleted file can be brought back. */
  trashDays: z.number().min(0).max(3650),
})
export type BucketPolicy = z.infer<typeof bucketPolicy>

export const bucketInfo = bucketPolicy.extend({ name: z.string(), createdMs: timestampMs }).meta({ id: 'BucketInfo' })
export type BucketInfo = z.infer<typeof bucketInfo>

const bucketParams = z.object({ bucket: z.string() })

export const listBuckets = endpoint({
  name: 'listBuckets',
  method: 'GET',
  path: '/v1/buckets',
  scope: 'read',
  tag: 'buckets',
  summary: 'Buckets by name.',
  params: z.object({}),
  query: z.object({ after: z.string().optional(), limit: pageLimit(1000, 1000) }),
  body: z.undefined(),
  result: z.object({ buckets: z.array(bucketInfo), next: z.string().nullable() }),
})

export const getBucket = endpoint({
  name: 'getBucket',
  method: 'GET',
  path: '/v1/buckets/:bucket',
  scope: 'read',
  tag: 'buckets',
  summary: 'A bucket and its policy.',
  params: bucketParams,
  query: z.object({}),
  body: z.undefined(),
  result: bucketInfo,
})

export const putBucket = endpoint({
  name: 'putBucket',
  method: 'PUT',
  path: '/v1/buckets/:bucket',
  scope: 'write',
  tag: 'buckets',
  summary: 'Makes a bucket or changes its policy; what is not named keeps its value. Holds for files written from then on.',
  params: bucketParams,
  query: z.object({}),
  body: bucketPolicy.partial(),
  result: bucketInfo,
})

export const deleteBucket = endpoint({
  name: 'deleteBucket',
  method: 'DELETE',
  path: '/v1/buckets/:bucket',
  scope: 'write',
  tag: 'buckets',
  summary: 'Removes an empty bucket.',
  params: bucketParams,
  query: z.object({}),
  body: z.undefined(),
  result: z.object({ name: z.string() }),
})
