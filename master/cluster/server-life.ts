/** What operators do with servers: a plan first, always made anew; then the wish, recorded before anyone acts on it. */
import { CairnError } from '../../common/errors/cairn-error.js'
import type { ServerId } from '../../common/ids.js'
import type { ServerState } from '../../common/protocol/cluster.js'
import type { ServerAction, ServerPlan } from '../../common/protocol/servers.js'
import { formatSize } from '../../common/units.js'
import type { MasterContext } from '../context.js'
import type { RequestKey } from '../store/operations/context.js'
import type { ServerIntent } from '../store/operations/servers.js'
import type { ClusterService } from './cluster-service.js'
import { isAway } from './liveness.js'
import { chunkCountOf, freeBytesOf, largestFreeBytesOf, type ServerView } from './server-view.js'

/** Chunks looked at in one read, so that a plan about a large server holds up no heartbeat. */
const SURVEY_PAGE = 2_000

interface Holdings {
  chunks: number
  bytes: number
  sole: number
  needed: number
  neededBytes: number
  largestBytes: number
  wanted: number
}

export interface ServerChange {
  readonly serverId: ServerId
  readonly action: ServerAction
  readonly graceMs: number | undefined
  readonly acceptDataLoss: boolean
  readonly request?: RequestKey
}

export class ServerLife {
  readonly #context: MasterContext
  readonly #cluster: ClusterService

  constructor(context: MasterContext, cluster: ClusterService) {
    this.#context = context
    this.#cluster = cluster
  }

  /** @throws `SERVER_NOT_FOUND` */
  async plan(serverId: ServerId, action: ServerAction): Promise<ServerPlan> {
    const view = this.#viewOf(serverId)
    const held = await this.#survey(view.record.serverNo)
    const others = this.#cluster.views.all().filter((other) => other !== view && other.state === 'serving')
    const freeBytesElsewhere = others.reduce((sum, other) => sum + freeBytesOf(other), 0)
    return {
      serverId,
      action,
      chunks: held.chunks,
      bytes: held.bytes,
      copiesToMake: held.needed,
      bytesToCopy: held.neededBytes,
      soleChunks: held.sole,
      freeBytesElsewhere,
      serversElsewhere: others.length,
      refusal: refusalOf(action, view, held, others),
    }
  }

  /** @throws `SERVER_NOT_FOUND`, `PLAN_REFUSED` */
  async change(change: ServerChange): Promise<ServerPlan> {
    if (change.action === 'remove' && (await this.#wasRemoved(change.serverId))) return nothingLeft(change.serverId)
    const view = this.#viewOf(change.serverId)
    const plan = await this.plan(change.serverId, change.action)
    if (plan.refusal !== null && !(change.action === 'remove' && change.acceptDataLoss && isLossOnly(view, plan)))
      throw new CairnError('PLAN_REFUSED', `${plan.refusal} Nothing was changed.`)
    const { intent, state, untilMs } = this.#decision(change, view)
    const record = await this.#context.store.intendServer({
      serverNo: view.record.serverNo,
      intent,
      state,
      untilMs,
      chunks: chunkCountOf(view),
      ...(change.request ? { request: change.request } : {}),
    })
    this.#cluster.decided(record)
    return plan
  }

  /** Servers that are being drained and hold nothing any more have left the cluster. */
  async finishDrains(): Promise<void> {
    for (const view of this.#cluster.views.all()) {
      if (view.state !== 'draining' || !(await this.#context.store.isDrained({ serverNo: view.record.serverNo }))) continue
      const { serverNo, intentChunks } = view.record
      const record = await this.#context.store.intendServer({
        serverNo,
        intent: 'drain',
        state: 'decommissioned',
        untilMs: null,
        chunks: intentChunks,
      })
      this.#cluster.decided(record)
    }
  }

  /** A removal whose answer was lost is asked for again: it has been done. */
  async #wasRemoved(serverId: ServerId): Promise<boolean> {
    if (this.#cluster.views.byId(serverId)) return false
    const records = await this.#context.store.listServers({})
    return records.some((record) => record.serverId === serverId && record.intent === 'removed')
  }

  #viewOf(serverId: ServerId): ServerView {
    const view = this.#cluster.views.byId(serverId)
    if (!view) throw new CairnError('SERVER_NOT_FOUND', `This master knows no server ${serverId}.`)
    return view
  }

  async #survey(serverNo: number): Promise<Holdings> {
    const total: Holdings = { chunks: 0, bytes: 0, sole: 0, needed: 0, neededBytes: 0, largestBytes: 0, wanted: 0 }
    for (let after: string | null = ''; after !== null;) {
      const page = await this.#context.store.surveyServer({ serverNo, after, limit: SURVEY_PAGE })
      total.chunks += page.chunks
      total.bytes += page.bytes
      total.sole += page.sole
      total.needed += page.needed
      total.neededBytes += page.neededBytes
      total.largestBytes = Math.max(total.largestBytes, page.largestBytes)
      total.wanted = Math.max(total.wanted, page.wanted)
      after = page.next
    }
    return total
  }

  #decision(change: ServerChange, view: ServerView): { intent: ServerIntent; state: ServerState; untilMs: number | null } {
    const away = isAway(view.state)
    switch (change.action) {
      case 'drain':
        return { intent: 'drain', state: away ? view.state : 'draining', untilMs: null }
      case 'maintenance': {
        const untilMs = this.#context.store.now() + (change.graceMs ?? this.#context.settings.maintenanceGraceMs)
        return { intent: 'maintenance', state: 'maintenance', untilMs }
      }
      case 'serve':
        return { intent: 'none', state: away ? view.state : 'serving', untilMs: null }
      case 'remove':
        return { intent: 'removed', state: 'decommissioned', untilMs: null }
    }
  }
}

const nothingLeft = (serverId: ServerId): ServerPlan => ({
  serverId,
  action: 'remove',
  chunks: 0,
  bytes: 0,
  copiesToMake: 0,
  bytesToCopy: 0,
  soleChunks: 0,
  freeBytesElsewhere: 0,
  serversElsewhere: 0,
  refusal: null,
})

const isLossOnly = (view: ServerView, plan: ServerPlan): boolean => view.state === 'dead' && plan.soleChunks > 0

function refusalOf(action: ServerAction, view: ServerView, held: Holdings, others: readonly ServerView[]): string | null {
  switch (action) {
    case 'drain':
      return view.state === 'decommissioned' ? 'The server has been drained already.' : drainRefusal(held, others)
    case 'maintenance':
      if (view.state === 'dead') return 'The server is dead: its chunks are being rebuilt, and nothing waits for it.'
      return view.state === 'decommissioned' ? 'The server has been drained: nothing waits for it.' : null
    case 'serve':
      return null
    case 'remove':
      return removalRefusal(view, held)
  }
}

/** Whether the copies would fit elsewhere: enough servers for the wanted copies, enough room on them. */
function drainRefusal(held: Holdings, others: readonly ServerView[]): string | null {
  if (held.needed === 0) return null
  if (others.length < held.wanted)
    return `Some chunks want ${held.wanted} copies, each on a server of its own, and only ${others.length} other servers take any. Add servers first.`
  const free = others.reduce((sum, other) => sum + freeBytesOf(other), 0)
  if (free < held.neededBytes)
    return `${formatSize(held.neededBytes)} of copies would have to move, and the other servers have room for ${formatSize(free)}. Add space first.`
  const largest = Math.max(...others.map(largestFreeBytesOf))
  if (largest < held.largestBytes)
    return `A chunk of ${formatSize(held.largestBytes)} would have to move, and no other disk has room for it. Add space first.`
  return null
}

function removalRefusal(view: ServerView, held: Holdings): string | null {
  if (view.state !== 'dead' && view.state !== 'decommissioned')
    return `The server is ${view.state}. Drain it first (server drain), or stop it and wait until it is dead and its chunks are rebuilt.`
  if (held.sole > 0)
    return `${held.sole} chunks have no live copy but those on this server: removing it would lose them. Bring it back, or accept the loss explicitly.`
  return null
}
