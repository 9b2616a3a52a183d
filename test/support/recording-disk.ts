/**
 * A disk that writes down every change, and what a power cut at any point of the record could leave behind.
 *
 * The model: until a file is synced each of its writes may be there, gone or torn; until a directory is synced each
 * change of its entries may be there or not, in any combination. A rename is one change, durable with either directory,
 * as in the file systems that keep a journal. A sync covers what had ended when it was asked for. Operations take a
 * random number of turns, so that those at the same time mix. The idea is that of ALICE (Pillai et al., OSDI 2014).
 */
import path from 'node:path'
import type { DirectoryEntry, DirectoryLock, Disk, DiskFile, DiskSpace, FileStat, OpenOptions } from '../../common/disk/disk.js'
import { MemoryDisk } from '../../common/disk/memory-disk.js'
import type { Random } from '../../common/random/random.js'

const SECTOR_BYTES = 512

type Change =
  | { readonly kind: 'write'; readonly inode: number; readonly position: number; readonly bytes: Uint8Array }
  | { readonly kind: 'truncate'; readonly inode: number; readonly sizeBytes: number }
  | { readonly kind: 'link'; readonly file: string; readonly inode: number | 'directory' }
  | { readonly kind: 'unlink'; readonly file: string }
  | { readonly kind: 'rename'; readonly from: string; readonly to: string; readonly inode: number }

interface RecordedChange {
  readonly at: number
  readonly change: Change
  /** Length of the record when it had ended. */
  endedAt: number
  /** When the first sync that covers it had ended. */
  durableAt?: number | undefined
}

interface RecordedSync {
  /** Of a file by number, of a directory by path. */
  readonly of: number | string
  /** What had ended by then is covered. */
  readonly begunAt: number
  readonly endedAt: number
}

/** What becomes of changes that nothing has made durable. */
export type Fate = 'all' | 'none' | Random

export class RecordingDisk implements Disk {
  readonly #live = new MemoryDisk()
  readonly #random: Random
  readonly #changes: RecordedChange[] = []
  readonly #syncs: RecordedSync[] = []
  /** Which file a path leads to now; a directory is marked as such. */
  readonly #inodes = new Map<string, number | 'directory'>([['/', 'directory']])
  #length = 0
  #lastInode = 0

  constructor(random: Random) {
    this.#random = random
  }

  async #dawdle(): Promise<void> {
    for (let turns = this.#random.integer(4); turns > 0; turns -= 1) await new Promise<void>((resolve) => setImmediate(resolve))
  }

  /** Points at which the power may be cut: from 0 to this. */
  get length(): number {
    return this.#length
  }

  /** Changes stored bytes behind everyone's back, durably. */
  damage(file: string, change: (content: Uint8Array) => void): void {
    this.#live.corrupt(file, change)
    const inode = this.#inodes.get(file)
    if (typeof inode !== 'number') throw new Error(`${file} is no file`)
    this.#live.corrupt(file, (content) => {
      this.#record({ kind: 'write', inode, position: 0, bytes: content.slice() }).endedAt = this.#length
    })
    this.#syncs.push({ of: inode, begunAt: this.#length, endedAt: this.#length })
  }

  /** The disk after a power cut: everything durable by `cut`, and of the rest what `fate` says. */
  async imageAt(cut: number, fate: Fate): Promise<MemoryDisk> {
    const contents = new Map<number, Uint8Array>()
    const directories = new Map<string, Map<string, number | 'directory'>>()
    for (const recorded of this.#changes) {
      if (recorded.at >= cut) break
      const { change } = recorded
      const applied = this.#isDurable(recorded, cut) ? change : survivor(change, fate)
      if (applied) apply(applied, contents, directories)
    }
    const image = new MemoryDisk()
    await build(image, '/', contents, directories)
    return image
  }

  #isDurable(recorded: RecordedChange, cut: number): boolean {
    const { change, endedAt } = recorded
    const places = placesOf(change)
    // The record only grows: the first sync that covers a change stays the first.
    recorded.durableAt ??= this.#syncs.find((sync) => places.includes(sync.of) && sync.begunAt >= endedAt)?.endedAt
    return (recorded.durableAt ?? Infinity) < cut
  }

  #record(change: Change): RecordedChange {
    const recorded: RecordedChange = { at: this.#length, change, endedAt: Infinity }
    this.#length += 1
    this.#changes.push(recorded)
    return recorded
  }

  #link(file: string, inode: number | 'directory'): void {
    this.#inodes.set(file, inode)
    this.#record({ kind: 'link', file, inode }).endedAt = this.#length
  }

  #unlink(file: string): void {
    this.#inodes.delete(file)
    this.#record({ kind: 'unlink', file }).endedAt = this.#length
  }

  async openFile(file: string, options: OpenOptions): Promise<DiskFile> {
    const handle = await this.#live.openFile(file, options)
    if (!this.#inodes.has(file)) this.#link(file, (this.#lastInode += 1))
    return this.#recorded(handle, this.#inodes.get(file) as number)
  }

  #recorded(handle: DiskFile, inode: number): DiskFile {
    const noted = async (change: Change, work: () => Promise<void>): Promise<void> => {
      const recorded = this.#record(change)
      await this.#dawdle()
      await work()
      recorded.endedAt = this.#length
    }
    return {
      direct: handle.direct,
      read: (target, position) => handle.read(target, position),
      write: (bytes, position) =>
        noted({ kind: 'write', inode, position, bytes: bytes.slice() }, () => handle.write(bytes, position)),
      sync: () => this.#synced(inode, () => handle.sync()),
      truncate: (sizeBytes) => noted({ kind: 'truncate', inode, sizeBytes }, () => handle.truncate(sizeBytes)),
      sizeBytes: () => handle.sizeBytes(),
      close: () => handle.close(),
    }
  }

  async #synced(of: number | string, work: () => Promise<void>): Promise<void> {
    const begunAt = this.#length
    await this.#dawdle()
    await work()
    this.#syncs.push({ of, begunAt, endedAt: this.#length })
    this.#length += 1
  }

  /** As node-disk.ts does it. */
  async replaceFile(file: string, content: Uint8Array): Promise<void> {
    const temporary = `${file}.new`
    if (this.#inodes.has(temporary)) await this.remove(temporary)
    const handle = await this.openFile(temporary, { mode: 'create' })
    await handle.write(content, 0)
    await handle.sync()
    await handle.close()
    await this.rename(temporary, file)
    await this.syncDirectory(path.dirname(file))
  }

  async makeDirectory(directory: string): Promise<void> {
    await this.#live.makeDirectory(directory)
    const missing: string[] = []
    for (let at = directory; !this.#inodes.has(at); at = path.dirname(at)) missing.unshift(at)
    for (const one of missing) this.#link(one, 'directory')
  }

  async rename(from: string, to: string): Promise<void> {
    await this.#dawdle()
    await this.#live.rename(from, to)
    const inode = this.#inodes.get(from) as number
    this.#inodes.set(to, inode)
    this.#inodes.delete(from)
    this.#record({ kind: 'rename', from, to, inode }).endedAt = this.#length
  }

  async remove(file: string): Promise<void> {
    await this.#live.remove(file)
    this.#unlink(file)
  }

  async removeTree(directory: string): Promise<void> {
    await this.#live.removeTree(directory)
    this.#unlink(directory)
  }

  syncDirectory(directory: string): Promise<void> {
    return this.#synced(directory, () => this.#live.syncDirectory(directory))
  }

  readFile(file: string): Promise<Uint8Array> {
    return this.#live.readFile(file)
  }

  stat(file: string): Promise<FileStat | undefined> {
    return this.#live.stat(file)
  }

  list(directory: string): Promise<DirectoryEntry[]> {
    return this.#live.list(directory)
  }

  space(directory: string): Promise<DiskSpace> {
    return this.#live.space(directory)
  }

  lockDirectory(directory: string): Promise<DirectoryLock> {
    return this.#live.lockDirectory(directory)
  }
}

/** What has to be synced for a change to be durable: one of these. */
function placesOf(change: Change): (number | string)[] {
  switch (change.kind) {
    case 'write':
    case 'truncate':
      return [change.inode]
    case 'rename':
      return [path.dirname(change.from), path.dirname(change.to)]
    case 'link':
    case 'unlink':
      return [path.dirname(change.file)]
  }
}

/** What is left of a change that nothing has made durable. */
function survivor(change: Change, fate: Fate): Change | undefined {
  if (fate === 'all') return change
  if (fate === 'none') return undefined
  const draw = fate.fraction()
  if (change.kind === 'write' && draw < 0.4) return torn(change, fate)
  return draw < 0.7 ? change : undefined
}

/** A write of which only the beginning, or the end, has reached the medium. */
function torn(change: Extract<Change, { kind: 'write' }>, random: Random): Change {
  const sectors = Math.ceil(change.bytes.length / SECTOR_BYTES)
  const cut = random.integer(sectors) * SECTOR_BYTES
  return random.integer(2) === 0
    ? { ...change, bytes: change.bytes.subarray(0, cut) }
    : { ...change, position: change.position + cut, bytes: change.bytes.subarray(cut) }
}

function apply(
  change: Change,
  contents: Map<number, Uint8Array>,
  directories: Map<string, Map<string, number | 'directory'>>,
): void {
  switch (change.kind) {
    case 'write': {
      const before = contents.get(change.inode) ?? new Uint8Array(0)
      const content = new Uint8Array(Math.max(before.length, change.position + change.bytes.length))
      content.set(before)
      content.set(change.bytes, change.position)
      contents.set(change.inode, content)
      return
    }
    case 'truncate': {
      const content = new Uint8Array(change.sizeBytes)
      content.set((contents.get(change.inode) ?? new Uint8Array(0)).subarray(0, change.sizeBytes))
      contents.set(change.inode, content)
      return
    }
    case 'link':
      return link(change.file, change.inode, directories)
    case 'unlink':
      return void directories.get(path.dirname(change.file))?.delete(path.basename(change.file))
    case 'rename':
      directories.get(path.dirname(change.from))?.delete(path.basename(change.from))
      return link(change.to, change.inode, directories)
  }
}

function link(file: string, inode: number | 'directory', directories: Map<string, Map<string, number | 'directory'>>): void {
  const directory = path.dirname(file)
  const entries = directories.get(directory) ?? new Map<string, number | 'directory'>()
  directories.set(directory, entries.set(path.basename(file), inode))
}

/** Makes what can be reached from the top. */
async function build(
  image: MemoryDisk,
  directory: string,
  contents: Map<number, Uint8Array>,
  directories: Map<string, Map<string, number | 'directory'>>,
): Promise<void> {
  await image.makeDirectory(directory)
  for (const [name, inode] of directories.get(directory) ?? []) {
    const entry = path.join(directory, name)
    if (inode === 'directory') await build(image, entry, contents, directories)
    else await image.replaceFile(entry, contents.get(inode) ?? new Uint8Array(0))
  }
  await image.syncDirectory(directory)
}
