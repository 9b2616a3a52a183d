/** What operators ask: status, space, servers, chunks, jobs. */
import { z } from 'zod'
import { diskReport, metadataPosition, repairSpeed, serverState } from './cluster.js'
import { endpoint } from './endpoint.js'
import { byteCount, checksum64, chunkId, count, jobId, label, pageLimit, path, serverId, timestampMs } from './schemas.js'

export const serverInfo = z
  .object({
    id: serverId,
    state: serverState,
    zone: label,
    rack: label,
    host: label,
    url: z.string(),
    usedBytes: byteCount,
    freeBytes: byteCount,
    chunks: count,
    lastHeartbeatMs: timestampMs.nullable(),
    /** While it is being drained: copies left of those it had. */
    drain: z.object({ remainingChunks: count, totalChunks: count }).nullable(),
    /** Until then its silence is announced. */
    maintenanceUntilMs: timestampMs.nullable(),
    disks: z.array(diskReport),
  })
  .meta({ id: 'ServerInfo' })
export type ServerInfo = z.infer<typeof serverInfo>

export const SERVER_PAGE_MAX = 1000

export const listServers = endpoint({
  name: 'listServers',
  method: 'GET',
  path: '/v1/servers',
  scope: 'read',
  tag: 'cluster',
  summary: 'Chunkservers by id.',
  params: z.object({}),
  query: z.object({ after: serverId.optional(), limit: pageLimit(SERVER_PAGE_MAX, SERVER_PAGE_MAX) }),
  body: z.undefined(),
  result: z.object({ servers: z.array(serverInfo), next: serverId.nullable() }),
})

export const jobInfo = z
  .object({
    id: jobId,
    kind: z.enum(['delete-prefix', 'rename-prefix', 'copy-prefix']),
    from: path,
    to: path.nullable(),
    state: z.enum(['running', 'done', 'failed']),
    processed: count,
    skipped: count,
    createdMs: timestampMs,
    error: z.string().nullable(),
  })
  .meta({ id: 'JobInfo' })
export type JobInfo = z.infer<typeof jobInfo>

export const repairStatus = z.object({
  /** Chunks that wait for a copy and can get one. */
  queued: count,
  active: count,
  bytesPerSecond: z.number(),
  /** Null when nothing waits, or no rate is known yet. */
  etaSeconds: z.number().nullable(),
  /** Why repair holds back, in words; null when it does not. */
  brake: z.string().nullable(),
  speed: repairSpeed,
  /** Since the queue was last empty: what has been copied, and what is left. */
  progress: z.object({ copiedChunks: count, copiedBytes: byteCount, remainingBytes: byteCount }),
  /** Chunks by what is wrong with their copies. */
  classes: z.object({
    lastCopy: count,
    belowGoal: count,
    /** Fewer than wanted, and the missing ones are expected back. */
    waiting: count,
    misplaced: count,
    leaving: count,
    surplus: count,
  }),
  /** Chunks without a live copy, and those that repair has tried in vain several times: GET /v1/repair/failing. */
  failing: count,
  /** Servers whose chunks are still being looked at after a change: until it is 0, the counts may be too good. */
  checkingServers: count,
})

export const clusterStatus = z
  .object({
    /** The first page; `nextServer` leads on, with GET /v1/servers. */
    servers: z.array(serverInfo),
    nextServer: serverId.nullable(),
    /** `healthy`: all wanted copies live. `underReplicated`: at least one, fewer than wanted. `unavailable`: none. */
    chunks: z.object({ total: count, healthy: count, underReplicated: count, unavailable: count }),
    repair: repairStatus,
    jobs: z.array(jobInfo),
  })
  .meta({ id: 'ClusterStatus' })
export type ClusterStatus = z.infer<typeof clusterStatus>

export const getStatus = endpoint({
  name: 'getStatus',
  method: 'GET',
  path: '/v1/status',
  scope: 'read',
  tag: 'cluster',
  summary: 'Servers, chunk health, repair and jobs at a glance.',
  params: z.object({}),
  query: z.object({}),
  body: z.undefined(),
  result: clusterStatus,
})

export const getMetadata = endpoint({
  name: 'getMetadata',
  method: 'GET',
  path: '/v1/metadata',
  scope: 'read',
  tag: 'cluster',
  summary: 'How far the metadata is, the latest that any chunkserver has seen, and whether deletions are held back.',
  params: z.object({}),
  query: z.object({}),
  body: z.undefined(),
  result: z
    .object({
      own: metadataPosition,
      seen: metadataPosition,
      /** Since when nothing is deleted because this metadata was behind; null when deletions go on. */
      deletionsHeldSinceMs: timestampMs.nullable(),
    })
    .meta({ id: 'Metadata' }),
})

export const acceptMetadata = endpoint({
  name: 'acceptMetadata',
  method: 'POST',
  path: '/v1/metadata/accept',
  scope: 'admin',
  tag: 'cluster',
  summary:
    'Declares this metadata to be what counts, though chunkservers have seen later: deletions go on, chunks it does not know included.',
  params: z.object({}),
  query: z.object({}),
  body: z.undefined(),
  result: metadataPosition,
})

export const getSpace = endpoint({
  name: 'getSpace',
  method: 'GET',
  path: '/v1/space',
  scope: 'read',
  tag: 'cluster',
  summary: 'Space: what the disks have, and what takes it, all copies counted. Only fileBytes is logical, before replication.',
  params: z.object({}),
  query: z.object({}),
  body: z.undefined(),
  result: z
    .object({
      totalBytes: byteCount,
      usedBytes: byteCount,
      freeBytes: byteCount,
      files: count,
      fileBytes: byteCount,
      /**
       * What the bytes on the disks are: all copies of what files hold, of open uploads, of what only the trash holds, and
       * the rest: copies that are on their way out, surplus, damaged, unknown or in quarantine. The four sum to usedBytes.
       */
      liveBytes: byteCount,
      openUploadBytes: byteCount,
      trashBytes: byteCount,
      garbageBytes: byteCount,
    })
    .meta({ id: 'Space' }),
})

export const getChunk = endpoint({
  name: 'getChunk',
  method: 'GET',
  path: '/v1/chunks/:chunkId',
  scope: 'read',
  tag: 'chunks',
  summary: 'A chunk and every server that has a row for it.',
  params: z.object({ chunkId }),
  query: z.object({}),
  body: z.undefined(),
  result: z.object({
    id: chunkId,
    state: z.enum(['allocated', 'live', 'condemned', 'deleting']),
    sizeBytes: byteCount,
    root: checksum64.nullable(),
    replicas: z.array(z.object({ serverId, url: z.string(), serverState, state: z.enum(['good', 'corrupt', 'deleting']) })),
    capability: z.string(),
  }),
})

export const reportBadReplica = endpoint({
  name: 'reportBadReplica',
  method: 'POST',
  path: '/v1/chunks/:chunkId/doubts',
  scope: 'read',
  tag: 'chunks',
  summary: "A reader doubts a copy. Its server re-checks it from disk; the reader's word alone condemns nothing.",
  params: z.object({ chunkId }),
  query: z.object({}),
  body: z.object({ serverId, code: z.string().max(64) }),
  result: z.object({ queued: z.boolean() }),
})

export const createJob = endpoint({
  name: 'createJob',
  method: 'POST',
  path: '/v1/jobs',
  scope: 'write',
  tag: 'jobs',
  summary:
    'Deletes, renames or copies everything under a prefix, file by file. Not atomic; goes on after a restart of the master.',
  params: z.object({}),
  query: z.object({}),
  body: z.discriminatedUnion('kind', [
    z.object({ kind: z.literal('delete-prefix'), from: path, purge: z.boolean() }),
    z.object({ kind: z.literal('rename-prefix'), from: path, to: path, overwrite: z.boolean() }),
    z.object({ kind: z.literal('copy-prefix'), from: path, to: path, overwrite: z.boolean() }),
  ]),
  result: jobInfo,
})

export const getJob = endpoint({
  name: 'getJob',
  method: 'GET',
  path: '/v1/jobs/:jobId',
  scope: 'read',
  tag: 'jobs',
  summary: 'How far a job is.',
  params: z.object({ jobId }),
  query: z.object({}),
  body: z.undefined(),
  result: jobInfo,
})
