/** Answers that are put together from several places. */
import { sealCapability } from '../../common/auth/capability.js'
import { CairnError } from '../../common/errors/cairn-error.js'
import type { Checksum64 } from '../../common/checksum/xxh64.js'
import type { ChunkId, ServerId } from '../../common/ids.js'
import { SERVER_PAGE_MAX, type ClusterStatus, type ServerInfo } from '../../common/protocol/admin.js'
import type { ChunkEntry, ServerAddress } from '../../common/protocol/files.js'
import { chunkCountOf, freeBytesOf, usedBytesOf, type ServerView } from '../cluster/server-view.js'
import type { Master } from '../master.js'
import { ChunkState, HealthClass, ReplicaState } from '../store/schema.js'
import type { ChunkFacts } from '../store/operations/replicas.js'

const RECENT_JOBS = 20

export function serverInfo(view: ServerView): ServerInfo {
  const { record } = view
  return {
    id: record.serverId,
    state: view.state,
    zone: record.zone,
    rack: record.rack,
    host: record.host,
    url: record.url,
    usedBytes: usedBytesOf(view),
    freeBytes: freeBytesOf(view),
    chunks: chunkCountOf(view),
    lastHeartbeatMs: record.heartbeatMs,
    drain:
      record.intent === 'drain' && view.state !== 'decommissioned'
        ? { remainingChunks: chunkCountOf(view), totalChunks: record.intentChunks }
        : null,
    maintenanceUntilMs: view.state === 'maintenance' ? record.intentUntilMs : null,
    disks: [...view.disks],
  }
}

export async function statusAnswer(master: Master): Promise<ClusterStatus> {
  const { context, cluster, repairer, collector } = master
  const health = await context.store.chunkHealth({})
  const repair = repairer.figures()
  const all = cluster.views
    .all()
    .map(serverInfo)
    .sort((one, other) => (one.id < other.id ? -1 : 1))
  const servers = all.slice(0, SERVER_PAGE_MAX)
  const brakes = [repair.brake, collector.brake()].filter((brake) => brake !== null)
  return {
    servers,
    nextServer: all.length > servers.length ? (servers.at(-1)?.id ?? null) : null,
    chunks: {
      total: health.total,
      healthy: health.healthy,
      underReplicated: health.underReplicated,
      unavailable: health.unavailable,
    },
    repair: {
      queued: Math.max(0, health.repairable - repair.active),
      active: repair.active,
      bytesPerSecond: repair.bytesPerSecond,
      etaSeconds:
        health.repairableBytes > 0 && repair.bytesPerSecond > 0
          ? Math.ceil(health.repairableBytes / repair.bytesPerSecond)
          : null,
      brake: brakes.length > 0 ? brakes.join('; ') : null,
      speed: repair.speed,
      progress: {
        copiedChunks: repair.copied.chunks,
        copiedBytes: repair.copied.bytes,
        remainingBytes: health.repairableBytes,
      },
      classes: health.classes,
      failing: health.failing,
      checkingServers: health.sweeping,
    },
    jobs: await context.store.listJobs({ limit: RECENT_JOBS }),
  }
}

const PROBLEMS = {
  [HealthClass.lastCopy]: 'last-copy',
  [HealthClass.belowGoal]: 'below-goal',
  [HealthClass.waiting]: 'waiting',
  [HealthClass.unavailable]: 'unavailable',
  [HealthClass.surplus]: 'surplus',
  [HealthClass.leaving]: 'leaving',
  [HealthClass.misplaced]: 'misplaced',
} as const

/** A class of the health table, as the API names it. */
export const problemOf = (healthClass: number) => PROBLEMS[healthClass as keyof typeof PROBLEMS]

/** Read capabilities are made anew with each page, so that a long download refreshes them as it goes. */
function readCapability(master: Master, chunkId: ChunkId): string {
  const key = master.context.capabilityKeys[0]
  if (!key) throw new CairnError('STARTING', 'The master has no signing key yet. Try again shortly.')
  const { store, settings } = master.context
  return sealCapability(key, { kind: 'read', chunkId, expiresMs: store.now() + settings.capabilityLifeMs })
}

export interface ManifestPage {
  readonly chunks: ChunkEntry[]
  readonly servers: ServerAddress[]
  readonly next: number | null
}

export async function manifestPage(
  master: Master,
  manifestId: string,
  query: { from: number; limit: number; capabilities: boolean },
): Promise<ManifestPage> {
  const { context, cluster } = master
  const rows = await context.store.listManifestChunks({ manifestId, from: query.from, limit: query.limit })
  const servers = new Map<number, ServerAddress>()
  const idsOf = (numbers: readonly number[]): ServerId[] => {
    const views = numbers.map((serverNo) => cluster.views.byNo(serverNo)).filter((view) => view !== undefined)
    for (const view of views) servers.set(view.record.serverNo, address(view))
    return views.map((view) => view.record.serverId)
  }
  const chunks = rows.map((row): ChunkEntry => ({
    index: row.index,
    id: row.id,
    offset: row.offset,
    sizeBytes: row.lengthBytes,
    root: row.root,
    replicas: idsOf(row.serving),
    fallbacks: idsOf(row.fallbacks),
    ...(query.capabilities ? { capability: readCapability(master, row.id) } : {}),
  }))
  const last = rows.at(-1)
  return { chunks, servers: [...servers.values()], next: rows.length === query.limit && last ? last.index + 1 : null }
}

function address(view: ServerView): ServerAddress {
  const { serverId: id, url, zone, rack, host } = view.record
  return { id, url, zone, rack, host, load: view.load.reads + view.load.writes }
}

const CHUNK_STATES = {
  [ChunkState.allocated]: 'allocated',
  [ChunkState.live]: 'live',
  [ChunkState.condemned]: 'condemned',
  [ChunkState.deleting]: 'deleting',
} as const
const REPLICA_STATES = {
  [ReplicaState.good]: 'good',
  [ReplicaState.corrupt]: 'corrupt',
  [ReplicaState.deleting]: 'deleting',
  [ReplicaState.orphan]: 'good',
  [ReplicaState.surplus]: 'deleting',
} as const

export function chunkAnswer(master: Master, id: ChunkId, chunk: ChunkFacts) {
  const replicas = chunk.replicas.flatMap(({ serverNo, state }) => {
    const view = master.cluster.views.byNo(serverNo)
    const known = REPLICA_STATES[state as keyof typeof REPLICA_STATES]
    return view ? [{ serverId: view.record.serverId, url: view.record.url, serverState: view.state, state: known }] : []
  })
  return {
    id,
    state: CHUNK_STATES[chunk.state as keyof typeof CHUNK_STATES],
    sizeBytes: chunk.lengthBytes,
    root: chunk.root as Checksum64 | null,
    replicas,
    capability: readCapability(master, id),
  }
}
