/**
 * A namespace of any size without its uploads: empty files, written by SQL into the master's own schema as its
 * migrations make it. Through the API ten million would take the better part of an hour.
 */
import { sqliteConnection } from '../../master/index.js'

/** How many files lie under one prefix. */
const FILES_PER_DIRECTORY = 1000
const CREATED_MS = Date.UTC(2026, 0, 1)
/** The file checksum of an empty file. */
const EMPTY = 'xxh64-tree:ef46db3751d8e999'

const digits = (value: number, count: number): string => String(value).padStart(count, '0')

/** The path of file `index`; in ascending order of the index. */
export const syntheticPath = (bucket: string, index: number): string =>
  `/${bucket}/d${digits(Math.floor(index / FILES_PER_DIRECTORY), 7)}/f${digits(index, 10)}`

/** Adds a bucket with `entries` files to the database at `file`, which is made when there is none. No master may run on it. */
export async function fillBucket(file: string, bucket: string, entries: number): Promise<void> {
  const connection = await sqliteConnection(file)
  try {
    const { native } = connection
    // Nothing is lost when this is cut short: the run ends, and the directory with it.
    native.pragma('synchronous = OFF')
    const sequence = `with recursive sequence(i) as (select 0 union all select i + 1 from sequence where i + 1 < ${entries})`
    const id = (kind: string): string => `unhex(printf('%08x%08x%016x', i, ${bucketNumber(bucket)}, ${kind}))`
    const path = `printf('/${bucket}/d%07d/f%010d', i / ${FILES_PER_DIRECTORY}, i)`
    native.exec(`begin;
      insert into buckets (name, replicas, min_replicas, chunk_size_bytes, trash_days, created_ms)
        values ('${bucket}', 3, 2, 67108864, 3, ${CREATED_MS});
      ${sequence} insert into manifests (manifest_id, state, reference_count, size_bytes, chunk_count, released_ms)
        select ${id('1')}, 1, 1, 0, 0, 0 from sequence;
      ${sequence} insert into names (path, file_id, generation, manifest_id, size_bytes, chunk_size_bytes, chunk_count, checksum,
          replicas, created_ms, modified_ms)
        select ${path}, ${id('2')}, 1, ${id('1')}, 0, 67108864, 0, '${EMPTY}', 3, ${CREATED_MS}, ${CREATED_MS} from sequence;
      insert into counters (name, lane, value) values ('files', 0, ${entries}) on conflict (name, lane) do update set value = value + excluded.value;
      commit`)
  } finally {
    connection.close()
  }
}

/** Keeps the ids of several buckets apart. */
const bucketNumber = (bucket: string): number => [...bucket].reduce((hash, letter) => (hash * 31 + letter.charCodeAt(0)) >>> 0, 7)
