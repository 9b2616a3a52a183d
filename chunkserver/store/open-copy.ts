/** Opening a copy to be read, wherever it lies. */
import { BlockPool } from '../../common/bytes/block-pool.js'
import type { CairnError } from '../../common/errors/cairn-error.js'
import { KiB } from '../../common/units.js'
import { ChunkFileReader, readFooter } from './chunk-file-reader.js'
import type { ChunkReader } from './chunk-store.js'
import type { CopyEntry } from './copy-table.js'
import { PackedChunkReader } from './packed-chunk.js'
import { isPacked, readPacked } from './packed-read.js'

export interface CopyHooks {
  readonly onCorrupt: (damage: CairnError) => void
  readonly onFlicker: (leaf: number) => void
}

/** Memory to read with. */
export interface CopyBuffers {
  readonly footers: BlockPool
  /** Blocks with room for a small chunk in any form. */
  readonly records: BlockPool
  readonly secondLook: BlockPool
}

const FOOTER_BUFFERS = 32
/** The largest footer: 1024 leaves. */
const FOOTER_BUFFER_BYTES = 16 * KiB
const SECOND_LOOK_BUFFERS = 2
const RECORD_BUFFERS = 16
/** Room for a record, and for the chunk file that is made of it when it is set aside. */
const RECORD_BUFFER_BYTES = 64 * KiB

export const copyBuffers = (): CopyBuffers => ({
  footers: new BlockPool(FOOTER_BUFFERS, FOOTER_BUFFER_BYTES),
  records: new BlockPool(RECORD_BUFFERS, RECORD_BUFFER_BYTES),
  secondLook: new BlockPool(SECOND_LOOK_BUFFERS),
})

/** @throws `CHUNK_CORRUPT` when not even what describes the data is sound; the system's error */
export async function openCopy(entry: CopyEntry, buffers: CopyBuffers, hooks: CopyHooks): Promise<ChunkReader> {
  const { records, secondLook } = buffers
  if (isPacked(entry)) return new PackedChunkReader(entry, await readPacked(entry, records), { ...hooks, secondLook: records })
  const { chunkId, disk } = entry
  const file = await disk.io('read', () => disk.disk.openFile(disk.chunkPath(chunkId), { mode: 'read', direct: true }))
  try {
    const footer = await readFooter(disk, file, chunkId, buffers.footers)
    return new ChunkFileReader(disk, file, footer, { ...hooks, secondLook })
  } catch (error) {
    await disk.closeFile(file)
    throw error
  }
}
