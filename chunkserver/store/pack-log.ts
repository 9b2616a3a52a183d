/**
 * The small chunks of one disk in an append-only log: `packs/<number>.pack`. Whatever waits is written by one write and made
 * durable by one sync, so that many chunks share them.
 *
 * Invariants: what has been written is never written again, and a group is written only once the one before it is synced;
 * after a failure nothing more goes into that file, and a process begins a file of its own, so that a torn end stays an end;
 * a record counts from its sync on until a later one, synced, says that it is gone, or its file goes.
 */
import path from 'node:path'
import type { BlockPool } from '../../common/bytes/block-pool.js'
import { sleep, type Clock } from '../../common/clock/clock.js'
import { systemError, type DiskFile } from '../../common/disk/disk.js'
import { systemCode } from '../../common/errors/cairn-error.js'
import { deferred, observed, type Deferred } from '../../common/flow/deferred.js'
import { MiB } from '../../common/units.js'
import type { ChunkDisk } from './chunk-disk.js'
import type { ChunkFooter } from './chunk-file.js'
import { withBlock } from './disk-io.js'
import {
  encodeChunkRecord,
  encodeGoneRecord,
  GONE_ENTRIES_MAX,
  goneRecordBytes,
  packRecordBytes,
  type GoneRecord,
  type PackPlace,
} from './pack-record.js'
import { unlessMissing } from './set-aside.js'

const PACK_SUFFIX = '.pack'
/** A pack that has grown so large is followed by the next one. */
const PACK_BYTES_MAX = 128 * MiB
/** What is written at once, at most. */
const GROUP_BYTES_MAX = 1 * MiB

export const packName = (pack: number): string => `${pack.toString(16).padStart(8, '0')}${PACK_SUFFIX}`

/** Undefined for names that are none of ours. */
export function packNumber(name: string): number | undefined {
  const match = /^([0-9a-f]{8})\.pack$/.exec(name)
  return match?.[1] === undefined ? undefined : parseInt(match[1], 16)
}

/** One file of the log. */
export interface Pack {
  readonly number: number
  file: DiskFile | undefined
  sizeBytes: number
  /** Operations that use the file now. */
  users: number
  /** What the lists in this pack say. They are needed as long as the packs are there that they speak of. */
  gone: GoneRecord[]
  /** It holds something that could not be understood or read: nothing of it is thrown away. */
  readonly isDamaged: boolean
}

type Entry =
  | { readonly kind: 'chunk'; readonly chunk: ChunkFooter; readonly data: Uint8Array; readonly done: Deferred<PackPlace> }
  | {
      readonly kind: 'gone'
      readonly records: readonly GoneRecord[]
      /** Nobody waits for it. */
      readonly isOwn?: boolean
      readonly done: Deferred<PackPlace>
    }

const bytesOf = (entry: Entry): number =>
  entry.kind === 'chunk' ? packRecordBytes(entry.chunk.lengthBytes) : goneRecordBytes(entry.records.length)

export class PackLog {
  readonly packs = new Map<number, Pack>()
  readonly #disk: ChunkDisk
  readonly #clock: Clock
  readonly #blocks: BlockPool
  #queue: Entry[] = []
  #writing = false
  #active: Pack | undefined
  #lastNumber = 0
  #group = 0
  /** Records of groups that failed, which may be there all the same: the next group says that they do not count. */
  #doubtful: GoneRecord[] = []

  /** @param blocks of 1 MiB, for what is being written */
  constructor(disk: ChunkDisk, clock: Clock, blocks: BlockPool) {
    this.#disk = disk
    this.#clock = clock
    this.#blocks = blocks
  }

  get directory(): string {
    return path.join(this.#disk.directory, 'packs')
  }

  pathOf(pack: number): string {
    return path.join(this.directory, packName(pack))
  }

  get activeNumber(): number | undefined {
    return this.#active?.number
  }

  /** This number is taken, whatever becomes of its file. */
  reserve(number: number): void {
    this.#lastNumber = Math.max(this.#lastNumber, number)
  }

  /** A file that was there at the start. Nothing is added to it any more. */
  adopt(number: number, sizeBytes: number, gone: GoneRecord[], isDamaged: boolean): void {
    this.packs.set(number, { number, file: undefined, sizeBytes, users: 0, gone, isDamaged })
    this.#disk.usage.packBytes += sizeBytes
  }

  /** Durable on return. @throws `DISK_FULL`, `DISK_FAILED`, `DISK_HANGS` */
  append(chunk: ChunkFooter, data: Uint8Array): Promise<PackPlace> {
    return this.#enqueue({ kind: 'chunk', chunk, data, done: deferred() })
  }

  /** Says that records count no more; durable on return. @throws as {@link append} */
  async drop(records: readonly GoneRecord[]): Promise<void> {
    const parts: Promise<PackPlace>[] = []
    for (let at = 0; at < records.length; at += GONE_ENTRIES_MAX)
      parts.push(this.#enqueue({ kind: 'gone', records: records.slice(at, at + GONE_ENTRIES_MAX), done: deferred() }))
    await Promise.all(parts)
  }

  #enqueue(entry: Entry): Promise<PackPlace> {
    this.#queue.push(entry)
    if (!this.#writing) {
      this.#writing = true
      void this.#drain()
    }
    return observed(entry.done.promise)
  }

  /** Never rejects: each entry hears of its own group. */
  async #drain(): Promise<void> {
    // Whoever comes in the same turn travels along.
    await sleep(this.#clock, 0)
    while (this.#queue.length > 0) {
      const group = this.#nextGroup()
      const places: PackPlace[] = []
      try {
        await this.#writeGroup(group, places)
        for (const [index, { done }] of group.entries()) done.resolve(places[index] as PackPlace)
      } catch (error) {
        // What lies there now is unknown, and a write that hangs may still come: the file is left as it is.
        this.#active = undefined
        this.#doubt(group, places)
        for (const { done } of group) done.reject(error)
      }
    }
    this.#writing = false
  }

  #doubt(group: readonly Entry[], places: readonly PackPlace[]): void {
    for (const [index, entry] of group.entries()) {
      const place = places[index]
      if (entry.kind === 'chunk' && place) this.#doubtful.push({ ...place, chunkId: entry.chunk.chunkId })
      else if (entry.kind === 'gone' && entry.isOwn) this.#doubtful.push(...entry.records)
    }
  }

  #nextGroup(): Entry[] {
    const doubtful = this.#doubtful.splice(0, GONE_ENTRIES_MAX)
    if (doubtful.length > 0) {
      const done = deferred<PackPlace>()
      void observed(done.promise)
      this.#queue.unshift({ kind: 'gone', records: doubtful, isOwn: true, done })
    }
    let bytes = 0
    let count = 0
    for (const entry of this.#queue) {
      bytes += bytesOf(entry)
      if (bytes > GROUP_BYTES_MAX && count > 0) break
      count += 1
    }
    return this.#queue.splice(0, count)
  }

  /** @param places filled with where the entries lie, before anything is written */
  async #writeGroup(group: readonly Entry[], places: PackPlace[]): Promise<void> {
    const pack = await this.#activePack()
    const file = pack.file
    if (!file) throw systemError('EBADF', 'the pack that is written to has no file')
    const stamp = { pack: pack.number, group: (this.#group += 1), writtenMs: this.#clock.now() }
    const start = pack.sizeBytes
    await withBlock(this.#blocks.acquire(), async (block) => {
      let length = 0
      for (const entry of group) {
        places.push({ pack: pack.number, offset: start + length })
        const target = block.bytes.subarray(length)
        length +=
          entry.kind === 'chunk'
            ? encodeChunkRecord(target, entry.chunk, entry.data, stamp)
            : encodeGoneRecord(target, entry.records, stamp)
      }
      // Counted before it is known what became of it: that much the file may have.
      pack.sizeBytes += length
      this.#disk.usage.packBytes += length
      await this.#disk.io('write', () => file.write(block.bytes.subarray(0, length), start))
      this.#disk.moved(length)
    })
    await this.#disk.io('sync', () => file.sync())
    for (const entry of group) if (entry.kind === 'gone') pack.gone.push(...entry.records)
  }

  async #activePack(): Promise<Pack> {
    if (this.#active && this.#active.sizeBytes < PACK_BYTES_MAX) return this.#active
    const number = (this.#lastNumber += 1)
    const file = await this.#create(number)
    const pack: Pack = { number, file, sizeBytes: 0, users: 0, gone: [], isDamaged: false }
    this.packs.set(number, pack)
    this.#group = 0
    this.#active = pack
    return pack
  }

  async #create(number: number): Promise<DiskFile> {
    const { disk } = this.#disk
    const open = () => this.#disk.io('write', () => disk.openFile(this.pathOf(number), { mode: 'update', direct: true }))
    let file: DiskFile
    try {
      file = await open()
    } catch (error) {
      if (systemCode(error) !== 'ENOENT') throw error
      await this.#disk.io('write', () => disk.makeDirectory(this.directory))
      await this.#disk.syncDirectory(this.#disk.directory)
      file = await open()
    }
    await this.#disk.syncDirectory(this.directory)
    return file
  }

  /**
   * Reads a record. @param target room for all of it, aligned
   * @returns how many bytes there were @throws the system's error; `ENOENT` when the file is gone
   */
  async read(place: PackPlace, target: Uint8Array): Promise<number> {
    const pack = this.packs.get(place.pack)
    if (!pack) throw systemError('ENOENT', this.pathOf(place.pack))
    pack.users += 1
    try {
      pack.file ??= await this.#open(pack)
      const file = pack.file
      const count = await this.#disk.io('read', () => file.read(target, place.offset))
      this.#disk.moved(count)
      return count
    } finally {
      pack.users -= 1
      if (pack.users === 0 && this.packs.get(pack.number) !== pack) await this.#closeFile(pack)
    }
  }

  async #open(pack: Pack): Promise<DiskFile> {
    const file = await this.#disk.io('read', () =>
      this.#disk.disk.openFile(this.pathOf(pack.number), { mode: 'read', direct: true }),
    )
    if (!pack.file) return file
    // Another reader was faster.
    await this.#disk.closeFile(file)
    return pack.file
  }

  /** Someone has taken the file away, or part of it: what it held cannot be read any more, whoever still has it open. */
  async forget(pack: Pack): Promise<void> {
    if (this.packs.get(pack.number) !== pack) return
    this.packs.delete(pack.number)
    this.#disk.usage.packBytes -= pack.sizeBytes
    if (this.#active === pack) this.#active = undefined
    if (pack.users === 0) await this.#closeFile(pack)
  }

  /** Removes a file that holds nothing which counts; durable on return. */
  async remove(pack: Pack): Promise<void> {
    await this.forget(pack)
    await unlessMissing(this.#disk.io('write', () => this.#disk.disk.remove(this.pathOf(pack.number))))
    await this.#disk.syncDirectory(this.directory)
  }

  async #closeFile(pack: Pack): Promise<void> {
    const { file } = pack
    pack.file = undefined
    if (file) await this.#disk.closeFile(file)
  }

  async close(): Promise<void> {
    for (const pack of this.packs.values()) if (pack.users === 0) await this.#closeFile(pack)
  }
}
