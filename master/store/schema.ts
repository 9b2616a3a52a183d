/**
 * The tables of the metadata, as Kysely types. What each column means stands in docs/formats/metadata-schema.md.
 * Ids are 16 raw bytes (those made in here begin with the time, see engine/write-batch.ts), chunk roots 8, times milliseconds since the epoch by the store's clock.
 */

export const ChunkState = { allocated: 0, live: 1, condemned: 2, deleting: 3 } as const
/** `surplus`: given up while its chunk lives. It counts no more, and is given back if the others die before it is gone. */
export const ReplicaState = { good: 0, corrupt: 1, deleting: 2, orphan: 3, surplus: 4 } as const
export const UploadState = { open: 0, committed: 1, aborted: 2 } as const
export const ManifestState = { draft: 0, sealed: 1, garbage: 2 } as const
/**
 * Why a chunk is in the health table. `leaving`: it has its live copies, some of them on servers that are being drained.
 * `misplaced`: its copies lie in fewer failure domains than there are. `rebalance` is never stored: such moves are drawn
 * when nothing else is to be done.
 */
export const HealthClass = {
  lastCopy: 0,
  belowGoal: 1,
  waiting: 2,
  unavailable: 3,
  surplus: 4,
  leaving: 5,
  misplaced: 6,
  rebalance: 7,
} as const

export interface MetaTable {
  id: number
  cluster_id: Uint8Array
  metadata_epoch: number
  /** Rises with every committed batch that changed more than heartbeats: the log position that chunkservers remember. */
  position: number
  created_ms: number
  /** Since when nothing is deleted, because chunkservers have seen later metadata than this; null: never, or decided since. */
  held_ms: number | null
}

export interface SettingTable {
  name: string
  value: string
}

export interface SigningKeyTable {
  key_id: string
  kind: string
  secret: string
  created_ms: number
}

export interface TokenTable {
  hash: string
  name: string
  scopes: string
  created_ms: number
}

export interface BucketTable {
  name: string
  replicas: number
  min_replicas: number
  chunk_size_bytes: number
  trash_days: number
  created_ms: number
}

/** What a file's newest generation is, wherever it stands: in the namespace or in the trash. */
export interface FileColumns {
  path: string
  file_id: Uint8Array
  generation: number
  manifest_id: Uint8Array
  size_bytes: number
  chunk_size_bytes: number
  chunk_count: number
  checksum: string
  replicas: number
  created_ms: number
  modified_ms: number
}

export type NameTable = FileColumns

export interface TrashTable extends FileColumns {
  trash_id: Uint8Array
  deleted_ms: number
  purge_ms: number
}

/** A name that stood for a file: the next file there gets a higher generation, so that no old entity tag fits it. */
export interface RetiredNameTable {
  path: string
  generation: number
  retired_ms: number
}

export interface ManifestTable {
  manifest_id: Uint8Array
  state: number
  /** How many names and trash entries hold it. At 0 it becomes garbage. */
  reference_count: number
  size_bytes: number
  chunk_count: number
  /** Of garbage: when its last reference went; 0 when nobody can be reading it. */
  released_ms: number
  /** How many of the references are trash entries. When all of them are, its bytes are the trash's. */
  trash_count: number
  /** Bytes that all wanted copies of its chunks take on disks, footers and padding included. */
  stored_bytes: number
}

export interface ManifestChunkTable {
  manifest_id: Uint8Array
  chunk_index: number
  chunk_id: Uint8Array
  offset_bytes: number
  length_bytes: number
  root: Uint8Array
}

export interface ChunkTable {
  chunk_id: Uint8Array
  upload_id: Uint8Array
  chunk_index: number
  length_bytes: number
  root: Uint8Array | null
  state: number
  wanted: number
  changed_ms: number
}

export interface ReplicaTable {
  server_no: number
  chunk_id: Uint8Array
  disk_no: number
  state: number
  store_seq: number
  changed_ms: number
}

export interface ServerTable {
  server_no: number
  server_id: Uint8Array
  instance_id: string
  incarnation: number
  url: string
  zone: string
  rack: string
  host: string
  state: string
  receipt_key_id: string
  receipt_secret: string
  registered_ms: number
  heartbeat_ms: number | null
  used_bytes: number
  free_bytes: number
  chunk_count: number
  seen_epoch: number
  seen_position: number
  /** While not null, the chunks of this server above it wait to be reassessed after a change of its state. */
  sweep_after: Uint8Array | null
  /** What the operator wants of it, whatever its state is at the moment. */
  intent: string
  /** Of maintenance: when the grace ends. */
  intent_until_ms: number | null
  /** Copies that it held when the operator's wish was told: what progress is measured by. */
  intent_chunks: number
}

export interface DiskTable {
  disk_no: number
  disk_id: Uint8Array
  server_no: number
  path: string
  state: string
  /** 1 while copies on it count as live: disk in order, server serving or draining. */
  serving: number
  /** 1 while copies on it are expected back soon: as above, or server suspect or in maintenance. */
  reachable: number
  /** 1 while copies on it count as live and are to stay: as `serving`, and the server is not being drained. */
  lasting: number
}

/** How many failure domains of each level have servers, up to a bound: what a chunk's copies can be spread over. */
export interface DomainTable {
  level: string
  available: number
}

export interface UploadTable {
  upload_id: Uint8Array
  path: string
  owner: string
  fingerprint: string | null
  size_bytes: number | null
  uploaded_bytes: number
  chunk_size_bytes: number
  replicas: number
  min_replicas: number
  writer_epoch: number
  precondition: string
  manifest_id: Uint8Array
  state: number
  created_ms: number
  active_ms: number
  /** Bytes that all wanted copies of the draft's chunks take on disks. */
  stored_bytes: number
}

export interface RequestTable {
  request_id: string
  operation: string
  digest: string
  result: string
  expires_ms: number
}

export interface HealthTable {
  chunk_id: Uint8Array
  class: number
  serving: number
  /** Good copies on disks that are expected to be there. */
  reachable: number
  wanted: number
  attempts: number
  next_ms: number
  last_error: string | null
  since_ms: number
  /** The chunk's, which never changes. */
  length_bytes: number
}

export interface JobTable {
  job_id: Uint8Array
  kind: string
  from_prefix: string
  to_prefix: string | null
  flag: number
  state: string
  /** The last path that it has done; empty before the first. */
  cursor: string
  processed: number
  skipped: number
  error: string | null
  created_ms: number
}

/** The sum over all lanes counts. */
export interface CounterTable {
  name: string
  lane: number
  value: number
}

export interface ChangeLogTable {
  /** Which writer wrote it, and its how manieth row it is. Of rows of one file, those of later generations come later. */
  lane: number
  sequence: number
  time_ms: number
  kind: string
  path: string
  data: string
}

/** Writers that work at the same time, each with a lane of its own. Empty in the embedded store, which has but one. */
export interface LaneTable {
  lane: number
  /** Which process holds it, and when it was last seen to. */
  owner: string
  active_ms: number
  /** The last write that was committed in it: by this one finds out what became of a commit whose answer was lost. */
  last_write: string
  /** How many writes it has committed. All of them and `meta.position` together are the metadata's position. */
  position: number
}

/** Who of several masters may do what only one may at a time. */
export interface LeaseTable {
  name: string
  holder: string
  /** How others reach the holder. */
  address: string
  /** Rises with each change of hands. Checked in every write that is made under the lease. */
  term: number
  /** By the database's clock. */
  expires_ms: number
}

export interface Schema {
  meta: MetaTable
  settings: SettingTable
  signing_keys: SigningKeyTable
  tokens: TokenTable
  buckets: BucketTable
  names: NameTable
  trash: TrashTable
  retired_names: RetiredNameTable
  manifests: ManifestTable
  manifest_chunks: ManifestChunkTable
  chunks: ChunkTable
  replicas: ReplicaTable
  servers: ServerTable
  disks: DiskTable
  domains: DomainTable
  uploads: UploadTable
  requests: RequestTable
  health: HealthTable
  jobs: JobTable
  counters: CounterTable
  change_log: ChangeLogTable
  lanes: LaneTable
  leases: LeaseTable
}
