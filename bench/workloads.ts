/** All workloads, by name. */
import { commitMetadata } from './system/commit-metadata.js'
import { downloadStream } from './system/download-stream.js'
import { masterScale } from './system/master-scale.js'
import { metadataCreate } from './system/metadata-create.js'
import { metadataList } from './system/metadata-list.js'
import { metadataStat } from './system/metadata-stat.js'
import { repairImpact } from './system/repair-impact.js'
import { repairRecovery } from './system/repair-recovery.js'
import { smallFiles } from './system/small-files.js'
import { thousandServers } from './system/thousand-servers.js'
import { uploadMemory } from './system/upload-memory.js'
import { uploadStream } from './system/upload-stream.js'
import type { Workload } from './workload.js'

export const WORKLOADS: readonly Workload[] = [
  uploadStream,
  uploadMemory,
  downloadStream,
  commitMetadata,
  metadataCreate,
  metadataStat,
  metadataList,
  masterScale,
  thousandServers,
  repairRecovery,
  repairImpact,
  smallFiles,
]
