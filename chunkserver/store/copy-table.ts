/** The copies that a store holds, and what they take: whatever changes the index changes the figures in the same step. */
import type { ChunkId } from '../../common/ids.js'
import type { ChunkDisk } from './chunk-disk.js'
import { chunkFileBytes } from './chunk-file.js'
import { ChunkIndex, type IndexEntry } from './chunk-index.js'
import type { StoredChunk } from './chunk-store.js'
import { packRecordBytes, type PackPlace } from './pack-record.js'

export type CopyEntry = IndexEntry<ChunkDisk>
type CopyFacts = Pick<StoredChunk, 'chunkId' | 'lengthBytes' | 'root'> & { readonly place?: PackPlace | undefined }

/** What a copy takes on its disk. */
export const copyBytes = ({ lengthBytes, place }: Pick<CopyFacts, 'lengthBytes' | 'place'>): number =>
  place ? packRecordBytes(lengthBytes) : chunkFileBytes(lengthBytes)

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
  loadGood(disk: ChunkDisk, facts: CopyFacts): void {
    const { chunkId, lengthBytes, root, place } = facts
    this.index.load({ chunkId, disk, lengthBytes, root, place })
    this.#count(disk, facts, 1)
  }

  /** A bad copy that was there at the start; with a whole footer its good leaves can still be read. */
  loadCorrupt(disk: ChunkDisk, chunkId: ChunkId, fileBytes: number, facts?: CopyFacts): void {
    this.index.loadCorrupt(chunkId, disk, facts, facts?.place)
    if (facts?.place) disk.usage.packLiveBytes += copyBytes(facts)
    disk.usage.corrupt.set(chunkId, fileBytes)
  }

  /** Another copy counts in its place; nothing has been said of either yet. */
  unload(entry: CopyEntry): void {
    this.#uncount(entry)
    this.index.unload(entry.chunkId)
  }

  publish(disk: ChunkDisk, facts: CopyFacts): StoredChunk {
    const { chunkId, lengthBytes, root, place } = facts
    this.#count(disk, facts, 1)
    return this.index.add({ chunkId, disk, lengthBytes, root, place })
  }

  /** A good copy turned out bad. @returns false when the entry is not the present one any more */
  condemn(entry: CopyEntry): boolean {
    if (!this.isPresent(entry) || entry.state !== 'good') return false
    this.index.markCorrupt(entry.chunkId)
    this.#count(entry.disk, entry, -1)
    if (entry.place) entry.disk.usage.packLiveBytes += copyBytes(entry)
    entry.disk.usage.corrupt.set(entry.chunkId, copyBytes(entry))
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
    if (entry.state === 'corrupt') this.#uncount(entry)
  }

  /** A good copy lies elsewhere in the packs of its disk now. @returns false when it is not the present one any more */
  move(entry: CopyEntry, place: PackPlace): boolean {
    if (!this.isPresent(entry) || entry.state !== 'good') return false
    this.index.move(entry, place)
    return true
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
    if (current?.sequence !== entry.sequence || current.disk !== entry.disk || current.state !== entry.state) return false
    return current.place?.pack === entry.place?.pack && current.place?.offset === entry.place?.offset
  }

  #uncount(entry: CopyEntry | undefined): void {
    if (!entry) return
    if (entry.state === 'good') return this.#count(entry.disk, entry, -1)
    entry.disk.usage.corrupt.delete(entry.chunkId)
    if (entry.place) entry.disk.usage.packLiveBytes -= copyBytes(entry)
  }

  #count({ usage }: ChunkDisk, facts: Pick<CopyFacts, 'lengthBytes' | 'place'>, by: 1 | -1): void {
    const bytes = by * copyBytes(facts)
    usage.chunkBytes += bytes
    usage.chunkCount += by
    if (facts.place) usage.packLiveBytes += bytes
  }
}
