/** The named operations, each one transaction. The keys are their names, in logs and metrics too. */
import { deleteBucket, getBucket, listBuckets, putBucket } from './buckets.js'
import { commitUpload } from './commit.js'
import { pruneRequests, type OperationContext } from './context.js'
import { collectManifests, condemnAllocations, condemnOrphans, handOutDeletions, listDeletions, markDeleting } from './garbage.js'
import { chunkHealth, deferRepairs, listMovable, listUnhealthy, sweepServers, wakeRepairs } from './health.js'
import { createJob, getJob, listJobs, pruneJobs, stepJobs } from './jobs.js'
import { releaseLease, takeLease } from './leases.js'
import { listPage } from './listing.js'
import { findManifestChunk, listManifestChunks } from './manifests.js'
import { copyFile, deleteFile, pruneRetiredNames, purgeTrash, renameFile, shortenTrash, statFile, undeleteFile } from './names.js'
import { addReplica, applyChanges, applyShardReport, getChunk, shardChunkIds } from './replicas.js'
import { getRepairSpeed, listFailing, setRepairSpeed } from './repairs.js'
import { forgetRemoved, intendServer, isDrained, surveyServer } from './server-life.js'
import { finishUpload, startUpload } from './short-uploads.js'
import { giveBackSurplus, listReplacedCorruptReplicas, trimReplica } from './surplus.js'
import { listServers, recordBeats, registerServer, setServerStates } from './servers.js'
import {
  acceptMetadata,
  deletionsHeldSince,
  ensureCluster,
  ensureKeys,
  findToken,
  hasTokens,
  holdDeletions,
  putToken,
  readPosition,
  spaceUse,
} from './system.js'
import { allocateChunks, listUploadChunks, reportChunks } from './upload-chunks.js'
import { abortUpload, expireUploads, getUpload, keepUpload, listUploads, openUpload } from './uploads.js'
import type { Operation } from '../engine/statement.js'

// Operations without arguments are wrapped to take an (ignored) empty object, so that all have one shape.
const plain =
  <R>(operation: () => Operation<R>) =>
  (_ctx: OperationContext, _args: Record<string, never>): Operation<R> =>
    operation()

/** Operations that write. Run one after another, many to a synced transaction. */
export const writes = {
  ensureCluster: (ctx: OperationContext, _args: Record<string, never>) => ensureCluster(ctx),
  ensureKeys,
  takeLease,
  releaseLease,
  holdDeletions,
  acceptMetadata,
  putToken,
  putBucket,
  deleteBucket,
  deleteFile,
  copyFile,
  renameFile,
  undeleteFile,
  purgeTrash,
  shortenTrash,
  openUpload,
  keepUpload,
  startUpload,
  allocateChunks,
  reportChunks,
  commitUpload,
  finishUpload,
  abortUpload,
  expireUploads,
  registerServer,
  setServerStates,
  intendServer,
  forgetRemoved,
  setRepairSpeed,
  recordBeats,
  addReplica,
  applyChanges,
  applyShardReport,
  sweepServers,
  deferRepairs,
  wakeRepairs: plain(wakeRepairs),
  trimReplica,
  giveBackSurplus,
  handOutDeletions,
  collectManifests,
  condemnAllocations,
  condemnOrphans,
  markDeleting,
  createJob,
  stepJobs,
  pruneJobs,
  pruneRequests,
  pruneRetiredNames,
} as const

/** Operations that only read. They see every write that has been answered. */
export const reads = {
  readPosition: plain(readPosition),
  deletionsHeldSince: plain(deletionsHeldSince),
  findToken,
  hasTokens: plain(hasTokens),
  getBucket,
  listBuckets,
  statFile,
  listPage,
  listManifestChunks,
  findManifestChunk,
  getUpload,
  listUploads,
  listUploadChunks,
  listServers: plain(listServers),
  getChunk,
  shardChunkIds,
  listUnhealthy,
  listMovable,
  listFailing,
  getRepairSpeed: plain(getRepairSpeed),
  surveyServer,
  isDrained,
  chunkHealth: plain(chunkHealth),
  listDeletions,
  listReplacedCorruptReplicas,
  getJob,
  listJobs,
  spaceUse: plain(spaceUse),
} as const

export type Writes = typeof writes
export type Reads = typeof reads
export type WriteName = keyof Writes
export type ReadName = keyof Reads

/**
 * What an idle cluster writes all the time does not raise the position: an older database, put back, would otherwise soon
 * have passed what chunkservers have seen of the newer one.
 */
export const QUIET_WRITES: ReadonlySet<WriteName> = new Set<WriteName>([
  'recordBeats',
  'handOutDeletions',
  'takeLease',
  'releaseLease',
])
