/** Small chunks on their way into the log and out of it, for {@link FileChunkStore}. */
import { chunkRoot } from '../../common/checksum/tree.js'
import { isCairnError, type CairnError } from '../../common/errors/cairn-error.js'
import type { ChunkId } from '../../common/ids.js'
import type { ChunkDisk } from './chunk-disk.js'
import { corrupt, type ReaderHooks } from './chunk-file-reader.js'
import type { ChunkFooter } from './chunk-file.js'
import type { ChunkReader, ChunkWriter, NewChunk, StoredChunk } from './chunk-store.js'
import { isHanging } from './disk-io.js'
import { readPacked, type PackedCopy, type PackedEntry } from './packed-read.js'

/** Holds the bytes of one small chunk until its commit, which is when they are written. */
export class PackedChunkWriter implements ChunkWriter {
  readonly #chunk: NewChunk
  readonly #publish: (chunk: ChunkFooter, data: Uint8Array) => Promise<StoredChunk>
  readonly #ended: () => void
  #data = new Uint8Array(0)
  #open = true

  constructor(
    chunk: NewChunk,
    hooks: { readonly publish: (chunk: ChunkFooter, data: Uint8Array) => Promise<StoredChunk>; readonly ended: () => void },
  ) {
    this.#chunk = chunk
    this.#publish = hooks.publish
    this.#ended = hooks.ended
  }

  async writeLeaf(block: Uint8Array, lengthBytes: number): Promise<void> {
    this.#data = block.slice(0, lengthBytes)
  }

  async commit(leafSums: BigUint64Array): Promise<StoredChunk> {
    const root = chunkRoot(this.#chunk.lengthBytes, leafSums)
    const stored = await this.#publish({ ...this.#chunk, root, leafSums }, this.#data)
    this.#end()
    return stored
  }

  async abort(): Promise<void> {
    this.#end()
  }

  #end(): void {
    if (this.#open) this.#ended()
    this.#open = false
  }
}

export class PackedChunkReader implements ChunkReader {
  readonly #entry: PackedEntry
  readonly #hooks: ReaderHooks
  #copy: PackedCopy

  /** @param copy what was read at the first look */
  constructor(entry: PackedEntry, copy: PackedCopy, hooks: ReaderHooks) {
    this.#entry = entry
    this.#copy = copy
    this.#hooks = hooks
  }

  get lengthBytes(): number {
    return this.#copy.chunk.lengthBytes
  }

  get root(): ChunkFooter['root'] {
    return this.#copy.chunk.root
  }

  get leafSums(): BigUint64Array {
    return this.#copy.chunk.leafSums
  }

  async readLeaf(_index: number, target: Uint8Array): Promise<number> {
    if (!this.#copy.isSound) await this.#lookAgain()
    target.set(this.#copy.data)
    return this.lengthBytes
  }

  async #lookAgain(): Promise<void> {
    const { chunkId, disk } = this.#entry
    try {
      const copy = await readPacked(this.#entry, this.#hooks.secondLook)
      if (!copy.isSound) throw corrupt(chunkId, 'leaf 0 does not match its checksum')
      this.#copy = copy
      this.#hooks.onFlicker(0)
    } catch (error) {
      const damage = damageOf(disk, chunkId, error)
      if (damage.code === 'CHUNK_CORRUPT') this.#hooks.onCorrupt(damage)
      throw damage
    }
  }

  async close(): Promise<void> {}
}

/** Damage, and sectors that cannot be read, condemn the copy; a disk that hangs or has failed is another matter. */
function damageOf(disk: ChunkDisk, chunkId: ChunkId, error: unknown): CairnError {
  if (isHanging(error)) return error
  if (disk.failed) return disk.failed
  return isCairnError(error) ? error : corrupt(chunkId, `its record cannot be read (${String(error)})`)
}
