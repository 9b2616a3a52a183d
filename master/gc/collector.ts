/**
 * The collector: takes unreferenced manifests apart, ends idle uploads, empties the trash, and has copies deleted that
 * nothing refers to any more. A master whose metadata is older than what chunkservers have seen deletes nothing.
 */
import { Periodic } from '../../common/flow/periodic.js'
import { DAY_MS, HOUR_MS, MINUTE_MS } from '../../common/units.js'
import type { ClusterService } from '../cluster/cluster-service.js'
import { readSpace, type Space } from '../cluster/space.js'
import type { MasterContext } from '../context.js'
import { ALLOCATION_KEPT_MS } from '../settings.js'

const PAGE = 500
/** So long a deleted name's generation is remembered, and with it the meaning of every entity tag it had. */
const RETIRED_NAMES_KEPT_MS = 30 * DAY_MS
const DELETIONS_PER_SERVER = 500
/** Below the first share of free space the trash gives way, until the second will be free. What was deleted just now stays. */
const FREE_SHARE_MIN = 0.05
const FREE_SHARE_WANTED = 0.1
const TRASH_KEPT_MS_MIN = 1 * HOUR_MS
/** A delete command is void when it has not been carried out by then; it is sent again. */
const COMMAND_LIFE_MS = 1 * MINUTE_MS
/** By so much a command may be carried out late: a server learns the master's time with a delay, and its disk may hang. */
const COMMAND_LATE_MS = 1 * MINUTE_MS

export class Collector {
  readonly #context: MasterContext
  readonly #cluster: ClusterService
  readonly #space: () => Promise<Space>
  readonly #rounds: Periodic

  constructor(context: MasterContext, cluster: ClusterService) {
    this.#context = context
    this.#cluster = cluster
    this.#space = () => readSpace(context.store, cluster)
    this.#rounds = new Periodic({
      clock: context.clock,
      intervalMs: () => context.settings.garbageIntervalMs,
      run: (signal) => this.#round(signal),
      onError: (error) => context.log.error({ error }, 'collector round failed'),
    })
  }

  start(): void {
    this.#rounds.start({ immediately: false })
  }

  async stop(): Promise<void> {
    await this.#rounds.stop()
  }

  /** Why nothing is deleted, in words; null when deletions go on. */
  brake(): string | null {
    return this.#cluster.isBehind()
      ? 'chunkservers have seen later metadata than this master has (was an old database put back?): nothing is deleted until an operator decides with `cairn metadata accept`'
      : null
  }

  async #round(signal: AbortSignal): Promise<void> {
    const { store, settings } = this.#context
    const now = store.now()
    const more = (): boolean => !signal.aborted
    await store.pruneRequests({ limit: PAGE * 10 })
    await store.pruneRetiredNames({ before: now - RETIRED_NAMES_KEPT_MS, limit: PAGE * 10 })
    await store.pruneJobs({ before: now - DAY_MS })
    // Whether this database is an old one is known only from what a chunkserver has seen.
    if (!this.#cluster.views.all().some((view) => view.disks.length > 0)) return
    // Nor does it end anything: what an old database holds for due may have been undeleted, or gone on with, since.
    if (this.#cluster.isBehind()) return
    while (more() && (await store.purgeTrash({ limit: PAGE })) === PAGE);
    await this.#relieve(now)
    while (more() && (await store.expireUploads({ limit: 50 })) === 50);
    while (more() && (await store.collectManifests({ before: now - settings.garbageGraceMs, limit: PAGE })));
    await store.condemnAllocations({ before: now - ALLOCATION_KEPT_MS, limit: PAGE })
    await store.giveBackSurplus({ before: now - COMMAND_LIFE_MS - COMMAND_LATE_MS, limit: PAGE })
    await store.markDeleting({ before: now - settings.garbageGraceMs, limit: PAGE })
    await store.condemnOrphans({ before: now - settings.orphanGraceMs, limit: PAGE })
    if (this.#cluster.settled)
      for (const replica of await store.listReplacedCorruptReplicas({ limit: PAGE })) await store.trimReplica(replica)
    while (more() && (await store.forgetRemoved({ limit: PAGE })));
    await this.#sendDeletions()
  }

  /** Where space is short the trash is emptied before its time: as much as is lacking beyond what is on its way out already. */
  async #relieve(now: number): Promise<void> {
    const { totalBytes, freeBytes, garbageBytes } = await this.#space()
    const lacking = totalBytes * FREE_SHARE_WANTED - freeBytes - garbageBytes
    if (totalBytes === 0 || freeBytes >= totalBytes * FREE_SHARE_MIN || lacking <= 0) return
    const freed = await this.#context.store.shortenTrash({ bytes: lacking, before: now - TRASH_KEPT_MS_MIN, limit: PAGE })
    if (freed > 0) this.#context.log.warn({ freed, lacking }, 'space is short: trash was emptied before its time')
  }

  async #sendDeletions(): Promise<void> {
    const { store } = this.#context
    const metadata = await store.readPosition({})
    for (const { serverNo, chunkIds } of await store.listDeletions({ limitPerServer: DELETIONS_PER_SERVER })) {
      const view = this.#cluster.views.byNo(serverNo)
      if (!view || view.state === 'dead' || view.state === 'suspect') continue
      this.#cluster.send(serverNo, {
        kind: 'delete',
        chunkIds,
        incarnation: view.record.incarnation,
        metadata,
        expiresMs: store.now() + COMMAND_LIFE_MS,
      })
    }
  }
}
