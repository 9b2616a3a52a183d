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

interface FileNode {
  readonly kind: 'file'
  content: Uint8Array
  sizeBytes: number
  synced: Uint8Array
  modifiedMs: number
}

interface DirectoryNode {
  readonly kind: 'directory'
  readonly entries: Map<string, Node>
  synced: Map<string, Node>
}

type Node = FileNode | DirectoryNode

export type DiskOperation = 'open' | 'read' | 'write' | 'sync' | 'syncDirectory' | 'rename' | 'remove'

/** Looks at each operation before it happens; throws to make it fail, waits to make it slow. */
export type DiskFault = (operation: DiskOperation, path: string) => void | Promise<void>

export interface MemoryDiskOptions {
  readonly capacityBytes?: number
  readonly supportsDirect?: boolean
  readonly now?: () => number
}

const newDirectory = (): DirectoryNode => ({ kind: 'directory', entries: new Map(), synced: new Map() })

export class MemoryDisk implements Disk {
  fault: DiskFault | undefined
  readonly #root = newDirectory()
  readonly #options: MemoryDiskOptions
  #locks = new Set<string>()
  #generation = 0

  constructor(options: MemoryDiskOptions = {}) {
    this.#options = options
  }

  /** What a power cut leaves: only what was synced. Open files and locks are gone. */
  crash(): void {
    this.#generation += 1
    this.#locks = new Set()
    const revert = (directory: DirectoryNode): void => {
      directory.entries.clear()
      for (const [name, node] of directory.synced) {
        directory.entries.set(name, node)
        if (node.kind === 'directory') revert(node)
        else {
          node.content = node.synced.slice()
          node.sizeBytes = node.synced.length
        }
      }
    }
    revert(this.#root)
  }

  /** Changes stored bytes behind everyone's back, as rot does: `change` gets the content that reads see. */
  corrupt(file: string, change: (content: Uint8Array) => void): void {
    const node = this.#file(file)
    change(node.content.subarray(0, node.sizeBytes))
    node.synced = node.content.slice(0, node.sizeBytes)
  }

  async openFile(file: string, options: OpenOptions): Promise<DiskFile> {
    await this.#enter('open', file)
    const directory = this.#directory(path.dirname(file))
    const existing = directory.entries.get(path.basename(file))
    if (options.mode === 'create' && existing) throw systemError('EEXIST', file)
    if (existing?.kind === 'directory') throw systemError('EISDIR', file)
    if (options.mode === 'read' && !existing) throw systemError('ENOENT', file)
    const node = existing ?? this.#newFile(new Uint8Array(0))
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
        node.synced = node.content.slice(0, node.sizeBytes)
      },
      truncate: async (sizeBytes) => {
        await check('write')
        if (mode === 'read') throw systemError('EINVAL', file)
        const content = new Uint8Array(sizeBytes)
        content.set(node.content.subarray(0, Math.min(sizeBytes, node.sizeBytes)))
        node.content = content
        node.sizeBytes = sizeBytes
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
    const end = position + bytes.length
    this.#reserve(end - node.sizeBytes, file)
    if (end > node.content.length) {
      const grown = new Uint8Array(Math.max(end, node.content.length * 2))
      grown.set(node.content.subarray(0, node.sizeBytes))
      node.content = grown
    }
    node.content.set(bytes, position)
    node.sizeBytes = Math.max(node.sizeBytes, end)
    node.modifiedMs = this.#now()
  }

  async readFile(file: string): Promise<Uint8Array> {
    await this.#enter('read', file)
    const node = this.#file(file)
    return node.content.slice(0, node.sizeBytes)
  }

  async replaceFile(file: string, content: Uint8Array): Promise<void> {
    const generation = this.#generation
    await this.#enter('write', file)
    const directory = this.#directory(path.dirname(file))
    if (directory.entries.get(path.basename(file))?.kind === 'directory') throw systemError('EISDIR', file)
    this.#reserve(content.length, file)
    directory.entries.set(path.basename(file), this.#newFile(content))
    await this.#syncDirectory(path.dirname(file), generation)
  }

  async stat(file: string): Promise<FileStat | undefined> {
    const node = this.#find(file)
    if (!node) return undefined
    return node.kind === 'file'
      ? { kind: 'file', sizeBytes: node.sizeBytes, modifiedMs: node.modifiedMs }
      : { kind: 'directory', sizeBytes: 0, modifiedMs: 0 }
  }

  async list(directory: string): Promise<DirectoryEntry[]> {
    return [...this.#directory(directory).entries].map(([name, node]) => ({ name, kind: node.kind }))
  }

  async makeDirectory(directory: string): Promise<void> {
    let node = this.#root
    const names = segments(directory)
    for (const [index, name] of names.entries()) {
      const next = node.entries.get(name) ?? newDirectory()
      if (next.kind !== 'directory') throw systemError(index === names.length - 1 ? 'EEXIST' : 'ENOTDIR', directory)
      node.entries.set(name, next)
      node = next
    }
  }

  async rename(from: string, to: string): Promise<void> {
    await this.#enter('rename', from)
    const source = this.#directory(path.dirname(from))
    const node = source.entries.get(path.basename(from))
    if (!node) throw systemError('ENOENT', from)
    const target = this.#directory(path.dirname(to))
    const replaced = target.entries.get(path.basename(to))
    if (replaced === node) return
    if (node.kind === 'directory' && `${segments(to).join('/')}/`.startsWith(`${segments(from).join('/')}/`))
      throw systemError('EINVAL', `${from} into itself`)
    if (replaced?.kind === 'directory' && node.kind === 'file') throw systemError('EISDIR', to)
    if (replaced?.kind === 'file' && node.kind === 'directory') throw systemError('ENOTDIR', to)
    if (replaced?.kind === 'directory' && replaced.entries.size > 0) throw systemError('ENOTEMPTY', to)
    source.entries.delete(path.basename(from))
    target.entries.set(path.basename(to), node)
  }

  async remove(file: string): Promise<void> {
    await this.#enter('remove', file)
    this.#file(file)
    this.#directory(path.dirname(file)).entries.delete(path.basename(file))
  }

  async removeTree(directory: string): Promise<void> {
    await this.#enter('remove', directory)
    if (this.#find(directory)) this.#directory(path.dirname(directory)).entries.delete(path.basename(directory))
  }

  async syncDirectory(directory: string): Promise<void> {
    await this.#syncDirectory(directory, this.#generation)
  }

  async #syncDirectory(directory: string, generation: number): Promise<void> {
    await this.#enter('syncDirectory', directory, generation)
    const node = this.#directory(directory)
    node.synced = new Map(node.entries)
  }

  async space(directory: string): Promise<DiskSpace> {
    this.#existing(directory)
    return { totalBytes: this.#capacity(), freeBytes: Math.max(0, this.#capacity() - this.#used()) }
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

  #newFile(content: Uint8Array): FileNode {
    return { kind: 'file', content: content.slice(), sizeBytes: content.length, synced: content.slice(), modifiedMs: this.#now() }
  }

  #reserve(bytes: number, file: string): void {
    if (bytes > 0 && this.#used() + bytes > this.#capacity()) throw systemError('ENOSPC', file)
  }

  #now(): number {
    return this.#options.now?.() ?? 0
  }

  #capacity(): number {
    return this.#options.capacityBytes ?? 2 ** 40
  }

  #used(): number {
    const sum = (directory: DirectoryNode): number => {
      let total = 0
      for (const node of directory.entries.values()) total += node.kind === 'file' ? node.sizeBytes : sum(node)
      return total
    }
    return sum(this.#root)
  }

  #find(file: string): Node | undefined {
    return this.#walk(file).node
  }

  /** `code` says why there is no node. */
  #walk(file: string): { readonly node?: Node; readonly code: string } {
    let node: Node = this.#root
    for (const name of segments(file)) {
      if (node.kind !== 'directory') return { code: 'ENOTDIR' }
      const next = node.entries.get(name)
      if (!next) return { code: 'ENOENT' }
      node = next
    }
    return { node, code: '' }
  }

  #existing(file: string): Node {
    const { node, code } = this.#walk(file)
    if (!node) throw systemError(code, file)
    return node
  }

  #directory(directory: string): DirectoryNode {
    const node = this.#existing(directory)
    if (node.kind !== 'directory') throw systemError('ENOTDIR', directory)
    return node
  }

  #file(file: string): FileNode {
    const node = this.#existing(file)
    if (node.kind !== 'file') throw systemError('EISDIR', file)
    return node
  }
}

const segments = (file: string): string[] => file.split('/').filter((segment) => segment !== '' && segment !== '.')
