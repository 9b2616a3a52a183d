/** The first schema. Rows are looked up by what they are keyed on; every other access path has its index here. */
import type { Flavour } from './flavour.js'

const fileColumns = `
  file_id blob not null, generation bigint not null, manifest_id blob not null, size_bytes bigint not null,
  chunk_size_bytes bigint not null, chunk_count bigint not null, checksum text not null, replicas integer not null,
  created_ms bigint not null, modified_ms bigint not null`

const TABLES: readonly string[] = [
  `meta (id integer primary key, cluster_id blob not null, metadata_epoch bigint not null, position bigint not null, created_ms bigint not null,
     held_ms bigint)`,
  `settings (name text primary key, value text not null)`,
  `signing_keys (key_id text primary key, kind text not null, secret text not null, created_ms bigint not null)`,
  `tokens (hash text primary key, name text not null, scopes text not null, created_ms bigint not null)`,
  `buckets (name text primary key, replicas integer not null, min_replicas integer not null, chunk_size_bytes bigint not null,
     trash_days real not null, created_ms bigint not null)`,
  `names (path text primary key, ${fileColumns})`,
  `trash (trash_id blob primary key, path text not null, deleted_ms bigint not null, purge_ms bigint not null, ${fileColumns})`,
  `retired_names (path text primary key, generation bigint not null, retired_ms bigint not null)`,
  `manifests (manifest_id blob primary key, state integer not null, reference_count bigint not null, size_bytes bigint not null, chunk_count bigint not null,
     released_ms bigint not null)`,
  `manifest_chunks (manifest_id blob not null, chunk_index bigint not null, chunk_id blob not null, offset_bytes bigint not null,
     length_bytes bigint not null, root blob not null, primary key (manifest_id, chunk_index))`,
  `chunks (chunk_id blob primary key, upload_id blob not null, chunk_index bigint not null, length_bytes bigint not null, root blob,
     state integer not null, wanted integer not null, changed_ms bigint not null)`,
  `replicas (server_no integer not null, chunk_id blob not null, disk_no integer not null, state integer not null, store_seq bigint not null,
     changed_ms bigint not null, primary key (server_no, chunk_id))`,
  `servers (server_no integer primary key, server_id blob not null unique, instance_id text not null, incarnation bigint not null, url text not null,
     zone text not null, rack text not null, host text not null, state text not null, receipt_key_id text not null, receipt_secret text not null,
     registered_ms bigint not null, heartbeat_ms bigint, used_bytes bigint not null, free_bytes bigint not null, chunk_count bigint not null,
     seen_epoch bigint not null, seen_position bigint not null, sweep_after blob)`,
  `disks (disk_no integer primary key, disk_id blob not null unique, server_no integer not null, path text not null, state text not null,
     serving integer not null, reachable integer not null)`,
  `uploads (upload_id blob primary key, path text not null, owner text not null, fingerprint text, size_bytes bigint, uploaded_bytes bigint not null,
     chunk_size_bytes bigint not null, replicas integer not null, min_replicas integer not null, writer_epoch bigint not null,
     precondition text not null, manifest_id blob not null, state integer not null, created_ms bigint not null, active_ms bigint not null)`,
  `requests (request_id text primary key, operation text not null, digest text not null, result text not null, expires_ms bigint not null)`,
  `health (chunk_id blob primary key, class integer not null, serving integer not null, wanted integer not null, attempts integer not null,
     next_ms bigint not null, last_error text, since_ms bigint not null)`,
  `jobs (job_id blob primary key, kind text not null, from_prefix text not null, to_prefix text, flag integer not null, state text not null,
     cursor text not null, processed bigint not null, skipped bigint not null, error text, created_ms bigint not null)`,
  `counters (name text primary key, value bigint not null)`,
  `change_log (position bigint primary key, time_ms bigint not null, kind text not null, path text not null, data text not null)`,
]

/** Small or append-only tables keep SQLite's rowid order. All others are stored in key order, which SQLite calls WITHOUT ROWID. */
const ROWID_TABLES = new Set(['meta', 'servers', 'disks', 'change_log'])

const INDEXES: readonly string[] = [
  `trash_by_path on trash (path, deleted_ms)`,
  `trash_by_purge on trash (purge_ms)`,
  `retired_names_by_time on retired_names (retired_ms)`,
  `manifests_garbage on manifests (released_ms) where state = 2`,
  `manifest_chunks_by_chunk on manifest_chunks (chunk_id)`,
  `chunks_not_live on chunks (state, changed_ms) where state <> 1`,
  `chunks_by_upload on chunks (upload_id)`,
  `replicas_by_chunk on replicas (chunk_id)`,
  `replicas_not_good on replicas (server_no, state, changed_ms) where state <> 0`,
  `disks_by_server on disks (server_no)`,
  `uploads_by_path on uploads (path) where state = 0`,
  `uploads_by_activity on uploads (active_ms) where state = 0`,
  `uploads_ended on uploads (active_ms) where state <> 0`,
  `requests_by_expiry on requests (expires_ms)`,
  `health_by_class on health (class, next_ms)`,
]

export const initial = (flavour: Flavour): readonly string[] => [
  ...TABLES.map((table) => {
    const name = table.slice(0, table.indexOf(' '))
    return `create table ${table}${ROWID_TABLES.has(name) ? '' : flavour.inKeyOrder}`
  }),
  ...INDEXES.map((index) => `create index ${index}`),
]
