/** What a chunk takes on a disk: the size of its file, which masters must know to account for space. */
import { leafCount } from '../checksum/tree.js'
import { alignUp } from '../disk/disk.js'

/** Bytes of a footer beside the leaf sums; see docs/formats/chunk-file.md. */
const FOOTER_FIXED_BYTES = 112
const LEAF_SUM_BYTES = 8

/** Size of the file of a chunk of `lengthBytes`: the data and the footer, each padded. */
export const storedChunkBytes = (lengthBytes: number): number =>
  alignUp(lengthBytes) + alignUp(FOOTER_FIXED_BYTES + leafCount(lengthBytes) * LEAF_SUM_BYTES)
