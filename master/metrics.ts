/** The master's metrics. docs/operations/metrics.md lists them; a test keeps the list true. */
import { Metrics } from '../common/observe/metrics.js'
import { chunkCountOf, freeBytesOf, usedBytesOf, type ServerView } from './cluster/server-view.js'
import type { Master } from './master.js'
import type { ChunkHealth } from './store/operations/health.js'

/** How often the chunk counts behind the gauges are read anew. */
const HEALTH_MAX_AGE_MS = 1_000

export interface MasterMetrics {
  readonly metrics: Metrics
  readonly onServed: (served: { readonly endpoint: string; readonly status: number; readonly seconds: number }) => void
}

export function createMasterMetrics(processMetrics: boolean): MasterMetrics {
  const metrics = new Metrics(processMetrics)
  const requests = metrics.counter({
    name: 'cairn_master_requests_total',
    help: 'API requests served',
    labelNames: ['endpoint', 'status'],
  })
  const seconds = metrics.histogram({
    name: 'cairn_master_request_seconds',
    help: 'Time to serve an API request',
    labelNames: ['endpoint'],
  })
  return {
    metrics,
    onServed: (served) => {
      requests.inc({ endpoint: served.endpoint, status: String(served.status) })
      seconds.observe({ endpoint: served.endpoint }, served.seconds)
    },
  }
}

/** Gauges over the running master, read when scraped. */
export function observeMaster(metrics: Metrics, master: Master): void {
  const { cluster, context, repairer } = master
  let health: ChunkHealth | undefined
  let healthMs = -Infinity
  const refresh = (): void => {
    if (context.clock.monotonic() - healthMs < HEALTH_MAX_AGE_MS) return
    healthMs = context.clock.monotonic()
    context.store.chunkHealth({}).then(
      (read) => (health = read),
      (error: unknown) => context.log.warn({ error }, 'chunk counts could not be read'),
    )
  }
  refresh()
  metrics.gauge({ name: 'cairn_servers', help: 'Chunkservers by state', labelNames: ['state'] }, () => {
    const counts = new Map<string, number>()
    for (const view of cluster.views.all()) counts.set(view.state, (counts.get(view.state) ?? 0) + 1)
    return [...counts].map(([state, value]) => ({ labels: { state }, value }))
  })
  metrics.gauge({ name: 'cairn_chunks', help: 'Live chunks by health', labelNames: ['health'] }, () => {
    refresh()
    if (!health) return []
    const { healthy, underReplicated, unavailable } = health
    return Object.entries({ healthy, underReplicated, unavailable }).map(([label, value]) => ({
      labels: { health: label },
      value,
    }))
  })
  const perServer = (read: (view: ServerView) => number) => () =>
    cluster.views.all().map((view) => ({ labels: { server: view.record.serverId }, value: read(view) }))
  metrics.gauge(
    { name: 'cairn_server_free_bytes', help: 'Free bytes per chunkserver', labelNames: ['server'] },
    perServer(freeBytesOf),
  )
  metrics.gauge(
    { name: 'cairn_server_used_bytes', help: 'Bytes of chunk files per chunkserver', labelNames: ['server'] },
    perServer(usedBytesOf),
  )
  metrics.gauge(
    { name: 'cairn_server_chunks', help: 'Chunk copies per chunkserver', labelNames: ['server'] },
    perServer(chunkCountOf),
  )
  metrics.gauge({ name: 'cairn_repairs_active', help: 'Copies being made by re-replication' }, () => repairer.figures().active)
  metrics.gauge(
    { name: 'cairn_repair_bytes_per_second', help: 'Re-replicated bytes per second, over 10 s' },
    () => repairer.figures().bytesPerSecond,
  )
}
