/** Reading the record of a small chunk. */
import type { BlockPool } from '../../common/bytes/block-pool.js'
import type { ChunkFooter } from './chunk-file.js'
import { corrupt } from './chunk-file-reader.js'
import type { CopyEntry } from './copy-table.js'
import { withBlock } from './disk-io.js'
import { decodePackHeader, isPayloadSound, packRecordBytes, payloadOf, type PackPlace } from './pack-record.js'

export type PackedEntry = Pick<CopyEntry, 'disk' | 'chunkId' | 'lengthBytes'> & { readonly place: PackPlace }

export const isPacked = <E extends CopyEntry>(entry: E): entry is E & { readonly place: PackPlace } => entry.place !== undefined

/** A record of a chunk, its header sound; whether the data are is another question. */
export interface PackedCopy {
  readonly chunk: ChunkFooter
  /** Memory of its own. */
  readonly data: Uint8Array
  readonly isSound: boolean
}

/**
 * Reads the record of a copy, all of it.
 * @throws `CHUNK_CORRUPT` when there is no record of this chunk there; the system's error
 */
export async function readPacked({ disk, place, chunkId, lengthBytes }: PackedEntry, buffers: BlockPool): Promise<PackedCopy> {
  return withBlock(buffers.acquire(), async (block) => {
    const bytes = block.bytes.subarray(0, packRecordBytes(lengthBytes))
    const count = await disk.packs.read(place, bytes)
    if (count < bytes.length) throw corrupt(chunkId, 'its pack is shorter than it was')
    const record = decodePackHeader(bytes)
    if (record?.kind !== 'chunk') throw corrupt(chunkId, 'its record is damaged')
    if (record.chunk.chunkId !== chunkId) throw corrupt(chunkId, `its record holds chunk ${record.chunk.chunkId}`)
    if (record.payloadBytes !== lengthBytes) throw corrupt(chunkId, 'its record has another length')
    const data = payloadOf(record, bytes)
    return { chunk: record.chunk, isSound: isPayloadSound(record, data), data: data.slice() }
  })
}
