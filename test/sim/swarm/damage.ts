/** Breaking a copy of a chunk behind its server's back, in the ways of disks. */
import type { Atlas } from './atlas.js'
import { copiesOn, type Copy, type PackedRecord } from './cluster-copies.js'
import type { SimServer } from '../../support/sim-cluster.js'
import type { World } from './world.js'

export type Damage = 'bit-flip' | 'torn-chunk' | 'lost-chunk' | 'misdirected-write' | 'unreadable-sector'

const SECTOR_BYTES = 4096

/** @returns false when the server has no copy that may be broken */
export function damageCopy(world: World, atlas: Atlas, server: SimServer, how: Damage): boolean {
  const copy = atlas.draw(server)
  if (!copy) return false
  const { disk, file, chunkId } = copy
  const sizeBytes = disk.peek(file)?.length ?? 0
  if (sizeBytes === 0) return false
  world.note(`${how} in chunk ${chunkId} on ${server.node}, also good on ${atlas.others(server, chunkId).join(' ')}`)
  atlas.broken(server, chunkId)
  if (copy.record) return damageRecord(world, copy, copy.record, how)
  switch (how) {
    case 'bit-flip':
      disk.corrupt(file, (content) => {
        const at = world.random.integer(content.length)
        content[at] = (content[at] ?? 0) ^ (1 << world.random.integer(8))
      })
      return true
    case 'torn-chunk':
      disk.lose(file, world.random.integer(sizeBytes))
      return true
    case 'lost-chunk':
      disk.lose(file, undefined)
      return true
    case 'unreadable-sector':
      world.unreadable.set(disk, (world.unreadable.get(disk) ?? new Set()).add(file))
      return true
    case 'misdirected-write':
      return misdirect(world, server, copy)
  }
}

/** In a pack only what belongs to the one chunk may break: others have no copy elsewhere, for all we know. */
function damageRecord(world: World, { disk, file }: Copy, { offset, usedBytes, totalBytes }: PackedRecord, how: Damage): true {
  disk.corrupt(file, (content) => {
    const at = offset + world.random.integer(usedBytes)
    if (how === 'bit-flip' || how === 'unreadable-sector') content[at] = (content[at] ?? 0) ^ (1 << world.random.integer(8))
    else if (how === 'lost-chunk') content.fill(0, offset, offset + totalBytes)
    // Where it begins: behind the last byte of the chunk it would change nothing.
    else if (how === 'torn-chunk') content.fill(0, at, offset + totalBytes)
    else content.fill(0xa5, offset, offset + SECTOR_BYTES)
  })
  return true
}

/** A sector of another chunk, or all of it, lies where this one was. */
function misdirect(world: World, server: SimServer, copy: Copy): boolean {
  const others = [...copiesOn(server)].filter((other) => other.disk === copy.disk && other.file !== copy.file)
  const source = others[world.random.integer(Math.max(1, others.length))]
  const bytes = source && copy.disk.peek(source.file)?.slice()
  copy.disk.corrupt(copy.file, (content) => {
    const whole = bytes !== undefined && bytes.length === content.length && world.random.fraction() < 0.5
    const at = whole ? 0 : Math.floor(world.random.integer(content.length) / SECTOR_BYTES) * SECTOR_BYTES
    const length = whole ? content.length : SECTOR_BYTES
    for (let index = 0; index < length && at + index < content.length; index += 1)
      content[at + index] = bytes?.[at + index] ?? 0xa5
  })
  return true
}
