/** What can be uploaded, seen as chunks. Files can be read again, which makes them resumable; streams cannot. */
import type { Block } from '../../common/bytes/block-pool.js'
import { LEAF_BYTES } from '../../common/checksum/tree.js'
import type { ChunkWish } from './allocation-ahead.js'

/** The bytes of one chunk, leaf by leaf, as often as need be. */
export interface ChunkPayload {
  readonly index: number
  readonly offset: number
  readonly lengthBytes: number
  /**
   * The bytes of a leaf. @param scratch may be read into; the returned view may lie in it
   * @throws `SOURCE_CHANGED`, `LOCAL_IO_ERROR`, or the stream's error
   */
  readLeaf(leaf: number, scratch: Block): Promise<Uint8Array>
  /** Present when the bytes lie in memory already, so that sending them needs no further block. */
  readonly heldLeaf?: (leaf: number) => Uint8Array
  /** The chunk is stored; its memory is free. */
  release(): void
}

/** One leaf: sent in a moment, so that there is nothing to gain from entering it before the commit. */
export const isSmall = (sizeBytes: number | null): sizeBytes is number =>
  sizeBytes !== null && sizeBytes > 0 && sizeBytes <= LEAF_BYTES

export interface UploadSource {
  /** Null when it is only known at the end. */
  readonly sizeBytes: number | null
  /** Whether an interrupted upload of it can go on in another run. */
  readonly resumable: boolean
  /** Tells this content from others of the same path; only of resumable sources. */
  fingerprint(): Promise<string>
  /** The chunks in order; a payload stays usable until it is released. Ends the source's use when done or broken off. */
  chunks(chunkSizeBytes: number, signal: AbortSignal): AsyncIterable<ChunkPayload>
  /** The chunks after a given one, at most `count`, as far as their lengths are certain. */
  upcoming(after: ChunkWish, count: number, chunkSizeBytes: number): ChunkWish[]
  /** Whether all of it is certain to be one chunk whatever the chunk size, if that is not below its size. */
  readonly isSmall: boolean
  /** The payload of one chunk again; only of resumable sources. */
  chunkAt(index: number, chunkSizeBytes: number): ChunkPayload
  /** Called before the commit. @throws `SOURCE_CHANGED` when what was read is not one state of the source */
  checkUnchanged(): Promise<void>
  close(): Promise<void>
}
