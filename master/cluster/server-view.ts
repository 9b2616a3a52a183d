/** The master's picture of its chunkservers: in memory, fed by heartbeats, read by placement and repair. */
import type { ServerId } from '../../common/ids.js'
import type { DiskReport, MetadataPosition, ServerState } from '../../common/protocol/cluster.js'
import type { ServerRecord } from '../store/operations/servers.js'

export interface ServerView {
  readonly record: ServerRecord
  readonly state: ServerState
  /** Monotonic time of the last sign of life. */
  readonly lastBeatMs: number
  readonly load: { readonly writes: number; readonly reads: number }
  readonly disks: readonly DiskReport[]
  /** Bytes allocated to this server since its last heartbeat, which does not show them yet. */
  readonly promisedBytes: number
  readonly seen: MetadataPosition
}

export class ServerViews {
  readonly #byNo = new Map<number, ServerView>()
  readonly #noById = new Map<ServerId, number>()

  set(view: ServerView): void {
    this.#byNo.set(view.record.serverNo, view)
    this.#noById.set(view.record.serverId, view.record.serverNo)
  }

  update(serverNo: number, changes: Partial<ServerView>): void {
    const view = this.#byNo.get(serverNo)
    if (view) this.#byNo.set(serverNo, { ...view, ...changes })
  }

  byNo(serverNo: number): ServerView | undefined {
    return this.#byNo.get(serverNo)
  }

  byId(serverId: ServerId): ServerView | undefined {
    const serverNo = this.#noById.get(serverId)
    return serverNo === undefined ? undefined : this.#byNo.get(serverNo)
  }

  delete(view: ServerView): void {
    this.#byNo.delete(view.record.serverNo)
    this.#noById.delete(view.record.serverId)
  }

  all(): ServerView[] {
    return [...this.#byNo.values()]
  }
}

/** Until its first heartbeat after a restart of the master, a server has what the metadata remembers. */
const isHeard = (view: ServerView): boolean => view.disks.length > 0

const sumOf = (view: ServerView, pick: (disk: DiskReport) => number): number =>
  view.disks.reduce((sum, disk) => sum + pick(disk), 0)

const writable = (disk: DiskReport): number => (disk.state === 'ok' ? disk.freeBytes : 0)

export const freeBytesOf = (view: ServerView): number =>
  Math.max(0, (isHeard(view) ? sumOf(view, writable) : view.record.freeBytes) - view.promisedBytes)

export const usedBytesOf = (view: ServerView): number =>
  isHeard(view) ? sumOf(view, (disk) => disk.usedBytes) : view.record.usedBytes

export const chunkCountOf = (view: ServerView): number =>
  isHeard(view) ? sumOf(view, (disk) => disk.chunkCount) : view.record.chunkCount

/** The largest piece that fits on one disk: a chunk is never split over two. */
export const largestFreeBytesOf = (view: ServerView): number =>
  (isHeard(view) ? Math.max(0, ...view.disks.map(writable)) : view.record.freeBytes) - view.promisedBytes
