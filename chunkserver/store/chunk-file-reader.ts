/** Reading chunk files: the footer first, then leaves, each verified before anyone sees it. */
import type { BlockPool } from '../../common/bytes/block-pool.js'
import { leafLength, LEAF_BYTES } from '../../common/checksum/tree.js'
import { xxh64 } from '../../common/checksum/xxh64.js'
import { alignUp, type DiskFile } from '../../common/disk/disk.js'
import { CairnError } from '../../common/errors/cairn-error.js'
import type { ChunkId } from '../../common/ids.js'
import type { ChunkDisk } from './chunk-disk.js'
import { decodeFooter, decodeTrailer, TRAILER_BYTES, type ChunkFooter } from './chunk-file.js'
import type { ChunkReader } from './chunk-store.js'
import { isHanging, withBlock } from './disk-io.js'

export const corrupt = (chunkId: ChunkId, why: string): CairnError =>
  new CairnError(
    'CHUNK_CORRUPT',
    `The copy of chunk ${chunkId} here is damaged: ${why}. It is set aside and rebuilt; read another copy.`,
  )

/** How much of a file's end is read to find its footer: all of it, up to chunks of about 240 leaves. */
const TAIL_BYTES = 4096

/**
 * Reads and checks a footer. @param buffers blocks large enough for any footer
 * @throws `CHUNK_CORRUPT`
 */
export async function readFooter(disk: ChunkDisk, file: DiskFile, chunkId: ChunkId, buffers: BlockPool): Promise<ChunkFooter> {
  const sizeBytes = await disk.io('read', () => file.sizeBytes())
  if (sizeBytes < TAIL_BYTES || sizeBytes % TAIL_BYTES !== 0)
    throw corrupt(chunkId, `its file has ${sizeBytes} bytes, which no chunk file has`)
  return withBlock(buffers.acquire(), async (block) => {
    const tail = block.bytes.subarray(0, TAIL_BYTES)
    await readFully(disk, file, chunkId, tail, sizeBytes - TAIL_BYTES)
    const start = decodeTrailer(tail.subarray(TAIL_BYTES - TRAILER_BYTES), sizeBytes)
    if (start === undefined || sizeBytes - start > block.bytes.length)
      throw corrupt(chunkId, 'its file does not end as chunk files do')
    const footer = block.bytes.subarray(0, sizeBytes - start)
    if (footer.length > TAIL_BYTES) await readFully(disk, file, chunkId, footer, start)
    const decoded = decodeFooter(footer, sizeBytes)
    if (!decoded) throw corrupt(chunkId, 'its footer is damaged')
    if (decoded.chunkId !== chunkId) throw corrupt(chunkId, `its file holds chunk ${decoded.chunkId}`)
    return decoded
  })
}

async function readFully(disk: ChunkDisk, file: DiskFile, chunkId: ChunkId, target: Uint8Array, position: number): Promise<void> {
  const count = await disk.io('read', () => file.read(target, position))
  disk.moved(count)
  if (count < target.length) throw corrupt(chunkId, 'its file is shorter than it says')
}

export interface ReaderHooks {
  /** Memory for a second look, other than that of the first: a bad bit of memory must not condemn a sound copy. */
  readonly secondLook: BlockPool
  readonly onCorrupt: (damage: CairnError) => void
  /** The second look found the leaf good. */
  readonly onFlicker: (leaf: number) => void
}

export class ChunkFileReader implements ChunkReader {
  readonly #disk: ChunkDisk
  readonly #file: DiskFile
  readonly #footer: ChunkFooter
  readonly #hooks: ReaderHooks

  constructor(disk: ChunkDisk, file: DiskFile, footer: ChunkFooter, hooks: ReaderHooks) {
    this.#disk = disk
    this.#file = file
    this.#footer = footer
    this.#hooks = hooks
  }

  get lengthBytes(): number {
    return this.#footer.lengthBytes
  }

  get root(): ChunkFooter['root'] {
    return this.#footer.root
  }

  get leafSums(): BigUint64Array {
    return this.#footer.leafSums
  }

  async readLeaf(index: number, target: Uint8Array): Promise<number> {
    const length = leafLength(this.lengthBytes, index)
    try {
      if (await this.#readInto(index, target, length)) return length
      if (await this.#lookAgain(index, target, length)) return length
    } catch (error) {
      throw this.#report(error, index)
    }
    throw this.#report(corrupt(this.#footer.chunkId, `leaf ${index} does not match its checksum`), index)
  }

  /** @returns whether what was read is the leaf */
  async #readInto(index: number, target: Uint8Array, length: number): Promise<boolean> {
    await readFully(this.#disk, this.#file, this.#footer.chunkId, target.subarray(0, alignUp(length)), index * LEAF_BYTES)
    return xxh64(target.subarray(0, length)) === this.leafSums[index]
  }

  async #lookAgain(index: number, target: Uint8Array, length: number): Promise<boolean> {
    const good = await withBlock(this.#hooks.secondLook.acquire(), async (block) => {
      if (!(await this.#readInto(index, block.bytes, length))) return false
      target.set(block.bytes.subarray(0, length))
      // The target may be what is broken.
      if (xxh64(target.subarray(0, length)) !== this.leafSums[index])
        throw new CairnError('INTERNAL', 'Memory of this machine does not keep what is written to it.')
      return true
    })
    if (good) this.#hooks.onFlicker(index)
    return good
  }

  /** Damage, and sectors that cannot be read, condemn the copy; a disk that has failed is another matter. */
  #report(error: unknown, index: number): CairnError {
    if (isHanging(error)) return error
    if (this.#disk.failed) return this.#disk.failed
    const damage =
      error instanceof CairnError ? error : corrupt(this.#footer.chunkId, `leaf ${index} cannot be read (${String(error)})`)
    if (damage.code === 'CHUNK_CORRUPT') this.#hooks.onCorrupt(damage)
    return damage
  }

  async close(): Promise<void> {
    await this.#disk.closeFile(this.#file)
  }
}
