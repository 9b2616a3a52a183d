/** The files and directories of a {@link MemoryDisk}, each with what it is and what of it would survive a power cut. */
import path from 'node:path'
import { systemError } from './disk.js'

export interface FileNode {
  readonly kind: 'file'
  content: Uint8Array
  sizeBytes: number
  /** May be the same memory as `content`, until the next write. */
  synced: Uint8Array
  syncedBytes: number
  /** Where `content` was written since the last sync, as pairs of start and end. */
  unsynced: (readonly [start: number, end: number])[]
  modifiedMs: number
}

export interface DirectoryNode {
  readonly kind: 'directory'
  readonly entries: Map<string, Node>
  synced: Map<string, Node>
  /** What was moved to another directory since the last sync: a crash may undo that, but cannot lose the file by it. */
  movedAway: Map<string, Node>
}

export type Node = FileNode | DirectoryNode

export const newDirectory = (): DirectoryNode => ({
  kind: 'directory',
  entries: new Map(),
  synced: new Map(),
  movedAway: new Map(),
})

/** A file whose content is durable, though its name may not be. */
export function newFile(content: Uint8Array, modifiedMs: number): FileNode {
  const own = content.slice()
  return { kind: 'file', content: own, sizeBytes: own.length, synced: own, syncedBytes: own.length, unsynced: [], modifiedMs }
}

export function writeFile(node: FileNode, bytes: Uint8Array, position: number): void {
  const end = position + bytes.length
  if (end > node.content.length || node.content === node.synced) {
    const grown = new Uint8Array(end > node.content.length ? Math.max(end, node.content.length * 2) : node.content.length)
    grown.set(node.content.subarray(0, node.sizeBytes))
    node.content = grown
  }
  node.content.set(bytes, position)
  node.sizeBytes = Math.max(node.sizeBytes, end)
  node.unsynced.push([position, end])
}

export function resizeFile(node: FileNode, sizeBytes: number): void {
  const content = new Uint8Array(sizeBytes)
  content.set(node.content.subarray(0, Math.min(sizeBytes, node.sizeBytes)))
  node.content = content
  node.sizeBytes = sizeBytes
  node.unsynced.push([0, sizeBytes])
}

export function syncFile(node: FileNode): void {
  node.synced = node.content
  node.syncedBytes = node.sizeBytes
  node.unsynced = []
}

/** A tree of nodes, found by path. */
export class MemoryTree {
  readonly root = newDirectory()
  /** Directories by the paths they were asked for by; dropped whenever one may have moved. */
  #known = new Map<string, DirectoryNode>()

  forgetPaths(): void {
    this.#known = new Map()
  }

  find(file: string): Node | undefined {
    const parent = this.#known.get(path.dirname(file))
    return parent ? parent.entries.get(path.basename(file)) : this.#walk(file).node
  }

  /** @throws ENOENT, ENOTDIR */
  existing(file: string): Node {
    const found = this.#known.get(path.dirname(file))?.entries.get(path.basename(file))
    if (found) return found
    const { node, code } = this.#walk(file)
    if (!node) throw systemError(code, file)
    return node
  }

  directory(directory: string): DirectoryNode {
    const known = this.#known.get(directory)
    if (known) return known
    const node = this.existing(directory)
    if (node.kind !== 'directory') throw systemError('ENOTDIR', directory)
    this.#known.set(directory, node)
    return node
  }

  file(file: string): FileNode {
    const node = this.existing(file)
    if (node.kind !== 'file') throw systemError('EISDIR', file)
    return node
  }

  /** Makes a directory and its parents. */
  make(directory: string): void {
    if (this.#known.has(directory)) return
    let node = this.root
    const names = segments(directory)
    for (const [index, name] of names.entries()) {
      const next = node.entries.get(name) ?? newDirectory()
      if (next.kind !== 'directory') throw systemError(index === names.length - 1 ? 'EEXIST' : 'ENOTDIR', directory)
      node.entries.set(name, next)
      node = next
    }
  }

  usedBytes(directory = this.root): number {
    let total = 0
    for (const node of directory.entries.values()) total += node.kind === 'file' ? node.sizeBytes : this.usedBytes(node)
    return total
  }

  /** `code` says why there is no node. */
  #walk(file: string): { readonly node?: Node; readonly code: string } {
    let node: Node = this.root
    for (const name of segments(file)) {
      if (node.kind !== 'directory') return { code: 'ENOTDIR' }
      const next = node.entries.get(name)
      if (!next) return { code: 'ENOENT' }
      node = next
    }
    return { node, code: '' }
  }
}

export const segments = (file: string): string[] => file.split('/').filter((segment) => segment !== '' && segment !== '.')

export function* filesBelow(directory: DirectoryNode, at: string): Generator<string> {
  if (directory.entries.size === 0) return
  for (const [name, node] of [...directory.entries].sort(([one], [other]) => (one < other ? -1 : 1))) {
    if (node.kind === 'file') yield `${at}/${name}`
    else yield* filesBelow(node, `${at}/${name}`)
  }
}
