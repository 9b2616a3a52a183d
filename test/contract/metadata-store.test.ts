import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { VirtualClock } from '../../common/clock/virtual-clock.js'
import { SeededRandom } from '../../common/random/seeded-random.js'
import { openMemoryStore, openSqliteStore } from '../../master/store/sqlite-store.js'
import type { StoreUnderTest } from './metadata-store-fixture.js'
import { metadataChunksSuite } from './metadata-chunks.suite.js'
import { metadataJoiningSuite } from './metadata-joining.suite.js'
import { metadataServersSuite } from './metadata-servers.suite.js'
import { metadataShortUploadsSuite } from './metadata-short-uploads.suite.js'
import { metadataFilesSuite } from './metadata-store.suite.js'

function metadataStoreSuite(name: string, open: () => Promise<StoreUnderTest>): void {
  metadataFilesSuite(name, open)
  metadataChunksSuite(name, open)
  metadataServersSuite(name, open)
  metadataJoiningSuite(name, open)
  metadataShortUploadsSuite(name, open)
}

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
