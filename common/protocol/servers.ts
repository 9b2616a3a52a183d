/** What operators do with servers and with repair: plans, wishes, the speed of repair, chunks that it cannot help. */
import { z } from 'zod'
import { repairSpeed } from './cluster.js'
import { endpoint } from './endpoint.js'
import { byteCount, chunkId, count, pageLimit, serverId, timestampMs } from './schemas.js'

/** `serve` takes the other wishes back; `remove` is for ever. */
export const serverAction = z.enum(['drain', 'maintenance', 'serve', 'remove'])
export type ServerAction = z.infer<typeof serverAction>

export const serverPlan = z
  .object({
    serverId,
    action: serverAction,
    /** What the server holds: copies of live chunks. */
    chunks: count,
    bytes: byteCount,
    /** Copies that would have to be made elsewhere, so that every chunk has its wanted ones without this server. */
    copiesToMake: count,
    bytesToCopy: byteCount,
    /** Chunks that have no live copy on another server now. */
    soleChunks: count,
    /** What other serving servers can take, and how many they are. */
    freeBytesElsewhere: byteCount,
    serversElsewhere: count,
    /** Why it would be refused, in words; null when it can be done. */
    refusal: z.string().nullable(),
  })
  .meta({ id: 'ServerPlan' })
export type ServerPlan = z.infer<typeof serverPlan>

const MAINTENANCE_MS_MAX = 7 * 24 * 3600 * 1000

export const planServer = endpoint({
  name: 'planServer',
  method: 'GET',
  path: '/v1/servers/:serverId/plan',
  scope: 'read',
  tag: 'cluster',
  summary: 'What draining, stopping or removing a server would mean. Changes nothing.',
  params: z.object({ serverId }),
  query: z.object({ action: serverAction }),
  body: z.undefined(),
  result: serverPlan,
})

export const changeServer = endpoint({
  name: 'changeServer',
  method: 'POST',
  path: '/v1/servers/:serverId/intent',
  scope: 'admin',
  tag: 'cluster',
  summary:
    'Drains a server, announces maintenance, takes either back, or removes the server for good. Refused when the plan says so.',
  params: z.object({ serverId }),
  query: z.object({}),
  body: z.object({
    action: serverAction,
    /** Of maintenance: for how long its silence is none. */
    graceMs: z.number().int().min(1).max(MAINTENANCE_MS_MAX).optional(),
    /** Of removal: give up chunks that have no other copy. */
    acceptDataLoss: z.boolean().default(false),
  }),
  /** What was to be done when it was decided. */
  result: z.object({ plan: serverPlan }),
})

const repairSettings = z.object({ speed: repairSpeed })

export const getRepair = endpoint({
  name: 'getRepair',
  method: 'GET',
  path: '/v1/repair',
  scope: 'read',
  tag: 'cluster',
  summary: 'How much re-replication may take for itself.',
  params: z.object({}),
  query: z.object({}),
  body: z.undefined(),
  result: repairSettings,
})

export const setRepair = endpoint({
  name: 'setRepair',
  method: 'PUT',
  path: '/v1/repair',
  scope: 'admin',
  tag: 'cluster',
  summary: 'Sets how much re-replication may take for itself. In effect within a heartbeat.',
  params: z.object({}),
  query: z.object({}),
  body: repairSettings,
  result: repairSettings,
})

export const failingChunk = z
  .object({
    id: chunkId,
    sizeBytes: byteCount,
    problem: z.enum(['last-copy', 'below-goal', 'waiting', 'unavailable', 'surplus', 'leaving', 'misplaced']),
    liveCopies: count,
    wantedCopies: count,
    attempts: count,
    nextAttemptMs: timestampMs,
    lastError: z.string().nullable(),
    sinceMs: timestampMs,
  })
  .meta({ id: 'FailingChunk' })
export type FailingChunkInfo = z.infer<typeof failingChunk>

export const listFailingChunks = endpoint({
  name: 'listFailingChunks',
  method: 'GET',
  path: '/v1/repair/failing',
  scope: 'read',
  tag: 'cluster',
  summary: 'Chunks without a live copy, and those that repair has tried in vain several times; by id. They hold up no other.',
  params: z.object({}),
  query: z.object({ after: chunkId.optional(), limit: pageLimit(1000, 1000) }),
  body: z.undefined(),
  result: z.object({ chunks: z.array(failingChunk), next: chunkId.nullable() }),
})
