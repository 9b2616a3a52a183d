/**
 * Writing a chunk file. Order: leaves and footer into `tmp/`, sync, rename into `chunks/`, sync of that directory. A
 * crash at any point leaves either no chunk or a whole one; what lies in `tmp/` is removed at the next start.
 */
import path from 'node:path'
import type { BlockPool } from '../../common/bytes/block-pool.js'
import { chunkRoot, LEAF_BYTES } from '../../common/checksum/tree.js'
import { alignUp, type DiskFile } from '../../common/disk/disk.js'
import type { ChunkDisk } from './chunk-disk.js'
import { encodeFooter, footerStart } from './chunk-file.js'
import type { ChunkWriter, NewChunk, StoredChunk } from './chunk-store.js'
import { withBlock } from './disk-io.js'
import { unlessMissing } from './set-aside.js'

export interface WriterHooks {
  /** Puts the finished file in its place and enters it into the index. */
  readonly publish: (temporary: string, root: StoredChunk['root']) => Promise<StoredChunk>
  /** The writer has ended, one way or another. */
  readonly ended: () => void
}

export class ChunkFileWriter implements ChunkWriter {
  readonly #disk: ChunkDisk
  readonly #chunk: NewChunk
  readonly #file: DiskFile
  readonly #temporary: string
  readonly #footers: BlockPool
  readonly #hooks: WriterHooks
  #position = 0
  #ended = false

  get #name(): string {
    return path.basename(this.#temporary)
  }

  private constructor(
    disk: ChunkDisk,
    chunk: NewChunk,
    file: DiskFile,
    temporary: string,
    footers: BlockPool,
    hooks: WriterHooks,
  ) {
    this.#disk = disk
    this.#chunk = chunk
    this.#file = file
    this.#temporary = temporary
    this.#footers = footers
    this.#hooks = hooks
  }

  static async open(
    disk: ChunkDisk,
    chunk: NewChunk,
    name: string,
    footers: BlockPool,
    hooks: WriterHooks,
  ): Promise<ChunkFileWriter> {
    const temporary = path.join(disk.temporaryDirectory, name)
    const file = await disk.io('write', () => disk.disk.openFile(temporary, { mode: 'create', direct: true }))
    return new ChunkFileWriter(disk, chunk, file, temporary, footers, hooks)
  }

  async writeLeaf(block: Uint8Array, lengthBytes: number): Promise<void> {
    const position = this.#position
    this.#position += LEAF_BYTES
    const padded = block.subarray(0, alignUp(lengthBytes))
    padded.fill(0, lengthBytes)
    await this.#write(padded, position)
  }

  async #write(bytes: Uint8Array, position: number): Promise<void> {
    await this.#disk.io('write', () => this.#file.write(bytes, position))
    this.#disk.moved(bytes.length)
    const { temporary } = this.#disk.usage
    if (!this.#ended) temporary.set(this.#name, Math.max(temporary.sizeOf(this.#name) ?? 0, position + bytes.length))
  }

  async commit(leafSums: BigUint64Array): Promise<StoredChunk> {
    const root = chunkRoot(this.#chunk.lengthBytes, leafSums)
    await withBlock(this.#footers.acquire(), async (block) => {
      const footer = encodeFooter({ ...this.#chunk, root, leafSums }, block.bytes)
      await this.#write(footer, footerStart(this.#chunk.lengthBytes))
    })
    await this.#disk.io('sync', () => this.#file.sync())
    await this.#disk.closeFile(this.#file)
    const stored = await this.#hooks.publish(this.#temporary, root)
    this.#disk.usage.temporary.delete(this.#name)
    this.#end()
    return stored
  }

  async abort(): Promise<void> {
    if (this.#ended) return
    this.#end()
    // Best effort: what stays is removed later, and counted until then.
    await this.#disk.closeFile(this.#file)
    const removal = this.#disk.io('write', () => this.#disk.disk.remove(this.#temporary))
    await unlessMissing(removal).then(
      () => this.#disk.usage.temporary.delete(this.#name),
      () => this.#disk.leftovers.add(this.#name),
    )
  }

  #end(): void {
    this.#ended = true
    this.#hooks.ended()
  }
}

/** Stands in for a writer when the chunk is here already: nothing is written, the bytes must only be the same. */
export class ComparingWriter implements ChunkWriter {
  readonly #compare: (root: StoredChunk['root']) => StoredChunk
  readonly #lengthBytes: number

  /** @param compare returns what is stored, or throws `CHUNK_EXISTS` */
  constructor(lengthBytes: number, compare: (root: StoredChunk['root']) => StoredChunk) {
    this.#lengthBytes = lengthBytes
    this.#compare = compare
  }

  async writeLeaf(): Promise<void> {}

  async commit(leafSums: BigUint64Array): Promise<StoredChunk> {
    return this.#compare(chunkRoot(this.#lengthBytes, leafSums))
  }

  async abort(): Promise<void> {}
}
