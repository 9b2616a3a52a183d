/** Databases of earlier versions are brought up to date, with what is in them. */
import { expect, test } from '@jest/globals'
import { VirtualClock } from '../../../../common/clock/virtual-clock.js'
import { SeededRandom } from '../../../../common/random/seeded-random.js'
import { openMemoryStore } from '../../../../master/index.js'
import { IN_MEMORY, SqliteConnection } from '../../../../master/store/engine/sqlite-connection.js'

test('chunks in need of repair, of a database that did not note their length beside it, are counted with it', async () => {
  const connection = new SqliteConnection(IN_MEMORY, { readOnly: false })
  await connection.migrate('0002-servers-life')
  connection.native.exec(`
    insert into chunks (chunk_id, upload_id, chunk_index, length_bytes, root, state, wanted, changed_ms)
      values (x'01', x'02', 0, 1000, x'03', 1, 3, 0), (x'04', x'02', 1, 7, x'03', 1, 3, 0);
    insert into health (chunk_id, class, serving, reachable, wanted, attempts, next_ms, last_error, since_ms)
      values (x'01', 1, 2, 2, 3, 0, 0, null, 0), (x'04', 0, 1, 1, 3, 0, 0, null, 0)`)
  await using store = await openMemoryStore(new VirtualClock(), new SeededRandom(1), connection)
  expect(await store.chunkHealth({})).toMatchObject({ repairable: 2, repairableBytes: 1000 + 2 * 7, absentBytes: 1000 + 2 * 7 })
})

test('what one writer counted and logged before there were several still counts, and a job goes on behind its last file', async () => {
  const connection = new SqliteConnection(IN_MEMORY, { readOnly: false })
  await connection.migrate('0003-health-length')
  const job = (id: string, created: number, cursor: string): string =>
    `(${id}, 'delete-prefix', '/b/p/', null, 1, 'running', ${cursor}, 0, 0, null, ${created})`
  connection.native.exec(`
    insert into meta (id, cluster_id, metadata_epoch, position, created_ms) values (1, x'07', 1, 41, 0);
    insert into counters (name, value) values ('files', 5), ('changeLog', 2);
    insert into change_log (position, time_ms, kind, path, data) values (1, 10, 'file.committed', '/b/k', '{}'), (2, 20, 'file.deleted', '/b/k', '{}');
    insert into jobs (job_id, kind, from_prefix, to_prefix, flag, state, cursor, processed, skipped, error, created_ms)
      values ${job("x'01'", 1, "'/b/p/'")}, ${job("x'02'", 2, "'/b/p/1' || char(0)")}`)
  await using store = await openMemoryStore(new VirtualClock(), new SeededRandom(1), connection)
  expect(await store.spaceUse({})).toMatchObject({ files: 5 })
  expect(await store.readPosition({})).toEqual({ epoch: 1, position: 41 })
  await store.putBucket({ name: 'b', changes: {}, defaults: { replicas: 3, minReplicas: 2, chunkSizeBytes: 1, trashDays: 0 } })
  const logged = connection.native.prepare('select lane, sequence, kind from change_log order by sequence').all()
  expect(logged).toEqual([
    { lane: 0, sequence: 1, kind: 'file.committed' },
    { lane: 0, sequence: 2, kind: 'file.deleted' },
    { lane: 0, sequence: 3, kind: 'bucket.changed' },
  ])
  expect(connection.native.prepare('select cursor from jobs order by created_ms').all()).toEqual([
    { cursor: '' },
    { cursor: '/b/p/1\0' },
  ])
})
