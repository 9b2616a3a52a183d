/** The chunkserver's metrics. docs/operations/metrics.md lists them; a test keeps the list true. */
import { Metrics } from '../common/observe/metrics.js'
import type { Admission } from './data/admission.js'
import type { ChunkStore } from './store/chunk-store.js'

export interface ChunkserverMetrics {
  readonly metrics: Metrics
  readonly onBytes: (direction: 'in' | 'out', bytes: number) => void
  readonly onServed: (operation: string, status: number, seconds: number) => void
}

export function createChunkserverMetrics(store: ChunkStore, admission: Admission, processMetrics: boolean): ChunkserverMetrics {
  const metrics = new Metrics(processMetrics)
  const bytes = metrics.counter({
    name: 'cairn_chunkserver_bytes_total',
    help: 'Chunk bytes received and sent',
    labelNames: ['direction'],
  })
  const requests = metrics.counter({
    name: 'cairn_chunkserver_requests_total',
    help: 'Chunk requests served',
    labelNames: ['operation', 'status'],
  })
  const seconds = metrics.histogram({
    name: 'cairn_chunkserver_request_seconds',
    help: 'Time until a chunk request is answered',
    labelNames: ['operation'],
  })
  const perDisk = (read: (disk: ReturnType<ChunkStore['disks']>[number]) => number) => () =>
    store.disks().map((disk) => ({ labels: { disk: disk.path }, value: read(disk) }))
  metrics.gauge(
    { name: 'cairn_disk_free_bytes', help: 'Bytes that new chunks may take', labelNames: ['disk'] },
    perDisk((disk) => disk.freeBytes),
  )
  metrics.gauge(
    { name: 'cairn_disk_used_bytes', help: 'Bytes of chunk files', labelNames: ['disk'] },
    perDisk((disk) => disk.usedBytes),
  )
  metrics.gauge(
    { name: 'cairn_disk_chunks', help: 'Chunk copies held', labelNames: ['disk'] },
    perDisk((disk) => disk.chunkCount),
  )
  metrics.gauge(
    { name: 'cairn_disk_failed', help: '1 when the disk is out of use', labelNames: ['disk'] },
    perDisk((disk) => (disk.state === 'failed' ? 1 : 0)),
  )
  metrics.gauge(
    {
      name: 'cairn_disk_quarantine_bytes',
      help: 'Bytes of copies out of service that are kept for a while',
      labelNames: ['disk'],
    },
    perDisk((disk) => disk.quarantineBytes ?? 0),
  )
  metrics.gauge(
    { name: 'cairn_disk_corrupt_bytes', help: 'Bytes of bad copies still in place', labelNames: ['disk'] },
    perDisk((disk) => disk.corruptBytes ?? 0),
  )
  metrics.gauge(
    { name: 'cairn_disk_latency_seconds', help: 'How long a disk operation takes of late', labelNames: ['disk'] },
    perDisk((disk) => (disk.latencyMs ?? 0) / 1000),
  )
  metrics.gauge(
    { name: 'cairn_scrub_checked_bytes', help: 'Bytes read in the present pass of the scrub', labelNames: ['disk'] },
    perDisk((disk) => disk.scrub?.checkedBytes ?? 0),
  )
  metrics.gauge(
    { name: 'cairn_scrub_errors', help: 'Bad and missing copies found in the present pass of the scrub', labelNames: ['disk'] },
    perDisk((disk) => disk.scrub?.errors ?? 0),
  )
  metrics.gauge(
    {
      name: 'cairn_scrub_last_finished_timestamp_seconds',
      help: 'When the last whole pass of the scrub ended; 0 before the first',
      labelNames: ['disk'],
    },
    perDisk((disk) => (disk.scrub?.last?.finishedMs ?? 0) / 1000),
  )
  metrics.gauge({ name: 'cairn_transfers_active', help: 'Chunk transfers under way', labelNames: ['kind'] }, () => {
    const { writes, reads } = admission.load
    return [
      { labels: { kind: 'write' }, value: writes },
      { labels: { kind: 'read' }, value: reads },
    ]
  })
  metrics.gauge({ name: 'cairn_buffer_blocks_in_use', help: 'Blocks of 1 MiB that transfers hold' }, () => admission.blocksInUse)
  return {
    metrics,
    onBytes: (direction, count) => bytes.inc({ direction }, count),
    onServed: (operation, status, elapsed) => {
      requests.inc({ operation, status: String(status) })
      seconds.observe({ operation }, elapsed)
    },
  }
}
