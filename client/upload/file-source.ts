/** A local file as an upload's source. */
import type { Block } from '../../common/bytes/block-pool.js'
import { LEAF_BYTES, leafLength } from '../../common/checksum/tree.js'
import { checksumToHex, xxh64 } from '../../common/checksum/xxh64.js'
import { alignUp, DISK_ALIGNMENT_BYTES, type Disk, type DiskFile, type FileStat } from '../../common/disk/disk.js'
import { CairnError } from '../../common/errors/cairn-error.js'
import { KiB } from '../../common/units.js'
import { localError } from '../local-error.js'
import type { ChunkWish } from './allocation-ahead.js'
import { isSmall, type ChunkPayload, type UploadSource } from './source.js'

const SAMPLE_BYTES = 64 * KiB
const SAMPLES = 16

export class FileSource implements UploadSource {
  readonly resumable = true
  readonly sizeBytes: number
  readonly #disk: Disk
  readonly #path: string
  readonly #stat: FileStat
  readonly #file: DiskFile

  private constructor(disk: Disk, path: string, stat: FileStat, file: DiskFile) {
    this.#disk = disk
    this.#path = path
    this.#stat = stat
    this.#file = file
    this.sizeBytes = stat.sizeBytes
  }

  /** @throws `LOCAL_FILE_NOT_FOUND`, `LOCAL_IO_ERROR` */
  static async open(disk: Disk, path: string): Promise<FileSource> {
    try {
      const stat = await disk.stat(path)
      if (!stat) throw new CairnError('LOCAL_FILE_NOT_FOUND', `There is no local file ${path}.`)
      if (stat.kind === 'directory') throw new CairnError('USAGE', `${path} is a directory. Use -r to upload what is in it.`)
      return new FileSource(disk, path, stat, await disk.openFile(path, { mode: 'read', direct: true }))
    } catch (error) {
      throw localError(error, path)
    }
  }

  /**
   * Size and samples spread over the file. The modification time is left out, so that a copy on another machine is the
   * same source; what the samples miss, the comparison of chunk roots on resuming finds.
   */
  async fingerprint(): Promise<string> {
    // A handle of its own: samples lie where direct I/O could not read them.
    const file = await this.#disk.openFile(this.#path, { mode: 'read' })
    try {
      const sums = new BigUint64Array(SAMPLES + 1)
      sums[SAMPLES] = BigInt(this.sizeBytes)
      const sample = new Uint8Array(SAMPLE_BYTES)
      for (let index = 0; index < SAMPLES; index += 1) {
        const position = Math.floor((Math.max(0, this.sizeBytes - SAMPLE_BYTES) * index) / (SAMPLES - 1))
        const count = await file.read(sample, position)
        sums[index] = xxh64(sample.subarray(0, count))
      }
      return checksumToHex(xxh64(new Uint8Array(sums.buffer)))
    } catch (error) {
      throw localError(error, this.#path)
    } finally {
      await file.close()
    }
  }

  get isSmall(): boolean {
    return isSmall(this.sizeBytes)
  }

  async *chunks(chunkSizeBytes: number): AsyncIterable<ChunkPayload> {
    const count = Math.ceil(this.sizeBytes / chunkSizeBytes)
    for (let index = 0; index < count; index += 1) yield this.chunkAt(index, chunkSizeBytes)
  }

  upcoming(after: ChunkWish, count: number, chunkSizeBytes: number): ChunkWish[] {
    const end = Math.min(Math.ceil(this.sizeBytes / chunkSizeBytes), after.index + 1 + count)
    const out: ChunkWish[] = []
    for (let index = after.index + 1; index < end; index += 1)
      out.push({ index, lengthBytes: Math.min(chunkSizeBytes, this.sizeBytes - index * chunkSizeBytes) })
    return out
  }

  chunkAt(index: number, chunkSizeBytes: number): ChunkPayload {
    const offset = index * chunkSizeBytes
    const lengthBytes = Math.min(chunkSizeBytes, this.sizeBytes - offset)
    return {
      index,
      offset,
      lengthBytes,
      readLeaf: (leaf, scratch) => this.#readLeaf(offset + leaf * LEAF_BYTES, leafLength(lengthBytes, leaf), scratch),
      release: () => undefined,
    }
  }

  async #readLeaf(position: number, length: number, scratch: Block): Promise<Uint8Array> {
    const file = position % DISK_ALIGNMENT_BYTES === 0 || !this.#file.direct ? this.#file : await this.#unaligned()
    try {
      const count = await file.read(scratch.bytes.subarray(0, file.direct ? alignUp(length) : length), position)
      if (count < length)
        throw new CairnError('SOURCE_CHANGED', `${this.#path} has become shorter while it was read. Run the command again.`)
      return scratch.bytes.subarray(0, length)
    } catch (error) {
      throw localError(error, this.#path)
    }
  }

  #unalignedFile: Promise<DiskFile> | undefined

  #unaligned(): Promise<DiskFile> {
    return (this.#unalignedFile ??= this.#disk.openFile(this.#path, { mode: 'read' }))
  }

  async checkUnchanged(): Promise<void> {
    const now = await this.#disk.stat(this.#path)
    if (now?.sizeBytes === this.#stat.sizeBytes && now.modifiedMs === this.#stat.modifiedMs) return
    throw new CairnError(
      'SOURCE_CHANGED',
      `${this.#path} changed while it was being uploaded. Run the command again when nothing writes to it; what is unchanged is not sent again.`,
    )
  }

  async close(): Promise<void> {
    await this.#file.close()
    await (await this.#unalignedFile)?.close()
  }
}
