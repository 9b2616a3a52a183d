/** What follows on the troubles: they end, and within bounded time everything must be as it should, with nobody's help. */
import { MemoryDisk } from '../../../common/disk/memory-disk.js'
import { DAY_MS, HOUR_MS, MINUTE_MS, SECOND_MS } from '../../../common/units.js'
import type { ChunkId } from '../../../common/ids.js'
import { SeededRandom } from '../../../common/random/seeded-random.js'
import { checkMetadata } from './check-metadata.js'
import type { SimServer } from '../../support/sim-cluster.js'
import { copiesOn, goodHolders, isGood, usableDisks, type Copy } from './cluster-copies.js'
import { Violation } from './model.js'
import { readPath } from './reads.js'
import { HANG_MS } from './disk-faults.js'
import { diskIdsOf, hex, type Rows } from './rows.js'
import type { Actor, Workload } from './workload.js'
import type { World } from './world.js'

const STEP_MS = 2 * SECOND_MS
/**
 * Back-off between attempts at one chunk is at most 5 minutes, a scrub comes every minute, graces are under one. A copy that
 * the metadata has lost sight of is found when its shard's turn comes: one of 256 with each heartbeat, at most 3 s apart.
 */
const CONVERGED_WITHIN_MS = 15 * MINUTE_MS
const CLIENTS_DONE_WITHIN_MS = 5 * MINUTE_MS
/** Longer than anything is kept: open uploads and damaged copies for a week. */
const REST_MS = 8 * DAY_MS
const ROOMY_BYTES = 2 ** 40

export async function endTroubles(world: World, load: Workload): Promise<void> {
  const { cluster } = world
  world.note('the troubles end')
  world.troubled = false
  world.network.calm()
  load.end()
  for (const [disk, trouble] of world.troubles) {
    Object.assign(trouble, { errors: false, extraMs: 0 })
    disk.capacityBytes = ROOMY_BYTES
  }
  for (const process of world.paused) process.resume()
  void world.startMaster()
  for (const index of cluster.servers.keys()) void world.start(index)
  // What hangs already hangs to its end.
  if (world.figures.faults['disk-hang']) await cluster.clock.advance(HANG_MS)
  await wait(world, CLIENTS_DONE_WITHIN_MS, 'the clients come to an end', () =>
    load.isOver ? undefined : 'some are still at it',
  )
}

/** Lets time pass until nothing is left to be done, and looks whether all is as it should be. */
export async function converge(world: World, rows: Rows, rested: boolean): Promise<void> {
  await wait(world, CONVERGED_WITHIN_MS + world.masterSetBackMs, 'everything heals', () => unfinished(world, rows, rested))
  if (world.violations.length > 0) return
  world.check(() => checkMetadata(rows))
  world.check(() => checkAccounts(world))
}

async function wait(world: World, withinMs: number, what: string, unmet: () => string | undefined): Promise<void> {
  const untilMs = world.nowMs + withinMs
  let why = unmet()
  while (why !== undefined && world.violations.length === 0) {
    if (world.nowMs >= untilMs) return world.fail(`${what} was not within ${withinMs / 1000} s: ${why}`)
    tend(world)
    await world.cluster.clock.advance(STEP_MS)
    why = unmet()
  }
}

/** A disk that has failed is out of use until somebody has looked at it and starts its server again. */
function tend(world: World): void {
  for (const [index, server] of world.cluster.servers.entries()) {
    if (usableDisks(server) >= server.disks.size) continue
    world.note(`restart ${server.node} for its failed disk`)
    world.cluster.killProcess(index)
    void world.start(index)
  }
}

interface CopyRow {
  readonly chunk_id: Uint8Array
  readonly disk_id: Uint8Array
}

/** What is not as it should be yet, in words. */
function unfinished(world: World, rows: Rows, rested: boolean): string | undefined {
  const { cluster } = world
  if (!cluster.masterProcess) return 'the master does not run'
  const down = cluster.servers.find((server) => !world.gone.has(server) && !server.running?.serverId)
  if (down) return `${down.node} does not serve`
  const troubled = world.members.find((server) => server.running?.store.disks().some((disk) => disk.state !== 'ok'))
  if (troubled) return `a disk of ${troubled.node} is not in order`
  const states = rows.one<{ n: number }>(
    "select count(*) as n from servers where state not in ('serving', 'dead', 'decommissioned') or sweep_after is not null",
  )
  if (states && states.n > 0) return `${states.n} servers are neither serving nor dead, or not swept`
  const sick = rows.one<{ id: Uint8Array; class: number; last_error: string | null }>(
    'select chunk_id as id, class, last_error from health limit 1',
  )
  if (sick)
    return `chunk ${hex(sick.id)} is in health class ${sick.class} (${sick.last_error ?? 'no error'}), ${whereabouts(world, rows, hex(sick.id))}`
  // What a server that is gone for good still has to delete waits for it, until an operator says that it is.
  const chunk = rows.one<{ id: Uint8Array; state: number }>(
    `select c.chunk_id as id, c.state from chunks c where c.state = 2 or (c.state = 3 and not exists (select 1 from replicas r
      join disks d on d.disk_no = r.disk_no where r.chunk_id = c.chunk_id and d.serving = 0)) limit 1`,
  )
  if (chunk) return `chunk ${hex(chunk.id)} is garbage in state ${chunk.state}, ${whereabouts(world, rows, hex(chunk.id))}`
  const copy = rows.one<{ id: Uint8Array; state: number; server: number }>(
    `select r.chunk_id as id, r.state, r.server_no as server from replicas r join disks d on d.disk_no = r.disk_no
     where r.state <> 0 and d.state <> 'absent' and d.serving = 1 limit 1`,
  )
  if (copy) return `the copy of chunk ${hex(copy.id)} on server ${copy.server} is in state ${copy.state}`
  if (rows.one("select 1 from jobs where state = 'running'")) return 'a job still runs'
  return rowsAgainstDisks(world, rows, rested) ?? (rested ? leftovers(world, rows) : undefined)
}

function whereabouts(world: World, rows: Rows, chunkId: string): string {
  const good = goodHolders(world.cluster.servers, chunkId, world.unreadable).map(({ node }) => node)
  const told = rows
    .replicas(chunkId)
    .map((row) => `${rows.serverOf(row)?.node ?? 'none'} in state ${row.state}${row.serving ? '' : ', not serving'}`)
  return `good copies lie on ${good.join(' ') || 'none'}, its rows: ${told.join('; ') || 'none'}`
}

/** Without records that are not sound: a server speaks of them only when it can tell them from a torn end, and soon drops those. */
const wholeCopies = (server: SimServer): Copy[] => [...copiesOn(server)].filter(({ record }) => record?.isSound !== false)

/** Each row a good copy, each good copy a row. */
function rowsAgainstDisks(world: World, rows: Rows, rested: boolean): string | undefined {
  const wanted = new Set(
    rows
      .all<CopyRow>(
        `select r.chunk_id, d.disk_id from replicas r join disks d on d.disk_no = r.disk_no where r.state = 0 and d.serving = 1`,
      )
      .map((row) => `${hex(row.disk_id)} ${hex(row.chunk_id)}`),
  )
  // A server that has left keeps what a power cut brings back: it counts for nothing, and the machine may be switched off.
  const left = rows.all<{ disk_id: Uint8Array }>(
    "select d.disk_id from disks d join servers s on s.server_no = d.server_no where s.state = 'decommissioned'",
  )
  const leftDisks = new Set(left.map((row) => hex(row.disk_id)))
  for (const server of world.members) {
    const ids = new Map([...server.disks.keys()].map((directory, index) => [directory, diskIdsOf(server)[index]]))
    const seen = new Set<string>()
    for (const { chunkId, disk, directory, file } of wholeCopies(server)) {
      const key = `${ids.get(directory)} ${chunkId}`
      if (leftDisks.has(ids.get(directory) ?? '')) continue
      if (!wanted.delete(key))
        return `${file} on ${server.node} is a copy without a row${server.running?.store.find(chunkId as ChunkId) ? '' : ', and its server does not know it'}, ${whereabouts(world, rows, chunkId)}`
      if (seen.has(chunkId)) return `${server.node} has chunk ${chunkId} twice`
      seen.add(chunkId)
      if (!isGood(disk, directory, chunkId, world.unreadable)) return `${file} on ${server.node} is damaged, and counted as good`
    }
  }
  const [lost] = wanted
  if (lost) return `a row counts a copy that is not there: ${lost}`
  const allocated = rested ? rows.one<{ id: Uint8Array }>('select chunk_id as id from chunks where state = 0') : undefined
  return allocated && `chunk ${hex(allocated.id)} was never reported and is still allocated`
}

/** After a long rest nothing is left but what files hold. */
function leftovers(world: World, rows: Rows): string | undefined {
  const { cluster } = world
  for (const server of world.members) {
    for (const [directory, disk] of server.disks) {
      for (const part of ['tmp', 'quarantine']) {
        // What was deleted an hour ago or later is kept, in case it was a mistake.
        const recent = (name: string): boolean =>
          part === 'quarantine' && cluster.clock.now() - Number(name.split('.')[1]) < HOUR_MS * 1.5
        const name = disk.peekNames(`${directory}/${part}`).find((candidate) => !recent(candidate))
        if (name) return `${directory}/${part}/${name} still lies on ${server.node}`
      }
    }
  }
  for (const table of ['trash', 'uploads']) {
    if (rows.one(`select 1 from ${table} ${table === 'uploads' ? 'where state = 0' : ''}`)) return `something is left in ${table}`
  }
  if (rows.one('select 1 from manifests where state <> 1')) return 'a manifest that no file holds is left'
  const unheld = rows.one('select 1 from chunks where state < 3 and chunk_id not in (select chunk_id from manifest_chunks)')
  return unheld ? 'a chunk that no file holds is left' : undefined
}

/** What the disks' own accounts say against what lies on them. */
function checkAccounts(world: World): void {
  for (const server of world.members) {
    for (const report of server.running?.store.disks() ?? []) {
      const copies = wholeCopies(server).filter(({ directory }) => directory === report.path)
      const bytes = copies.reduce((sum, { disk, file, record }) => sum + (record?.totalBytes ?? disk.peek(file)?.length ?? 0), 0)
      if (report.chunkCount !== copies.length || report.usedBytes !== bytes) {
        throw new Violation(
          `${server.node} ${report.path} accounts for ${report.chunkCount} chunks and ${report.usedBytes} bytes, ${copies.length} and ${bytes} are there`,
        )
      }
    }
  }
}

/** Reads every path with a client that knows nothing. Now there is no excuse for any failure. */
export async function readEverything(world: World): Promise<void> {
  const disk = new MemoryDisk()
  const random = new SeededRandom(world.plan.seed ^ 0x7777)
  const process = world.cluster.startClient('reader', disk, random.integer(2 ** 31))
  const actor: Actor = {
    name: 'reader',
    random,
    disk,
    wall: { offsetMs: 0 },
    process,
    idle: true,
    pending: [],
    unfinished: undefined,
  }
  for (const path of world.model.paths()) {
    if (world.violations.length > 0) return
    await world.cluster.run(readPath(world, actor, path, true))
  }
  process.process.kill()
}

/** Everything is switched off for days and on again. */
export async function rest(world: World): Promise<void> {
  const { cluster } = world
  world.note('everything is switched off for days')
  cluster.killMaster()
  for (const [index, server] of cluster.servers.entries()) if (server.process) cluster.kill(index)
  world.switchedOff = true
  await cluster.clock.advance(REST_MS)
  world.switchedOff = false
  void world.startMaster()
  for (const index of cluster.servers.keys()) void world.start(index)
  await cluster.clock.advance(STEP_MS)
}
