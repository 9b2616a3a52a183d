/** What the thrasher does to a cluster, and how often. */
import { rmSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Damage, PartitionOptions, TestMember } from '../../testing/index.js'
import type { Thrasher } from './thrasher.js'

export interface Fault {
  readonly kind: string
  readonly weight: number
  /** Whether a server is away, wholly or in part, while it lasts. */
  readonly takesServer: boolean
  /** @returns whether anything was done */
  readonly inject: (thrasher: Thrasher) => Promise<boolean>
}

const DAMAGES: readonly Damage[] = ['flip-bit', 'truncate', 'zero', 'swap', 'delete']
const REPLICAS = 3
const MASTER_AWAY_MS = 3_000

/** A fault of one chunkserver that lasts until it is healed. */
function onServer(kind: string, weight: number, inject: (thrasher: Thrasher, victim: TestMember) => Promise<void>): Fault {
  return {
    kind,
    weight,
    takesServer: true,
    inject: async (thrasher) => {
      const victim = thrasher.pick(thrasher.hale.filter(({ paused }) => !paused))
      if (!victim) return false
      await inject(thrasher, victim)
      return true
    },
  }
}

function disk(kind: string, weight: number, afterwards: 'restart' | 'leave', inject: DiskInjection): Fault {
  return onServer(kind, weight, async (thrasher, victim) => {
    const one = thrasher.random.integer(victim.directories.length)
    await inject(thrasher, victim, one)
    thrasher.ail(victim, `${kind} of disk ${one}`, async () => {
      await thrasher.cluster.healDisk(victim)
      // A disk that was given up is taken again at a start.
      if (afterwards === 'restart') await thrasher.cluster.restart(victim)
    })
  })
}

type DiskInjection = (thrasher: Thrasher, victim: TestMember, disk: number) => Promise<void>

function partition(
  kind: string,
  weight: number,
  other: (thrasher: Thrasher, victim: TestMember) => TestMember | string | undefined,
) {
  return onServer(kind, weight, async (thrasher, victim) => {
    const options: PartitionOptions = {
      mode: thrasher.random.fraction() < 0.3 ? 'refuse' : 'stall',
      direction: thrasher.pick(['both', 'both', 'in', 'out'] as const) ?? 'both',
    }
    await thrasher.cluster.partition(victim, other(thrasher, victim), options)
    thrasher.ail(victim, `${kind} (${options.mode}, ${options.direction})`, () => thrasher.cluster.heal(victim))
  })
}

export const FAULTS: readonly Fault[] = [
  onServer('kill', 4, async (thrasher, victim) => {
    await thrasher.cluster.kill(victim)
    thrasher.ail(victim, 'killed', () => thrasher.cluster.restart(victim))
  }),
  onServer('long-stall', 1, async (thrasher, victim) => {
    await thrasher.cluster.pause(victim)
    thrasher.ail(victim, 'stalled', () => thrasher.cluster.resume(victim))
  }),
  partition('partition-all', 1, () => undefined),
  partition('partition-master', 1, () => 'master'),
  partition('partition-clients', 1, () => 'clients'),
  partition('partition-peer', 1, (thrasher, victim) => thrasher.pick(thrasher.hale.filter((one) => one !== victim))),
  disk('disk-full', 1, 'leave', (thrasher, victim, one) => thrasher.cluster.fillDisk(victim, { disk: one })),
  disk('disk-full-silently', 1, 'restart', (thrasher, victim, one) =>
    thrasher.cluster.fillDisk(victim, { disk: one, silently: true }),
  ),
  disk('disk-slow', 1, 'leave', (thrasher, victim, one) => thrasher.cluster.slowDisk(victim, { disk: one })),
  disk('disk-error', 1, 'restart', (thrasher, victim, one) => thrasher.cluster.failDisk(victim, { disk: one })),
  disk('disk-hang', 1, 'restart', (thrasher, victim, one) => thrasher.cluster.hangDisk(victim, { disk: one })),
  { kind: 'master-kill', weight: 1, takesServer: false, inject: killMaster },
  { kind: 'restart', weight: 1, takesServer: false, inject: restartOne },
  { kind: 'damage', weight: 2, takesServer: false, inject: damageCopies },
]

async function killMaster(thrasher: Thrasher): Promise<boolean> {
  const { cluster } = thrasher
  thrasher.say('master: killed')
  await cluster.kill('master')
  await sleep(thrasher.random.fraction() * MASTER_AWAY_MS)
  await cluster.restart('master')
  return true
}

async function restartOne(thrasher: Thrasher): Promise<boolean> {
  const member = thrasher.pick(thrasher.hale)
  if (!member) return false
  thrasher.say(`${member.name}: restarted in order`)
  await thrasher.cluster.restart(member)
  return true
}

/** Damages a copy of some chunk of each of a few files: of such as have all their copies, and none damaged before. */
async function damageCopies(thrasher: Thrasher): Promise<boolean> {
  const { cluster, damagedChunks } = thrasher
  let done = 0
  for (const filePath of await someFiles(thrasher, 3)) {
    const copies = await cluster.copies(filePath).catch(() => [])
    const perChunk = new Map<string, number>()
    for (const { chunkId } of copies) perChunk.set(chunkId, (perChunk.get(chunkId) ?? 0) + 1)
    const whole = copies.filter(({ chunkId }) => !damagedChunks.has(chunkId) && (perChunk.get(chunkId) ?? 0) >= REPLICAS)
    const victim = thrasher.pick(whole)
    // A swap would take a second chunk along, which may have been damaged elsewhere.
    const damage = thrasher.pick(DAMAGES.filter((one) => one !== 'swap')) ?? 'flip-bit'
    if (!victim) continue
    damagedChunks.add(victim.chunkId)
    // The file may be gone by now, and the copy with it.
    const failed = await cluster.corrupt(filePath, { chunk: victim.index, server: victim.server, damage }).catch(() => undefined)
    if (!failed) continue
    thrasher.say(`${victim.server.name}: ${damage} of a copy of ${filePath}`)
    done += 1
  }
  return done > 0
}

async function someFiles(thrasher: Thrasher, count: number): Promise<string[]> {
  const paths: string[] = []
  try {
    for await (const entry of thrasher.cluster.client.list('/load/')) paths.push(entry.path)
  } catch {
    return []
  }
  return Array.from({ length: count }, () => thrasher.pick(paths)).filter((one) => one !== undefined)
}

/** All but one are killed, then that one too, and the others come back: teuthology's test_min_size. */
export async function killAllButOne(thrasher: Thrasher): Promise<void> {
  const { cluster } = thrasher
  thrasher.count('kill-all-but-one')
  const last = thrasher.pick(cluster.chunkservers)
  const others = cluster.chunkservers.filter((member) => member !== last)
  thrasher.say(`all are killed but ${last?.name}`)
  await Promise.all(others.map((member) => cluster.kill(member)))
  await sleep(5_000)
  if (last) await cluster.kill(last)
  thrasher.say('the others come back')
  for (const member of others) await cluster.restart(member)
  if (last) await cluster.restart(last)
}

/** A server loses all it had. Only while nothing else is missing. */
export async function wipeOne(thrasher: Thrasher): Promise<void> {
  const { cluster } = thrasher
  const victim = thrasher.pick(cluster.chunkservers)
  if (!victim) return
  thrasher.count('wipe')
  thrasher.say(`${victim.name}: loses all its data`)
  await cluster.kill(victim)
  for (const directory of victim.directories) rmSync(directory, { recursive: true, force: true })
  await cluster.restart(victim)
}
