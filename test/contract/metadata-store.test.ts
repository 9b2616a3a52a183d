import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { VirtualClock } from '../../common/clock/virtual-clock.js'
import { SeededRandom } from '../../common/random/seeded-random.js'
import { openMemoryStore, openSqliteStore } from '../../master/store/sqlite-store.js'
import { metadataStoreSuite } from './metadata-all.suite.js'

metadataStoreSuite('SQLite in memory, inline', async () => {
  const clock = new VirtualClock()
  const store = await openMemoryStore(clock, new SeededRandom(1))
  return { store, advance: (ms) => clock.jumpWallClock(ms), close: () => store.close() }
})

metadataStoreSuite('SQLite file, writer thread', async () => {
  const directory = mkdtempSync(path.join(tmpdir(), 'cairn-store-'))
  const store = await openSqliteStore(path.join(directory, 'metadata.sqlite'), (error) => {
    throw error
  })
  return {
    store,
    close: async () => {
      await store.close()
      rmSync(directory, { recursive: true })
    },
  }
})
