/** The conversation of a chunkserver with its master: register, heartbeat, report. Commands travel in heartbeat answers. */
import { z } from 'zod'
import type { ChunkId } from '../ids.js'
import { receipt } from './chunk-data.js'
import { endpoint } from './endpoint.js'
import {
  byteCount,
  checksum64,
  chunkId,
  clusterId,
  count,
  diskId,
  label,
  serverId,
  taskId,
  timestampMs,
  uploadId,
} from './schemas.js'

export const PROTOCOL_VERSION = 1

export const serverState = z.enum(['starting', 'serving', 'suspect', 'dead', 'draining', 'maintenance', 'decommissioned'])
export type ServerState = z.infer<typeof serverState>

/** Where the scrub of a disk is: it reads every leaf, over and over. */
export const diskScrub = z.object({
  /** Of the present pass. */
  startedMs: timestampMs,
  checkedBytes: byteCount,
  totalBytes: byteCount,
  /** Bad and missing copies found in this pass. */
  errors: count,
  /** When the last whole pass ended, and what it found; absent before the first. */
  last: z.object({ finishedMs: timestampMs, checkedBytes: byteCount, errors: count }).optional(),
})
export type DiskScrub = z.infer<typeof diskScrub>

export const diskReport = z.object({
  diskId,
  path: z.string(),
  state: z.enum(['ok', 'full', 'failed']),
  totalBytes: byteCount,
  /** What may still be written: the file system's free space less the reserve, within the configured capacity. */
  freeBytes: byteCount,
  /** Bytes of good chunk files. With the three below: all that chunks, past and present, take on the disk. Absent means none. */
  usedBytes: byteCount,
  chunkCount: count,
  /** Bytes of bad copies that still lie in place, so that their good leaves can be read. */
  corruptBytes: byteCount.optional(),
  /** Bytes of copies out of service that are kept for a while. */
  quarantineBytes: byteCount.optional(),
  /** Bytes of chunks that are being written. */
  temporaryBytes: byteCount.optional(),
  /** Why the disk is not in order, in words. */
  reason: z.string().optional(),
  /** How long three of four operations take at most of late, or for how long one has hung already if that is longer. */
  latencyMs: z.number().min(0).optional(),
  scrub: diskScrub.optional(),
})
export type DiskReport = z.infer<typeof diskReport>

/** The furthest state of the metadata that a server has seen. A master behind it must not delete anything. */
export const metadataPosition = z.object({ epoch: count, position: count })
export type MetadataPosition = z.infer<typeof metadataPosition>

export const isLater = (one: MetadataPosition, other: MetadataPosition): boolean =>
  one.epoch > other.epoch || (one.epoch === other.epoch && one.position > other.position)

export const signingKey = z.object({ keyId: z.string(), secret: z.string().regex(/^[0-9a-f]{64}$/) })

const registerBody = z.object({
  protocolVersion: z.number().int(),
  /** Null on the first start of an empty data directory. */
  serverId: serverId.nullable(),
  clusterId: clusterId.nullable(),
  /** Random, new with each process: tells a restart from a copy of the data directory. */
  instanceId: z.string().max(64),
  url: z.string().url(),
  zone: label,
  rack: label,
  host: label,
  disks: z.array(diskReport).min(1).max(256),
  seen: metadataPosition,
})
export type RegisterBody = z.infer<typeof registerBody>

/** How much re-replication may take for itself while clients are at work. */
export const repairSpeed = z.enum(['gentle', 'balanced', 'fast'])
export type RepairSpeed = z.infer<typeof repairSpeed>

export const repairBudget = z.object({
  speed: repairSpeed,
  /** What one server may send at most for repair; null: a share of what its disks can do. */
  bytesPerSecondMax: z.number().int().min(1).nullable(),
})
export type RepairBudgetSettings = z.infer<typeof repairBudget>

export const clusterSettings = z.object({
  heartbeatIntervalMs: z.number().int().min(1),
  deadAfterMs: z.number().int().min(1),
  repair: repairBudget.default({ speed: 'balanced', bytesPerSecondMax: null }),
})
export type ClusterSettings = z.infer<typeof clusterSettings>

export const registerServer = endpoint({
  name: 'registerServer',
  method: 'POST',
  path: '/v1/servers/register',
  scope: 'server',
  tag: 'cluster',
  summary: 'A chunkserver joins, or comes back after a restart.',
  params: z.object({}),
  query: z.object({}),
  body: registerBody,
  result: z.object({
    serverId,
    clusterId,
    /** Counts the starts of this server's process; write capabilities are bound to it. */
    incarnation: z.number().int().min(1),
    receiptKey: signingKey,
    capabilityKeys: z.array(signingKey),
    masterTimeMs: timestampMs,
    metadata: metadataPosition,
    settings: clusterSettings,
  }),
})
export type RegisterResult = z.infer<typeof registerServer.result>

const storedCopy = { chunkId, diskId, lengthBytes: byteCount, root: checksum64 }

/** One change of a chunk store. `sequence` rises by one with each change of a server, over restarts too. */
export const storeChange = z.discriminatedUnion('kind', [
  z.object({ kind: z.literal('added'), sequence: count, ...storedCopy }),
  z.object({ kind: z.literal('removed'), sequence: count, chunkId }),
  /** Checked from disk and found bad; set aside, not deleted. */
  z.object({ kind: z.literal('corrupt'), sequence: count, chunkId }),
])
export type StoreChange = z.infer<typeof storeChange>

export const CHANGES_PER_HEARTBEAT_MAX = 2000
/** Where an incarnation's sequence begins: room for four billion changes in each, below 2^53. */
export const SEQUENCES_PER_INCARNATION = 2 ** 32
/** Chunk ids are compared by their first byte: 256 shards. */
export const SHARD_COUNT = 256
export const shardOf = (id: ChunkId): number => Number.parseInt(id.slice(0, 2), 16)

/** Count and combined hash of the copies in a shard, as of a store sequence. */
export const shardDigest = z.object({
  shard: z
    .number()
    .int()
    .min(0)
    .max(SHARD_COUNT - 1),
  count,
  hash: checksum64,
})
export type ShardDigest = z.infer<typeof shardDigest>

export const taskResult = z.discriminatedUnion('kind', [
  z.object({ kind: z.literal('replicated'), taskId, receipt }),
  z.object({ kind: z.literal('failed'), taskId, code: z.string(), message: z.string() }),
])
export type TaskResult = z.infer<typeof taskResult>

/** What a chunkserver is asked to do. Each may arrive twice, or late: the guards are in the command. */
export const command = z.discriminatedUnion('kind', [
  /** Read a chunk, verifying it, and send it to another server along the ordinary write path. */
  z.object({
    kind: z.literal('replicate'),
    taskId,
    chunkId,
    target: z.object({ serverId, url: z.string() }),
    capability: z.string(),
    /** The only live copy: it does not wait for clients. */
    urgent: z.boolean().default(false),
  }),
  /** Move chunk files to quarantine. Refused by another incarnation, for an older metadata position, or when expired. */
  z.object({
    kind: z.literal('delete'),
    chunkIds: z.array(chunkId),
    incarnation: count,
    metadata: metadataPosition,
    expiresMs: timestampMs,
  }),
  /** Check copies from disk, leaf by leaf, and report what is bad. */
  z.object({ kind: z.literal('verify'), chunkIds: z.array(chunkId) }),
  /** Send the list of copies in these shards. */
  z.object({
    kind: z.literal('report'),
    shards: z.array(
      z
        .number()
        .int()
        .min(0)
        .max(SHARD_COUNT - 1),
    ),
  }),
])
export type Command = z.infer<typeof command>

const heartbeatBody = z.object({
  incarnation: count,
  load: z.object({ writes: count, reads: count }),
  disks: z.array(diskReport).max(256),
  changes: z.array(storeChange).max(CHANGES_PER_HEARTBEAT_MAX),
  results: z.array(taskResult).max(1000),
  /** Tasks begun and not ended, as of `results`. */
  tasks: z.array(taskId).max(10_000).default([]),
  /** As of the last change in `changes` (and all before). Empty while more changes wait than fit. */
  digests: z.array(shardDigest).max(SHARD_COUNT),
  seen: metadataPosition,
})
export type HeartbeatBody = z.infer<typeof heartbeatBody>

export const heartbeat = endpoint({
  name: 'heartbeat',
  method: 'POST',
  path: '/v1/servers/:serverId/heartbeat',
  scope: 'server',
  tag: 'cluster',
  summary: 'Alive; load, space, changes and finished tasks. The answer carries commands.',
  params: z.object({ serverId }),
  query: z.object({}),
  body: heartbeatBody,
  result: z.object({
    masterTimeMs: timestampMs,
    metadata: metadataPosition,
    settings: clusterSettings,
    capabilityKeys: z.array(signingKey),
    commands: z.array(command),
  }),
})
export type HeartbeatResult = z.infer<typeof heartbeat.result>

export const reportShard = endpoint({
  name: 'reportShard',
  method: 'POST',
  path: '/v1/servers/:serverId/report',
  scope: 'server',
  tag: 'cluster',
  summary: 'All copies in one shard, as of a store sequence.',
  params: z.object({ serverId }),
  query: z.object({}),
  body: z.object({
    incarnation: count,
    shard: z
      .number()
      .int()
      .min(0)
      .max(SHARD_COUNT - 1),
    asOfSequence: count,
    copies: z.array(z.object(storedCopy)),
  }),
  result: z.object({ added: count, removed: count }),
})

/** Kept for readers of footers: which upload a chunk came from. */
export const chunkOrigin = z.object({ uploadId, chunkIndex: count })
