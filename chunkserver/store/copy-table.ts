/** The copies that a store holds, and what they take: whatever changes the index changes the figures in the same step. */
import type { ChunkId } from '../../common/ids.js'
import type { ChunkDisk } from './chunk-disk.js'
import { chunkFileBytes } from './chunk-file.js'
import { ChunkIndex, type IndexEntry } from './chunk-index.js'
import type { StoredChunk } from './chunk-store.js'

export type CopyEntry = IndexEntry<ChunkDisk>
type CopyFacts = Pick<StoredChunk, 'chunkId' | 'lengthBytes' | 'root'>

export class CopyTable {
  /** For reading; it is changed through the methods here. */
  readonly index = new ChunkIndex<ChunkDisk>()

  get(chunkId: ChunkId): CopyEntry | undefined {
    return this.index.get(chunkId)
  }

  goodOn(disk: ChunkDisk): CopyEntry[] {
    const out: CopyEntry[] = []
    for (const entry of this.index.entries()) if (entry.disk === disk && entry.state === 'good') out.push(entry)
    return out
  }

  /** A good copy that was there at the start. */
  loadGood(disk: ChunkDisk, { chunkId, lengthBytes, root }: CopyFacts): void {
    this.index.load({ chunkId, disk, lengthBytes, root })
    this.#count(disk, lengthBytes, 1)
  }

  /** A bad copy that was there at the start; with a whole footer its good leaves can still be read. */
  loadCorrupt(disk: ChunkDisk, chunkId: ChunkId, fileBytes: number, facts?: CopyFacts): void {
    this.index.loadCorrupt(chunkId, disk, facts)
    disk.usage.corrupt.set(chunkId, fileBytes)
  }

  /** Another copy counts in its place; nothing has been said of either yet. */
  unload(entry: CopyEntry): void {
    this.#uncount(entry)
    this.index.unload(entry.chunkId)
  }

  publish(disk: ChunkDisk, { chunkId, lengthBytes, root }: CopyFacts): StoredChunk {
    this.#count(disk, lengthBytes, 1)
    return this.index.add({ chunkId, disk, lengthBytes, root })
  }

  /** A good copy turned out bad. @returns false when the entry is not the present one any more */
  condemn(entry: CopyEntry): boolean {
    if (!this.isPresent(entry) || entry.state !== 'good') return false
    this.index.markCorrupt(entry.chunkId)
    this.#count(entry.disk, entry.lengthBytes, -1)
    entry.disk.usage.corrupt.set(entry.chunkId, chunkFileBytes(entry.lengthBytes))
    return true
  }

  /** What a bad copy really takes, mark included. */
  measured(entry: CopyEntry, bytes: number): void {
    const current = this.get(entry.chunkId)
    if (current?.state === 'corrupt' && current.disk === entry.disk) entry.disk.usage.corrupt.set(entry.chunkId, bytes)
  }

  /** The copy is gone, whatever it was. The change log says `removed` also of what was not there. */
  remove(chunkId: ChunkId): void {
    this.#uncount(this.get(chunkId))
    this.index.remove(chunkId)
  }

  /** The file of this copy has vanished. @returns false when the entry is not the present one any more */
  forget(entry: CopyEntry): boolean {
    if (!this.isPresent(entry)) return false
    this.remove(entry.chunkId)
    return true
  }

  /** A bad copy has left its place to make room for a good one. Nothing is said about it: an `added` follows. */
  displace(entry: CopyEntry): void {
    if (entry.state === 'corrupt') entry.disk.usage.corrupt.delete(entry.chunkId)
  }

  /** A disk is out of use: none of its copies is held any more. @returns how many good ones these were */
  dropDisk(disk: ChunkDisk): number {
    const { chunkCount } = disk.usage
    this.index.dropDisk(disk)
    disk.usage.clear()
    return chunkCount
  }

  /** Whether the entry is what the table says today. */
  isPresent(entry: CopyEntry): boolean {
    const current = this.get(entry.chunkId)
    return current?.sequence === entry.sequence && current.disk === entry.disk && current.state === entry.state
  }

  #uncount(entry: CopyEntry | undefined): void {
    if (entry?.state === 'good') this.#count(entry.disk, entry.lengthBytes, -1)
    else entry?.disk.usage.corrupt.delete(entry.chunkId)
  }

  #count({ usage }: ChunkDisk, lengthBytes: number, by: 1 | -1): void {
    usage.chunkBytes += by * chunkFileBytes(lengthBytes)
    usage.chunkCount += by
  }
}
