/**
 * Downloading into a local file. Bytes go to a partial file beside the target, named after the content it is for, and
 * that is renamed when whole. Run again after an interruption, each leaf already there is checked against the leaf
 * sums and only the others are fetched: no journal has to be trusted.
 */
import path from 'node:path'
import { LEAF_BYTES, leafLength } from '../../common/checksum/tree.js'
import { checksumToHex, xxh64 } from '../../common/checksum/xxh64.js'
import type { Block } from '../../common/bytes/block-pool.js'
import { alignUp, DISK_ALIGNMENT_BYTES, type Disk, type DiskFile } from '../../common/disk/disk.js'
import { localError } from '../local-error.js'
import { inParallel, type ChunkTask, type DownloadRun } from './download.js'

const PARTIAL_SUFFIX = '.cairn-part'

/** Leaves room for the rest of a partial file's name within the 255 bytes that file systems allow. */
const NAME_BYTES_MAX = 160

/** What the partial files of a target begin with. */
function partialPrefix(target: string): string {
  const name = path.basename(target)
  const encoded = new TextEncoder().encode(name)
  return encoded.length <= NAME_BYTES_MAX ? `.${name}.` : `.${checksumToHex(xxh64(encoded))}.`
}

/** The partial file of a target: the checksum in its name keeps two versions of a file apart. */
export const partialPath = (target: string, checksum: string): string =>
  path.join(path.dirname(target), `${partialPrefix(target)}${checksum.slice(checksum.indexOf(':') + 1)}${PARTIAL_SUFFIX}`)

/** Fetches the run's range into `target`. Durable on return. */
export async function downloadToFile(disk: Disk, run: DownloadRun, target: string): Promise<void> {
  const whole = run.range.start === 0 && run.range.end === run.file.sizeBytes
  const key = whole ? run.file.checksum : `${run.file.checksum}-${run.range.start}-${run.range.end}`
  const partial = partialPath(target, key)
  try {
    const file = await PartialFile.open(disk, partial, run)
    try {
      await inParallel(run, (task) => file.fetch(task))
      await file.finish()
    } finally {
      await file.close()
    }
    await disk.rename(partial, target)
    await disk.syncDirectory(path.dirname(target))
    await removeStale(disk, target)
  } catch (error) {
    throw run.signal.aborted ? (run.signal.reason as Error) : localError(error, target)
  }
}

/** What follows the prefix: the checksum of the version, and the range if it is one. */
const PARTIAL_KEY = /^[0-9a-f]{16}(-\d+-\d+)?$/

/** Partial files of earlier versions of the same target have no use any more. Those of `a.b` begin like those of `a`: they stay. */
async function removeStale(disk: Disk, target: string): Promise<void> {
  const directory = path.dirname(target)
  const prefix = partialPrefix(target)
  for (const { name } of await disk.list(directory)) {
    if (!name.startsWith(prefix) || !name.endsWith(PARTIAL_SUFFIX)) continue
    if (PARTIAL_KEY.test(name.slice(prefix.length, -PARTIAL_SUFFIX.length)))
      await disk.remove(path.join(directory, name)).catch(() => undefined)
  }
}

class PartialFile {
  readonly #disk: Disk
  readonly #path: string
  readonly #run: DownloadRun
  readonly #file: DiskFile
  /** Bytes that an earlier run left, 0 if there was none. */
  readonly #earlierBytes: number
  #unaligned: Promise<DiskFile> | undefined

  private constructor(disk: Disk, file: string, run: DownloadRun, handle: DiskFile, earlierBytes: number) {
    this.#disk = disk
    this.#path = file
    this.#run = run
    this.#file = handle
    this.#earlierBytes = earlierBytes
  }

  static async open(disk: Disk, file: string, run: DownloadRun): Promise<PartialFile> {
    const handle = await disk.openFile(file, { mode: 'update', direct: true })
    return new PartialFile(disk, file, run, handle, await handle.sizeBytes())
  }

  /** Fetches what is missing of one chunk. */
  async fetch(task: ChunkTask): Promise<void> {
    const { chunk } = task
    const missing = await this.#missing(task)
    for (const { first, end } of missing) {
      await this.#run.fetcher.fetch(chunk, first, end, (leaf, block, length) => this.#write(task, leaf, block, length))
    }
  }

  /** Runs of leaves that are not here yet. */
  async #missing(task: ChunkTask): Promise<{ first: number; end: number }[]> {
    const { firstLeaf, endLeaf } = task
    if (this.#position(task, firstLeaf).target >= this.#earlierBytes) return [{ first: firstLeaf, end: endLeaf }]
    const sums = await this.#run.fetcher.leafSums(task.chunk)
    const out: { first: number; end: number }[] = []
    const block = await this.#run.context.blocks.acquire(this.#run.signal)
    try {
      for (let leaf = firstLeaf; leaf < endLeaf; leaf += 1) {
        if (await this.#isHere(task, leaf, sums, block)) continue
        const last = out.at(-1)
        if (last?.end === leaf) last.end += 1
        else out.push({ first: leaf, end: leaf + 1 })
      }
    } finally {
      block.release()
    }
    return out
  }

  async #isHere(task: ChunkTask, leaf: number, sums: BigUint64Array, block: Block): Promise<boolean> {
    const { target, skip, length } = this.#position(task, leaf)
    // Only whole leaves can be checked; the cut ones at the ends of a range are fetched again.
    if (skip > 0 || length < leafLength(task.chunk.sizeBytes, leaf) || target + length > this.#earlierBytes) return false
    const file = await this.#fileFor(target)
    const count = await file.read(block.bytes.subarray(0, file.direct ? alignUp(length) : length), target)
    if (count < length || xxh64(block.bytes.subarray(0, length)) !== sums[leaf]) return false
    this.#run.progress(length, true)
    return true
  }

  /** Where a leaf goes: its place in the file, and which part of it lies in the range. */
  #position(task: ChunkTask, leaf: number): { target: number; skip: number; length: number } {
    const { start, end } = this.#run.range
    const from = task.chunk.offset + leaf * LEAF_BYTES
    const to = from + leafLength(task.chunk.sizeBytes, leaf)
    const skip = Math.max(0, start - from)
    return { target: from + skip - start, skip, length: Math.min(to, end) - from - skip }
  }

  async #write(task: ChunkTask, leaf: number, block: Block, lengthBytes: number): Promise<void> {
    try {
      const { target, skip, length } = this.#position(task, leaf)
      const isLast = target + length === this.#run.range.end - this.#run.range.start
      const aligned = target % DISK_ALIGNMENT_BYTES === 0 && skip === 0 && (length % DISK_ALIGNMENT_BYTES === 0 || isLast)
      const file = aligned ? this.#file : await this.#buffered()
      // The end of the file is padded; finish() cuts it to size.
      if (file.direct) block.bytes.fill(0, lengthBytes, alignUp(lengthBytes))
      await file.write(block.bytes.subarray(skip, skip + (file.direct ? alignUp(length) : length)), target)
      this.#run.progress(length)
    } finally {
      block.release()
    }
  }

  async #fileFor(position: number): Promise<DiskFile> {
    return position % DISK_ALIGNMENT_BYTES === 0 ? this.#file : this.#buffered()
  }

  /** For what direct I/O cannot write: ranges and chunks at odd places. */
  #buffered(): Promise<DiskFile> {
    if (!this.#file.direct) return Promise.resolve(this.#file)
    return (this.#unaligned ??= this.#disk.openFile(this.#path, { mode: 'update' }))
  }

  async finish(): Promise<void> {
    const sizeBytes = this.#run.range.end - this.#run.range.start
    await (await this.#unaligned)?.sync()
    if ((await this.#file.sizeBytes()) !== sizeBytes) await this.#file.truncate(sizeBytes)
    await this.#file.sync()
  }

  async close(): Promise<void> {
    await this.#file.close()
    await (await this.#unaligned)?.close()
  }
}
