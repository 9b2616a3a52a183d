/** Several small requests in one: what one of them costs is mostly that it is a request. */
import { z } from 'zod'
import { endpoint } from './endpoint.js'

/** What may travel together: what is answered at once, and asked often. */
export const BATCHED_ENDPOINTS = ['getFile', 'listManifestChunks', 'openUpload', 'commitUpload'] as const
export type BatchedEndpoint = (typeof BATCHED_ENDPOINTS)[number]

export const BATCH_MAX = 64

const batchedRequest = z.object({
  /** The operationId of the endpoint. */
  endpoint: z.enum(BATCHED_ENDPOINTS),
  /** As the header of the same name: what makes this one recognisable when it is repeated, together with others or alone. */
  requestId: z.string().max(128).optional(),
  /** The parameters of its address, not percent-encoded. */
  params: z.record(z.string(), z.string()).default({}),
  query: z.record(z.string(), z.string()).default({}),
  body: z.unknown().optional(),
})
export type BatchedRequest = z.infer<typeof batchedRequest>

const batchedAnswer = z.object({
  /** The HTTP status that it would have had by itself. */
  status: z.number().int(),
  /** Its result, or `{ error }` from status 400 on. */
  body: z.unknown().optional(),
})
export type BatchedAnswer = z.infer<typeof batchedAnswer>

export const batch = endpoint({
  name: 'batch',
  method: 'POST',
  path: '/v1/batch',
  // Each request in it is judged by its own.
  scope: 'none',
  tag: 'batch',
  summary:
    'Several requests in one, each carried out, authorized and answered as if it had come by itself, in no order. One that fails does not touch the others. Conditions go into bodies; headers of answers are left out.',
  params: z.object({}),
  query: z.object({}),
  body: z.object({ requests: z.array(batchedRequest).min(1).max(BATCH_MAX) }),
  /** In the order of the requests. */
  result: z.object({ answers: z.array(batchedAnswer) }),
})
