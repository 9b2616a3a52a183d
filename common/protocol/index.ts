/** Every endpoint of the master's API, in one table: routes, client types and the OpenAPI document come from it. */
import * as admin from './admin.js'
import * as batch from './batch.js'
import * as buckets from './buckets.js'
import * as cluster from './cluster.js'
import type { Endpoint } from './endpoint.js'
import * as files from './files.js'
import * as servers from './servers.js'
import * as uploads from './uploads.js'

export const endpoints = {
  getFile: files.getFile,
  deleteFile: files.deleteFile,
  listFiles: files.listFiles,
  copyFile: files.copyFile,
  renameFile: files.renameFile,
  undeleteFile: files.undeleteFile,
  listManifestChunks: files.listManifestChunks,
  findManifestChunk: files.findManifestChunk,
  openUpload: uploads.openUpload,
  listUploads: uploads.listUploads,
  listUploadChunks: uploads.listUploadChunks,
  allocateChunks: uploads.allocateChunks,
  reportChunks: uploads.reportChunks,
  keepUpload: uploads.keepUpload,
  commitUpload: uploads.commitUpload,
  abortUpload: uploads.abortUpload,
  listBuckets: buckets.listBuckets,
  getBucket: buckets.getBucket,
  putBucket: buckets.putBucket,
  deleteBucket: buckets.deleteBucket,
  registerServer: cluster.registerServer,
  heartbeat: cluster.heartbeat,
  reportShard: cluster.reportShard,
  listServers: admin.listServers,
  planServer: servers.planServer,
  changeServer: servers.changeServer,
  getRepair: servers.getRepair,
  setRepair: servers.setRepair,
  listFailingChunks: servers.listFailingChunks,
  getStatus: admin.getStatus,
  getSpace: admin.getSpace,
  getChunk: admin.getChunk,
  reportBadReplica: admin.reportBadReplica,
  getMetadata: admin.getMetadata,
  acceptMetadata: admin.acceptMetadata,
  createJob: admin.createJob,
  getJob: admin.getJob,
  batch: batch.batch,
} as const

export type Endpoints = typeof endpoints
export type EndpointName = keyof Endpoints

export interface EndpointTypes<E> {
  params: E extends Endpoint<infer P, infer _Q, infer _B, infer _R> ? P : never
  query: E extends Endpoint<infer _P, infer Q, infer _B, infer _R> ? Q : never
  body: E extends Endpoint<infer _P, infer _Q, infer B, infer _R> ? B : never
  result: E extends Endpoint<infer _P, infer _Q, infer _B, infer R> ? R : never
}
