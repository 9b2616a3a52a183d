/** Databases of earlier versions are brought up to date, with what is in them. */
import { expect, test } from '@jest/globals'
import { VirtualClock } from '../../../../common/clock/virtual-clock.js'
import { SeededRandom } from '../../../../common/random/seeded-random.js'
import { openMemoryStore } from '../../../../master/index.js'
import { IN_MEMORY, SqliteConnection } from '../../../../master/store/engine/sqlite-connection.js'

test('chunks in need of repair, of a database that did not note their length beside it, are counted with it', async () => {
  const connection = new SqliteConnection(IN_MEMORY, { readOnly: false })
  await connection.migrate()
  connection.native.exec(`
    alter table health drop column length_bytes;
    delete from kysely_migration where name = '0003-health-length';
    insert into chunks (chunk_id, upload_id, chunk_index, length_bytes, root, state, wanted, changed_ms)
      values (x'01', x'02', 0, 1000, x'03', 1, 3, 0), (x'04', x'02', 1, 7, x'03', 1, 3, 0);
    insert into health (chunk_id, class, serving, reachable, wanted, attempts, next_ms, last_error, since_ms)
      values (x'01', 1, 2, 2, 3, 0, 0, null, 0), (x'04', 0, 1, 1, 3, 0, 0, null, 0)`)
  await using store = await openMemoryStore(new VirtualClock(), new SeededRandom(1), connection)
  expect(await store.chunkHealth({})).toMatchObject({ repairable: 2, repairableBytes: 1000 + 2 * 7, absentBytes: 1000 + 2 * 7 })
})
