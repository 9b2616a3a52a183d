/**
 * What a power cut leaves of a {@link MemoryTree}: what was synced, and of the rest any part or none. Unsynced writes come
 * apart at sectors, some of which hold neither the old nor the new bytes; of unsynced names any subset survives.
 */
import type { Random } from '../random/random.js'
import type { DirectoryNode, FileNode, MemoryTree, Node } from './memory-tree.js'

export interface CrashDamage {
  readonly random: Random
  /** The part of what was not synced that is lost or damaged, 0 to 1. */
  readonly share: number
  /** Writes are torn at multiples of this. */
  readonly sectorBytes: number
}

/** Of the sectors that are not as they were written, this part is garbage; the others hold what they held before. */
const GARBAGE_SHARE = 0.25

/** @param damage without it, all that was not synced is gone */
export function crashTree(tree: MemoryTree, damage: CrashDamage | undefined): void {
  tree.forgetPaths()
  const seen = new Set<Node>()
  const moved: { readonly directory: DirectoryNode; readonly name: string; readonly node: Node }[] = []
  const visit = (node: Node): void => {
    if (seen.has(node)) return
    seen.add(node)
    if (node.kind === 'file') return crashFile(node, damage)
    for (const [name, from] of node.movedAway)
      if (node.synced.get(name) === from) moved.push({ directory: node, name, node: from })
    crashDirectory(node, damage)
    for (const child of node.entries.values()) visit(child)
  }
  visit(tree.root)
  for (const { directory, name, node } of moved) {
    if (seen.has(node) || directory.entries.has(name) || !seen.has(directory)) continue
    directory.entries.set(name, node)
    directory.synced.set(name, node)
    visit(node)
  }
}

function crashDirectory(directory: DirectoryNode, damage: CrashDamage | undefined): void {
  const { entries, synced } = directory
  for (const name of new Set([...entries.keys(), ...synced.keys()])) {
    const before = synced.get(name)
    if (before === entries.get(name) || (damage && damage.random.fraction() >= damage.share)) continue
    if (before) entries.set(name, before)
    else entries.delete(name)
  }
  directory.synced = new Map(entries)
  directory.movedAway = new Map()
}

function crashFile(node: FileNode, damage: CrashDamage | undefined): void {
  if (damage && node.unsynced.length > 0) tear(node, damage)
  node.content = node.synced
  node.sizeBytes = node.syncedBytes
  node.unsynced = []
}

/** Makes `synced` what is found after the crash. */
function tear(node: FileNode, { random, share, sectorBytes }: CrashDamage): void {
  const sizeBytes = random.fraction() < share / 2 ? node.syncedBytes : node.sizeBytes
  const after = new Uint8Array(sizeBytes)
  after.set(node.synced.subarray(0, Math.min(sizeBytes, node.syncedBytes)))
  for (const [start, end] of node.unsynced) {
    for (let at = Math.floor(start / sectorBytes) * sectorBytes; at < Math.min(end, sizeBytes); at += sectorBytes) {
      const to = Math.min(at + sectorBytes, sizeBytes)
      if (random.fraction() >= share) after.set(node.content.subarray(at, to), at)
      else if (random.fraction() < GARBAGE_SHARE) after.fill(random.integer(256), at, to)
    }
  }
  node.synced = after
  node.syncedBytes = sizeBytes
}
