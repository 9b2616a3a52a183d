/** Checksums of what lies here, as an upload would give them. */
import { BlockPool, type Block } from '../../common/bytes/block-pool.js'
import { chunkRoot, fileChecksum, leafCount, type ChunkSummary } from '../../common/checksum/tree.js'
import { xxh64, type Checksum64 } from '../../common/checksum/xxh64.js'
import type { Disk } from '../../common/disk/disk.js'
import { FileSource } from './file-source.js'
import type { ChunkPayload } from './source.js'

/** The root of a chunk that is still here. */
export async function payloadRoot(payload: ChunkPayload, scratch: Block): Promise<Checksum64> {
  const sums = new BigUint64Array(leafCount(payload.lengthBytes))
  for (let leaf = 0; leaf < sums.length; leaf += 1) sums[leaf] = xxh64(await payload.readLeaf(leaf, scratch))
  return chunkRoot(payload.lengthBytes, sums)
}

/** The file checksum of a local file cut into chunks of this size. @throws `LOCAL_FILE_NOT_FOUND`, `LOCAL_IO_ERROR` */
export async function localChecksum(disk: Disk, file: string, chunkSizeBytes: number): Promise<string> {
  const source = await FileSource.open(disk, file)
  const scratch = await new BlockPool(1).acquire()
  try {
    const chunks: ChunkSummary[] = []
    for await (const payload of source.chunks(chunkSizeBytes))
      chunks.push({ lengthBytes: payload.lengthBytes, root: await payloadRoot(payload, scratch) })
    return fileChecksum(chunks)
  } finally {
    await source.close()
  }
}
