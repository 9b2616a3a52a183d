/** What a store holds, in memory: by id, with a running digest per shard, and the journal of changes for the master. */
import { EMPTY_DIGEST, idHash, type IdSetDigest } from '../../common/checksum/id-set-digest.js'
import type { Checksum64 } from '../../common/checksum/xxh64.js'
import { hexToBytes, type ChunkId } from '../../common/ids.js'
import { SHARD_COUNT, shardOf, type StoreChange } from '../../common/protocol/cluster.js'
import type { StoredChunk } from './chunk-store.js'
import type { PackPlace } from './pack-record.js'

export interface IndexEntry<DiskRef> {
  readonly chunkId: ChunkId
  readonly disk: DiskRef
  readonly lengthBytes: number
  readonly root: Checksum64
  readonly sequence: number
  readonly state: 'good' | 'corrupt'
  /** Of a small chunk in a pack; absent for one with a file of its own. */
  readonly place?: PackPlace | undefined
}

/** Beyond this the oldest changes are dropped: the comparison of digests finds what they said. */
const JOURNAL_MAX = 100_000

const NO_FOOTER = { lengthBytes: 0, root: '' as Checksum64 }

export class ChunkIndex<DiskRef extends { readonly diskId: StoredChunk['diskId'] }> {
  readonly #entries = new Map<ChunkId, IndexEntry<DiskRef>>()
  readonly #digests: IdSetDigest[] = Array.from({ length: SHARD_COUNT }, () => EMPTY_DIGEST)
  #journal: StoreChange[] = []
  #sequence = 0

  get(chunkId: ChunkId): IndexEntry<DiskRef> | undefined {
    return this.#entries.get(chunkId)
  }

  entries(): Iterable<IndexEntry<DiskRef>> {
    return this.#entries.values()
  }

  get sequence(): number {
    return this.#sequence
  }

  startSequence(first: number): void {
    this.#sequence = first
    this.#journal = this.#journal.map((change) => ({ ...change, sequence: ++this.#sequence }))
  }

  /** A good copy found by the start-up scan: the master hears of it by the digests. */
  load(entry: Omit<IndexEntry<DiskRef>, 'sequence' | 'state'>): void {
    this.#put({ ...entry, sequence: 0, state: 'good' })
  }

  /** Says again where a good copy lies: the digests tell of ids alone, and it may have been known to lie on another disk. */
  retellGood(chunkId: ChunkId): void {
    const entry = this.#entries.get(chunkId)
    if (entry?.state !== 'good') return
    const { lengthBytes, root, disk } = entry
    this.#record({ kind: 'added', sequence: ++this.#sequence, chunkId, diskId: disk.diskId, lengthBytes, root })
  }

  /** A bad copy found by the start-up scan, to be replaced. With a whole footer its good leaves can still be read. */
  loadCorrupt(
    chunkId: ChunkId,
    disk: DiskRef,
    footer: Pick<StoredChunk, 'lengthBytes' | 'root'> = NO_FOOTER,
    place?: PackPlace,
  ): void {
    if (this.#entries.has(chunkId)) return
    const { lengthBytes, root } = footer
    this.#entries.set(chunkId, { chunkId, disk, lengthBytes, root, sequence: 0, state: 'corrupt', place })
    this.#record({ kind: 'corrupt', sequence: ++this.#sequence, chunkId })
  }

  /** A good copy lies elsewhere in the packs of its disk now; nothing else about it has changed. */
  move(entry: IndexEntry<DiskRef>, place: PackPlace): void {
    this.#entries.set(entry.chunkId, { ...entry, place })
  }

  /** Takes back what a load has put in. */
  unload(chunkId: ChunkId): void {
    this.#take(chunkId)
  }

  add(entry: Omit<IndexEntry<DiskRef>, 'sequence' | 'state'>): StoredChunk {
    const sequence = ++this.#sequence
    this.#put({ ...entry, sequence, state: 'good' })
    const { chunkId, lengthBytes, root, disk } = entry
    this.#record({ kind: 'added', sequence, chunkId, diskId: disk.diskId, lengthBytes, root })
    return { chunkId, diskId: disk.diskId, lengthBytes, root, sequence }
  }

  remove(chunkId: ChunkId): void {
    this.#take(chunkId)
    this.#record({ kind: 'removed', sequence: ++this.#sequence, chunkId })
  }

  /** Forgets what a disk held. The master hears of it by the disk's state and by the digests. */
  dropDisk(disk: DiskRef): void {
    for (const entry of [...this.#entries.values()]) if (entry.disk === disk) this.#take(entry.chunkId)
  }

  /** A copy is bad. It stays known, so that its good leaves can still be read, but counts no more. */
  markCorrupt(chunkId: ChunkId): void {
    const entry = this.#take(chunkId)
    if (entry) this.#entries.set(chunkId, { ...entry, state: 'corrupt' })
    if (entry?.state !== 'corrupt') this.#record({ kind: 'corrupt', sequence: ++this.#sequence, chunkId })
  }

  /** Says again which copies of a shard are bad: the digests do not tell of them. */
  retellCorrupt(shard: number): void {
    for (const { state, chunkId } of this.#entries.values())
      if (state === 'corrupt' && shardOf(chunkId) === shard)
        this.#record({ kind: 'corrupt', sequence: ++this.#sequence, chunkId })
  }

  toStored(entry: IndexEntry<DiskRef>): StoredChunk {
    return {
      chunkId: entry.chunkId,
      diskId: entry.disk.diskId,
      lengthBytes: entry.lengthBytes,
      root: entry.root,
      sequence: entry.sequence,
    }
  }

  listShard(shard: number): StoredChunk[] {
    const out: StoredChunk[] = []
    for (const entry of this.#entries.values())
      if (entry.state === 'good' && shardOf(entry.chunkId) === shard) out.push(this.toStored(entry))
    return out
  }

  digestOf(shard: number): IdSetDigest {
    return this.#digests[shard] ?? EMPTY_DIGEST
  }

  pendingChanges(limit: number): readonly StoreChange[] {
    return this.#journal.slice(0, limit)
  }

  acknowledge(sequence: number): void {
    this.#journal = this.#journal.filter((change) => change.sequence > sequence)
  }

  #put(entry: IndexEntry<DiskRef>): void {
    this.#take(entry.chunkId)
    this.#entries.set(entry.chunkId, entry)
    this.#shift(entry.chunkId, 1)
  }

  #take(chunkId: ChunkId): IndexEntry<DiskRef> | undefined {
    const entry = this.#entries.get(chunkId)
    this.#entries.delete(chunkId)
    if (entry?.state === 'good') this.#shift(chunkId, -1)
    return entry
  }

  #shift(chunkId: ChunkId, by: 1 | -1): void {
    const shard = shardOf(chunkId)
    const { count, hash } = this.digestOf(shard)
    this.#digests[shard] = { count: count + by, hash: hash ^ idHash(hexToBytes(chunkId)) }
  }

  #record(change: StoreChange): void {
    this.#journal.push(change)
    if (this.#journal.length > JOURNAL_MAX) this.#journal = this.#journal.slice(-JOURNAL_MAX / 2)
  }
}
