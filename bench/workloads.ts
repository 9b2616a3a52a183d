/** All workloads, by name. */
import { commitMetadata } from './system/commit-metadata.js'
import { downloadRange } from './system/download-range.js'
import { downloadStream } from './system/download-stream.js'
import { masterScale } from './system/master-scale.js'
import { metadataCreate } from './system/metadata-create.js'
import { metadataList } from './system/metadata-list.js'
import { metadataStat } from './system/metadata-stat.js'
import { repairImpact } from './system/repair-impact.js'
import { repairRecovery } from './system/repair-recovery.js'
import { scrub } from './system/scrub.js'
import { smallFiles } from './system/small-files.js'
import { thousandServers } from './system/thousand-servers.js'
import { uploadClients } from './system/upload-clients.js'
import { uploadMemory } from './system/upload-memory.js'
import { uploadStream } from './system/upload-stream.js'
import { uploadTree } from './system/upload-tree.js'
import type { Workload } from './workload.js'

export const WORKLOADS: readonly Workload[] = [
  uploadStream,
  uploadClients,
  uploadMemory,
  uploadTree,
  downloadStream,
  downloadRange,
  scrub,
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
