import { mkdtempSync, rmSync } from 'node:fs'
import { open as openFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { FileChunkStore } from '../../chunkserver/store/file-chunk-store.js'
import { MemoryChunkStore } from '../../chunkserver/store/memory-chunk-store.js'
import { SystemClock } from '../../common/clock/system-clock.js'
import { MemoryDisk } from '../../common/disk/memory-disk.js'
import { NodeDisk } from '../../common/disk/node-disk.js'
import { newId, type DiskId } from '../../common/ids.js'
import { PACKED_CHUNK_BYTES_MAX } from '../../chunkserver/store/pack-record.js'
import { silentLogger } from '../../common/observe/logger.js'
import { SystemRandom } from '../../common/random/system-random.js'
import { chunkStoreSuite } from './chunk-store.suite.js'

const common = { clock: new SystemClock(), random: new SystemRandom(), log: silentLogger }

chunkStoreSuite('in memory', async () => {
  const store = new MemoryChunkStore(newId<DiskId>(common.random))
  return { store, corrupt: async (chunkId, change) => store.corrupt(chunkId, change), close: () => store.close() }
})

for (const packedBytesMax of [0, PACKED_CHUNK_BYTES_MAX]) {
  for (const supportsDirect of [true, false]) {
    const where = `${packedBytesMax > 0 ? 'packs and ' : ''}files on a simulated disk`
    chunkStoreSuite(`${where}, ${supportsDirect ? 'direct' : 'buffered'} I/O`, async () => {
      const disk = new MemoryDisk({ supportsDirect })
      const store = await FileChunkStore.open({ ...common, disk, directories: ['/data'], packedBytesMax })
      return {
        store,
        corrupt: async (chunkId, change) => {
          const { file, offset } = store.locate(chunkId) ?? { file: '', offset: 0 }
          disk.corrupt(file, (content) => change(content.subarray(offset)))
        },
        close: () => store.close(),
      }
    })
  }
}

chunkStoreSuite('files on the real disk', async () => {
  const directory = mkdtempSync(path.join(tmpdir(), 'cairn-chunks-'))
  const store = await FileChunkStore.open({ ...common, disk: new NodeDisk(), directories: [directory] })
  return {
    store,
    corrupt: async (chunkId, change) => {
      const file = await openFile(store.locate(chunkId)?.file ?? '', 'r+')
      const content = await file.readFile()
      change(content)
      await file.write(content, 0, content.length, 0)
      await file.close()
    },
    close: async () => {
      await store.close()
      rmSync(directory, { recursive: true })
    },
  }
})
