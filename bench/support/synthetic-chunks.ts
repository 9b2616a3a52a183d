/**
 * Metadata of files with chunks on all servers, of any amount, written by SQL into the master's own schema as its
 * migrations make it; through the API a petabyte of it would take hours. Five files have eight chunks, each chunk three
 * copies on servers 1 to N, chosen so that those of one server are shared with all others.
 */
import { closeSync, fsyncSync, openSync } from 'node:fs'
import type { Checksum64 } from '../../common/checksum/xxh64.js'
import type { ChunkId } from '../../common/ids.js'
import { storedChunkBytes } from '../../common/protocol/stored-size.js'
import { MiB } from '../../common/units.js'
import type { sqliteConnection } from '../../master/index.js'

type Connection = Awaited<ReturnType<typeof sqliteConnection>>

export const SYNTHETIC_CHUNK_BYTES = 64 * MiB
export const SYNTHETIC_BUCKET = 'petabyte'
const COPIES = 3
const CREATED_MS = Date.UTC(2026, 0, 1)
const FILES_PER_GROUP = 5
const CHUNKS_PER_GROUP = 8

export const chunkCountOf = (files: number): number => (files / FILES_PER_GROUP) * CHUNKS_PER_GROUP

/** The root of a synthetic chunk is the first half of its id. */
export const syntheticChunk = (chunkId: ChunkId) => ({
  lengthBytes: SYNTHETIC_CHUNK_BYTES,
  root: chunkId.slice(0, 16) as Checksum64,
})

/**
 * @param connection to a database in which `servers` servers have registered, numbered from 1, each with one disk
 * @param files a multiple of five @param say told of each table
 */
export function fillChunks(connection: Connection, files: number, servers: number, say: (line: string) => void): void {
  const { native } = connection
  const chunks = chunkCountOf(files)
  // Nothing is lost when this is cut short: the run ends, and the directory with it. What is in memory goes on being used.
  if (!native.memory) {
    if (native.pragma('journal_mode = MEMORY', { simple: true }) !== 'memory')
      throw new Error('another process is at the database')
    native.pragma('synchronous = OFF')
    native.pragma('cache_size = -1000000')
  }
  const upTo = (count: number): string => `with recursive s(i) as (select 0 union all select i + 1 from s where i + 1 < ${count})`
  /** An id that rises with `i` and spreads over all shards. */
  const id = (index: string, count: number, kind: number): string =>
    `unhex(printf('%08x%08x%016x', (${index}) * 4294967296 / ${count}, ${index}, ${kind}))`
  const [chunkId, fileOf] = [id('i', chunks, 1), `(5 * (i / 8) + case when i % 8 < 6 then i % 8 / 2 else i % 8 - 3 end)`]
  const indexOf = `case when i % 8 < 6 then i % 2 else 0 end`
  const chunksOf = `case when i % 5 < 3 then 2 else 1 end`
  const stored = storedChunkBytes(SYNTHETIC_CHUNK_BYTES) * COPIES
  // Two different steps from the first server to the second and the third.
  const stepA = `(i / ${servers}) % ${servers - 1}`
  const stepB = `(${stepA} + 1 + (i / ${servers * (servers - 1)}) % ${servers - 2}) % ${servers - 1}`
  const server = `1 + (i % ${servers} + case copy when 0 then 0 when 1 then 1 + ${stepA} else 1 + ${stepB} end) % ${servers}`
  const steps: Record<string, string> = {
    files: `insert into buckets (name, replicas, min_replicas, chunk_size_bytes, trash_days, created_ms)
        values ('${SYNTHETIC_BUCKET}', 3, 2, ${SYNTHETIC_CHUNK_BYTES}, 3, ${CREATED_MS});
      ${upTo(files)} insert into names (path, file_id, generation, manifest_id, size_bytes, chunk_size_bytes, chunk_count, checksum,
          replicas, created_ms, modified_ms)
        select printf('/${SYNTHETIC_BUCKET}/d%07d/f%010d', i / 1000, i), ${id('i', files, 3)}, 1, ${id('i', files, 2)},
          ${chunksOf} * ${SYNTHETIC_CHUNK_BYTES}, ${SYNTHETIC_CHUNK_BYTES}, ${chunksOf}, printf('xxh64-tree:%016x', i), 3,
          ${CREATED_MS}, ${CREATED_MS} from s;
      ${upTo(files)} insert into manifests (manifest_id, state, reference_count, size_bytes, chunk_count, released_ms, stored_bytes)
        select ${id('i', files, 2)}, 1, 1, ${chunksOf} * ${SYNTHETIC_CHUNK_BYTES}, ${chunksOf}, 0, ${chunksOf} * ${stored} from s`,
    chunks: `${upTo(chunks)} insert into chunks (chunk_id, upload_id, chunk_index, length_bytes, root, state, wanted, changed_ms)
        select ${chunkId}, ${id(fileOf, files, 4)}, ${indexOf}, ${SYNTHETIC_CHUNK_BYTES}, substr(${chunkId}, 1, 8), 1, ${COPIES},
          ${CREATED_MS} from s;
      ${upTo(chunks)} insert into manifest_chunks (manifest_id, chunk_index, chunk_id, offset_bytes, length_bytes, root)
        select ${id(fileOf, files, 2)}, ${indexOf}, ${chunkId}, (${indexOf}) * ${SYNTHETIC_CHUNK_BYTES}, ${SYNTHETIC_CHUNK_BYTES},
          substr(${chunkId}, 1, 8) from s`,
    copies: `${upTo(chunks)}, c(copy) as (select 0 union all select 1 union all select 2)
        insert into replicas (server_no, chunk_id, disk_no, state, store_seq, changed_ms)
        select ${server}, ${chunkId}, (select disk_no from disks where server_no = ${server}), 0, 1, ${CREATED_MS} from s cross join c`,
    counters: ['files', 'fileBytes', 'storedFileBytes', 'liveChunks']
      .map((name, at) => [name, [files, chunks * SYNTHETIC_CHUNK_BYTES, chunks * stored, chunks][at]] as const)
      .map(
        ([name, value]) =>
          `insert into counters (name, lane, value) values ('${name}', 0, ${value}) on conflict (name, lane) do update set value = excluded.value`,
      )
      .join(';'),
  }
  for (const [name, sql] of Object.entries(steps)) {
    native.exec(`begin; ${sql}; commit`)
    say(`${name} are written`)
  }
  if (!native.memory) writeBack(native.name)
}

/** Otherwise the operating system does it later, and every sync of the master waits for gigabytes that are none of its own. */
function writeBack(file: string): void {
  const handle = openSync(file, 'r+')
  fsyncSync(handle)
  closeSync(handle)
}
