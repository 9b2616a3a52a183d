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
    await this.fault?.('open', file)
    const directory = this.#directory(path.dirname(file))
    const existing = directory.entries.get(path.basename(file))
    if (existing?.kind === 'directory') throw systemError('EISDIR', file)
    if (options.mode === 'read' && !existing) throw systemError('ENOENT', file)
    if (options.mode === 'create' && existing) throw systemError('EEXIST', file)
    const node: FileNode = existing ?? {
      kind: 'file',
      content: new Uint8Array(0),
      sizeBytes: 0,
      synced: new Uint8Array(0),
      modifiedMs: this.#now(),
    }
    directory.entries.set(path.basename(file), node)
    const direct = options.direct === true && this.#options.supportsDirect !== false
    return this.#handle(node, file, direct)
  }

  #handle(node: FileNode, file: string, direct: boolean): DiskFile {
    const generation = this.#generation
    const check = async (operation: DiskOperation): Promise<void> => {
      await this.fault?.(operation, file)
      if (generation !== this.#generation) throw systemError('EIO', `${file} was open when the machine crashed`)
    }
    const aligned = (...values: number[]): void => {
      if (direct && values.some((value) => value % DISK_ALIGNMENT_BYTES !== 0))
        throw systemError('EINVAL', `unaligned direct I/O on ${file}`)
    }
    return {
      direct,
      read: async (target, position) => {
        await check('read')
        aligned(position, target.length)
        const count = Math.max(0, Math.min(target.length, node.sizeBytes - position))
        target.set(node.content.subarray(position, position + count))
        return count
      },
      write: async (bytes, position) => {
        await check('write')
        aligned(position, bytes.length)
        const end = position + bytes.length
        if (end > node.sizeBytes && this.#used() + end - node.sizeBytes > this.#capacity()) throw systemError('ENOSPC', file)
        if (end > node.content.length) {
          const grown = new Uint8Array(Math.max(end, node.content.length * 2))
          grown.set(node.content.subarray(0, node.sizeBytes))
          node.content = grown
        }
        node.content.set(bytes, position)
        node.sizeBytes = Math.max(node.sizeBytes, end)
        node.modifiedMs = this.#now()
      },
      sync: async () => {
        await check('sync')
        node.synced = node.content.slice(0, node.sizeBytes)
      },
      truncate: async (sizeBytes) => {
        await check('write')
        const content = new Uint8Array(sizeBytes)
        content.set(node.content.subarray(0, Math.min(sizeBytes, node.sizeBytes)))
        node.content = content
        node.sizeBytes = sizeBytes
      },
      sizeBytes: async () => node.sizeBytes,
      close: async () => undefined,
    }
  }

  async readFile(file: string): Promise<Uint8Array> {
    await this.fault?.('read', file)
    const node = this.#file(file)
    return node.content.slice(0, node.sizeBytes)
  }

  async replaceFile(file: string, content: Uint8Array): Promise<void> {
    await this.fault?.('write', file)
    const node: FileNode = {
      kind: 'file',
      content: content.slice(),
      sizeBytes: content.length,
      synced: content.slice(),
      modifiedMs: this.#now(),
    }
    this.#directory(path.dirname(file)).entries.set(path.basename(file), node)
    await this.syncDirectory(path.dirname(file))
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
    for (const name of segments(directory)) {
      const next = node.entries.get(name) ?? newDirectory()
      if (next.kind !== 'directory') throw systemError('ENOTDIR', directory)
      node.entries.set(name, next)
      node = next
    }
  }

  async rename(from: string, to: string): Promise<void> {
    await this.fault?.('rename', from)
    const source = this.#directory(path.dirname(from))
    const node = source.entries.get(path.basename(from))
    if (!node) throw systemError('ENOENT', from)
    const target = this.#directory(path.dirname(to))
    source.entries.delete(path.basename(from))
    target.entries.set(path.basename(to), node)
  }

  async remove(file: string): Promise<void> {
    await this.fault?.('remove', file)
    if (!this.#directory(path.dirname(file)).entries.delete(path.basename(file))) throw systemError('ENOENT', file)
  }

  async removeTree(directory: string): Promise<void> {
    this.#find(path.dirname(directory))
    if (this.#find(directory)) this.#directory(path.dirname(directory)).entries.delete(path.basename(directory))
  }

  async syncDirectory(directory: string): Promise<void> {
    await this.fault?.('syncDirectory', directory)
    const node = this.#directory(directory)
    node.synced = new Map(node.entries)
  }

  async space(): Promise<DiskSpace> {
    return { totalBytes: this.#capacity(), freeBytes: Math.max(0, this.#capacity() - this.#used()) }
  }

  async lockDirectory(directory: string): Promise<DirectoryLock> {
    await this.makeDirectory(directory)
    if (this.#locks.has(directory)) throw new CairnError('DIRECTORY_LOCKED', `${directory} is in use by another running process.`)
    const locks = this.#locks.add(directory)
    return { release: () => void locks.delete(directory) }
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
    let node: Node = this.#root
    for (const name of segments(file)) {
      const next: Node | undefined = node.kind === 'directory' ? node.entries.get(name) : undefined
      if (!next) return undefined
      node = next
    }
    return node
  }

  #directory(directory: string): DirectoryNode {
    const node = this.#find(directory)
    if (!node) throw systemError('ENOENT', directory)
    if (node.kind !== 'directory') throw systemError('ENOTDIR', directory)
    return node
  }

  #file(file: string): FileNode {
    const node = this.#find(file)
    if (!node) throw systemError('ENOENT', file)
    if (node.kind !== 'file') throw systemError('EISDIR', file)
    return node
  }
}

const segments = (file: string): string[] => file.split('/').filter((segment) => segment !== '' && segment !== '.')
