/**
 * A disk in memory that forgets on {@link MemoryDisk.crash} whatever was not synced: content without `sync`, names
 * without `syncDirectory`. The idea is LevelDB's FaultInjectionTestEnv (db/fault_injection_test.cc).
 */
import path from 'node:path'
import { CairnError } from '../errors/cairn-error.js'
import {
  DISK_ALIGNMENT_BYTES,
  systemError,
  type DirectoryEntry,
  type DirectoryLock,
  type Disk,
  type DiskFile,
  type DiskSpace,
  type FileStat,
  type OpenMode,
  type OpenOptions,
} from './disk.js'
import { crashTree, type CrashDamage } from './memory-crash.js'
import {
  filesBelow,
  MemoryTree,
  newFile,
  resizeFile,
  segments,
  syncFile,
  writeFile,
  type FileNode,
  type Node,
} from './memory-tree.js'

export type DiskOperation = 'open' | 'read' | 'write' | 'sync' | 'syncDirectory' | 'rename' | 'remove' | 'look'

/** Looks at each operation before it happens; throws to make it fail, waits to make it slow. `look`: stat, list, space, mkdir. */
export type DiskFault = (operation: DiskOperation, path: string) => void | Promise<void>

export interface MemoryDiskOptions {
  readonly capacityBytes?: number
  readonly supportsDirect?: boolean
  readonly now?: () => number
}

export class MemoryDisk implements Disk {
  fault: DiskFault | undefined
  /** May be changed at any time: a disk can become full by what others write to it. */
  capacityBytes: number
  readonly #tree = new MemoryTree()
  readonly #options: MemoryDiskOptions
  #locks = new Set<string>()
  #generation = 0
  #usedBytes: number | undefined

  constructor(options: MemoryDiskOptions = {}) {
    this.#options = options
    this.capacityBytes = options.capacityBytes ?? 2 ** 40
  }

  /**
   * What a power cut leaves: what was synced, and of the rest nothing, or what `damage` leaves of it. Open files and
   * locks are gone.
   */
  crash(damage?: CrashDamage): void {
    this.#generation += 1
    this.#locks = new Set()
    this.#usedBytes = undefined
    crashTree(this.#tree, damage)
  }

  /** Changes stored bytes behind everyone's back, as rot does: `change` gets the content that reads see. */
  corrupt(file: string, change: (content: Uint8Array) => void): void {
    const node = this.#tree.file(file)
    change(node.content.subarray(0, node.sizeBytes))
    if (node.content !== node.synced) node.synced = node.content.slice(0, node.sizeBytes)
    node.syncedBytes = node.sizeBytes
    node.unsynced = []
  }

  /** Cuts a stored file behind everyone's back, or takes it away altogether. */
  lose(file: string, keptBytes: number | undefined): void {
    const directory = this.#tree.directory(path.dirname(file))
    const node = this.#tree.file(file)
    this.#usedBytes = undefined
    if (keptBytes === undefined) {
      directory.entries.delete(path.basename(file))
      directory.synced.delete(path.basename(file))
    } else {
      resizeFile(node, keptBytes)
      syncFile(node)
    }
  }

  /** What a power cut right now would leave of a file, by its path; undefined when there would be none. Not to be changed. */
  durable(file: string): Uint8Array | undefined {
    let node: Node | undefined = this.#tree.root
    for (const name of segments(file)) node = node?.kind === 'directory' ? node.synced.get(name) : undefined
    return node?.kind === 'file' ? node.synced.subarray(0, node.syncedBytes) : undefined
  }

  /** What reads see of a file now; undefined when there is none. Not to be changed. */
  peek(file: string): Uint8Array | undefined {
    const node = this.#tree.find(file)
    return node?.kind === 'file' ? node.content.subarray(0, node.sizeBytes) : undefined
  }

  /** When a file was last written, milliseconds since the epoch. */
  peekModifiedMs(file: string): number | undefined {
    const node = this.#tree.find(file)
    return node?.kind === 'file' ? node.modifiedMs : undefined
  }

  /** The paths of all files below a directory, in the order of their names. */
  peekFiles(directory: string): string[] {
    const node = this.#tree.find(directory)
    return node?.kind === 'directory' ? [...filesBelow(node, directory)] : []
  }

  /** The names in a directory, in order; none when there is no such directory. */
  peekNames(directory: string): string[] {
    const node = this.#tree.find(directory)
    return node?.kind === 'directory' ? [...node.entries.keys()].sort() : []
  }

  async openFile(file: string, options: OpenOptions): Promise<DiskFile> {
    await this.#enter('open', file)
    const directory = this.#tree.directory(path.dirname(file))
    const existing = directory.entries.get(path.basename(file))
    if (options.mode === 'create' && existing) throw systemError('EEXIST', file)
    if (existing?.kind === 'directory') throw systemError('EISDIR', file)
    if (options.mode === 'read' && !existing) throw systemError('ENOENT', file)
    const node = existing ?? newFile(new Uint8Array(0), this.#now())
    directory.entries.set(path.basename(file), node)
    const direct = options.direct === true && this.#options.supportsDirect !== false
    return this.#handle(node, file, options.mode, direct)
  }

  #handle(node: FileNode, file: string, mode: OpenMode, direct: boolean): DiskFile {
    const generation = this.#generation
    let closed = false
    const check = async (operation: DiskOperation, allowed = true): Promise<void> => {
      await this.#enter(operation, file, generation)
      if (closed || !allowed) throw systemError('EBADF', file)
    }
    const aligned = (...values: number[]): void => {
      if (direct && values.some((value) => value % DISK_ALIGNMENT_BYTES !== 0))
        throw systemError('EINVAL', `unaligned direct I/O on ${file}`)
    }
    return {
      direct,
      read: async (target, position) => {
        await check('read', mode !== 'create')
        aligned(position, target.length)
        const count = Math.max(0, Math.min(target.length, node.sizeBytes - position))
        target.set(node.content.subarray(position, position + count))
        return count
      },
      write: async (bytes, position) => {
        await check('write', mode !== 'read')
        aligned(position, bytes.length)
        if (bytes.length > 0) this.#write(node, file, bytes, position)
      },
      sync: async () => {
        await check('sync')
        syncFile(node)
      },
      truncate: async (sizeBytes) => {
        await check('write')
        if (mode === 'read') throw systemError('EINVAL', file)
        resizeFile(node, sizeBytes)
        this.#usedBytes = undefined
        node.modifiedMs = this.#now()
      },
      sizeBytes: async () => {
        if (closed) throw systemError('EBADF', file)
        return node.sizeBytes
      },
      close: async () => void (closed = true),
    }
  }

  #write(node: FileNode, file: string, bytes: Uint8Array, position: number): void {
    const growth = Math.max(0, position + bytes.length - node.sizeBytes)
    this.#reserve(growth, file)
    writeFile(node, bytes, position)
    this.#usedBytes = this.#used() + growth
    node.modifiedMs = this.#now()
  }

  async readFile(file: string): Promise<Uint8Array> {
    await this.#enter('read', file)
    const node = this.#tree.file(file)
    return node.content.slice(0, node.sizeBytes)
  }

  async replaceFile(file: string, content: Uint8Array): Promise<void> {
    const generation = this.#generation
    await this.#enter('write', file)
    const directory = this.#tree.directory(path.dirname(file))
    if (directory.entries.get(path.basename(file))?.kind === 'directory') throw systemError('EISDIR', file)
    this.#reserve(content.length, file)
    directory.entries.set(path.basename(file), newFile(content, this.#now()))
    this.#usedBytes = undefined
    await this.#syncDirectory(path.dirname(file), generation)
  }

  async stat(file: string): Promise<FileStat | undefined> {
    await this.#enter('look', file)
    const node = this.#tree.find(file)
    if (!node) return undefined
    return node.kind === 'file'
      ? { kind: 'file', sizeBytes: node.sizeBytes, modifiedMs: node.modifiedMs }
      : { kind: 'directory', sizeBytes: 0, modifiedMs: 0 }
  }

  async list(directory: string): Promise<DirectoryEntry[]> {
    await this.#enter('look', directory)
    return [...this.#tree.directory(directory).entries].map(([name, node]) => ({ name, kind: node.kind }))
  }

  async makeDirectory(directory: string): Promise<void> {
    await this.#enter('look', directory)
    this.#tree.make(directory)
  }

  async rename(from: string, to: string): Promise<void> {
    await this.#enter('rename', from)
    const source = this.#tree.directory(path.dirname(from))
    const node = source.entries.get(path.basename(from))
    if (!node) throw systemError('ENOENT', from)
    const target = this.#tree.directory(path.dirname(to))
    const replaced = target.entries.get(path.basename(to))
    if (replaced === node) return
    if (node.kind === 'directory' && `${segments(to).join('/')}/`.startsWith(`${segments(from).join('/')}/`))
      throw systemError('EINVAL', `${from} into itself`)
    if (replaced?.kind === 'directory' && node.kind === 'file') throw systemError('EISDIR', to)
    if (replaced?.kind === 'file' && node.kind === 'directory') throw systemError('ENOTDIR', to)
    if (replaced?.kind === 'directory' && replaced.entries.size > 0) throw systemError('ENOTEMPTY', to)
    source.entries.delete(path.basename(from))
    source.movedAway.set(path.basename(from), node)
    target.entries.set(path.basename(to), node)
    if (replaced) this.#usedBytes = undefined
    if (node.kind === 'directory') this.#tree.forgetPaths()
  }

  async remove(file: string): Promise<void> {
    await this.#enter('remove', file)
    this.#tree.file(file)
    this.#tree.directory(path.dirname(file)).entries.delete(path.basename(file))
    this.#usedBytes = undefined
  }

  async removeTree(directory: string): Promise<void> {
    await this.#enter('remove', directory)
    if (this.#tree.find(directory)) this.#tree.directory(path.dirname(directory)).entries.delete(path.basename(directory))
    this.#usedBytes = undefined
    this.#tree.forgetPaths()
  }

  async syncDirectory(directory: string): Promise<void> {
    await this.#syncDirectory(directory, this.#generation)
  }

  async #syncDirectory(directory: string, generation: number): Promise<void> {
    await this.#enter('syncDirectory', directory, generation)
    const node = this.#tree.directory(directory)
    node.synced = new Map(node.entries)
    node.movedAway = new Map()
  }

  async space(directory: string): Promise<DiskSpace> {
    await this.#enter('look', directory)
    this.#tree.existing(directory)
    return { totalBytes: this.capacityBytes, freeBytes: Math.max(0, this.capacityBytes - this.#used()) }
  }

  async lockDirectory(directory: string): Promise<DirectoryLock> {
    await this.makeDirectory(directory)
    const name = segments(directory).join('/')
    if (this.#locks.has(name)) throw new CairnError('DIRECTORY_LOCKED', `${directory} is in use by another running process.`)
    const locks = this.#locks.add(name)
    let held = true
    return {
      release: () => {
        if (held) locks.delete(name)
        held = false
      },
    }
  }

  /** Lets the fault have its way. What began before a crash does not happen after it. */
  async #enter(operation: DiskOperation, file: string, generation = this.#generation): Promise<void> {
    await this.fault?.(operation, file)
    if (generation !== this.#generation) throw systemError('EIO', `the machine crashed while ${file} was in use`)
  }

  #reserve(bytes: number, file: string): void {
    if (bytes > 0 && this.#used() + bytes > this.capacityBytes) throw systemError('ENOSPC', file)
  }

  #now(): number {
    return this.#options.now?.() ?? 0
  }

  /** Bytes of all files, those that nobody has synced included. */
  get usedBytes(): number {
    return this.#used()
  }

  #used(): number {
    return (this.#usedBytes ??= this.#tree.usedBytes())
  }
}
