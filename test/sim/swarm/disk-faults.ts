/** Trouble with a whole disk: for a while, or for good where the atlas allows it. */
import { MemoryDisk } from '../../../common/disk/memory-disk.js'
import { KiB, SECOND_MS } from '../../../common/units.js'
import type { SimServer } from '../../support/sim-cluster.js'
import type { Atlas } from './atlas.js'
import { copiesOn } from './cluster-copies.js'
import type { World } from './world.js'

export type DiskFault = 'disk-errors' | 'disk-hang' | 'disk-slow' | 'disk-full' | 'disk-replaced' | 'disk-emptied'

export const HANG_MS = 45 * SECOND_MS
const SLOW_MS = 200
const ROOMY_BYTES = 2 ** 40

export function troubleDisk(world: World, atlas: Atlas, server: SimServer, fault: DiskFault): boolean {
  const directories = [...server.disks.keys()]
  const directory = directories[world.random.integer(directories.length)] as string
  const disk = server.disks.get(directory) as MemoryDisk
  const trouble = world.troubles.get(disk)
  if (!trouble) return false
  const forMs = (2 + world.random.fraction() * 20) * SECOND_MS
  const say = (): void => world.note(`${fault} at ${server.node} ${directory}`)
  switch (fault) {
    case 'disk-errors':
      say()
      trouble.errors = true
      world.after(forMs, () => (trouble.errors = false))
      return true
    case 'disk-hang':
    case 'disk-slow':
      say()
      trouble.extraMs = fault === 'disk-hang' ? HANG_MS : SLOW_MS
      world.after(forMs, () => (trouble.extraMs = 0))
      return true
    case 'disk-full':
      say()
      disk.capacityBytes = disk.usedBytes + world.random.integer(256) * KiB
      world.after(forMs, () => (disk.capacityBytes = ROOMY_BYTES))
      return true
    case 'disk-replaced':
    case 'disk-emptied':
      return replace(world, atlas, server, directory, fault === 'disk-emptied')
  }
}

/** An empty disk takes the place of one with chunks. @param keepIdentity it still says whose it is, as after a wrong `rm` */
function replace(world: World, atlas: Atlas, server: SimServer, directory: string, keepIdentity: boolean): boolean {
  if (!atlas.mayLoseAll(server, [directory])) return false
  const index = world.cluster.servers.indexOf(server)
  world.note(`${keepIdentity ? 'empty' : 'replace'} the disk of ${server.node} at ${directory}`)
  atlas.brokenAll(server, [directory])
  world.network.powered(server.node, false)
  world.cluster.kill(index, world.crashDamage())
  const old = server.disks.get(directory) as MemoryDisk
  const files = [...copiesOn(server)].filter((copy) => copy.disk === old).map(({ file }) => file)
  if (keepIdentity) for (const file of new Set(files)) old.lose(file, undefined)
  if (!keepIdentity) {
    const disk = new MemoryDisk({ now: () => world.cluster.clock.now() })
    server.disks.set(directory, disk)
    world.adoptDisk(disk)
  }
  world.after(1_000 + world.random.fraction() * 20_000, () => void world.start(index))
  return true
}
