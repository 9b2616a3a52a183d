/**
 * `cairn-storage/testing`: a real cluster for other people's tests, with faults at their command. What is exported here is
 * the public face; the rest of this folder may change.
 */
export { startCluster } from './start-cluster.js'
export { Cluster, type RestartOptions, type Target, type WaitOptions } from './cluster.js'
export type { TestMember } from './member.js'
export type { TestClusterOptions, TestTimers } from './options.js'
export type { ChunkCopy, CorruptOptions, Damage } from './damage.js'
export type { DiskOperation, DiskTarget } from './disk-faults.js'
export type { PartitionOptions } from './network/partition.js'
