/** A master: its parts, wired. Runs on any clock, store and transport; main.ts gives it the real ones. */
import type { Clock } from '../common/clock/clock.js'
import { hashToken, type SigningKey } from '../common/auth/signing.js'
import { bytesToHex } from '../common/ids.js'
import type { Logger } from '../common/observe/logger.js'
import type { Random } from '../common/random/random.js'
import type { RouteServices } from '../common/rpc/routes.js'
import { Authenticator } from './auth/authenticator.js'
import { ClusterService } from './cluster/cluster-service.js'
import { isLoss } from './cluster/liveness.js'
import { ServerLife } from './cluster/server-life.js'
import type { MasterContext } from './context.js'
import { Collector } from './gc/collector.js'
import { JobRunner } from './jobs/job-runner.js'
import { createMasterMetrics, observeMaster, type MasterMetrics } from './metrics.js'
import { Repairer } from './repair/repairer.js'
import { masterSettings, type MasterSettings } from './settings.js'
import type { MetadataStore } from './store/metadata-store.js'
import { UploadService } from './uploads/upload-service.js'

export interface BootstrapToken {
  readonly name: string
  readonly token: string
  readonly scopes: readonly string[]
}

export interface MasterOptions {
  readonly clock: Clock
  readonly random: Random
  readonly log: Logger
  readonly store: MetadataStore
  readonly settings?: Partial<MasterSettings>
  /** Tokens that must exist: the operator's, and the one that chunkservers join with. */
  readonly tokens?: readonly BootstrapToken[]
  readonly processMetrics?: boolean
}

export class Master implements AsyncDisposable {
  readonly context: MasterContext
  readonly cluster: ClusterService
  readonly uploads: UploadService
  readonly life: ServerLife
  readonly repairer: Repairer
  readonly collector: Collector
  readonly jobs: JobRunner
  readonly metrics: MasterMetrics
  readonly #authenticator: Authenticator
  #ready = false

  private constructor(context: MasterContext, processMetrics: boolean) {
    this.context = context
    this.cluster = new ClusterService(context, {
      onStatesChanged: (changes) => {
        this.repairer.statesChanged(
          changes.filter(({ server, from }) => isLoss(from, server.state)).map(({ server }) => server.record.serverNo),
        )
      },
      onResults: (_server, results) => this.repairer.results(results),
      onTasks: (server, taskIds) => this.repairer.running(server.record.serverNo, taskIds),
    })
    this.uploads = new UploadService(context, this.cluster)
    this.life = new ServerLife(context, this.cluster)
    this.repairer = new Repairer(context, this.cluster, this.life)
    this.collector = new Collector(context, this.cluster)
    this.jobs = new JobRunner(context)
    this.#authenticator = new Authenticator(context.store, context.clock)
    this.metrics = createMasterMetrics(processMetrics)
    observeMaster(this.metrics.metrics, this)
  }

  /** Brings a master up on an open store. It serves from the moment this resolves. */
  static async open(options: MasterOptions): Promise<Master> {
    const { clock, random, log, store } = options
    const { clusterId, metadata } = await store.ensureCluster({})
    const fresh: SigningKey = { keyId: bytesToHex(random.bytes(4)), secret: bytesToHex(random.bytes(32)) }
    const capabilityKeys = await store.ensureKeys({ kind: 'capability', fresh })
    for (const { name, token, scopes } of options.tokens ?? []) await store.putToken({ hash: hashToken(token), name, scopes })
    const settings = masterSettings(options.settings ?? {})
    const master = new Master(
      { clock, random, log, store, settings, clusterId, metadataEpoch: metadata.epoch, capabilityKeys },
      options.processMetrics ?? false,
    )
    await master.cluster.start()
    master.repairer.start()
    master.collector.start()
    master.jobs.start()
    master.#ready = true
    log.info({ clusterId, metadata }, 'master is serving')
    return master
  }

  get ready(): boolean {
    return this.#ready
  }

  routeServices(): RouteServices {
    const { random, log, clock } = this.context
    return {
      random,
      log,
      authenticate: (token) => this.#authenticator.authenticate(token),
      onServed: this.metrics.onServed,
      monotonic: () => clock.monotonic(),
    }
  }

  /** Stops the background jobs and closes the store. Requests must have been let finish before. */
  async close(): Promise<void> {
    this.#ready = false
    await Promise.all([this.repairer.stop(), this.collector.stop(), this.jobs.stop()])
    await this.cluster.stop()
    await this.context.store.close()
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close()
  }
}
