/** A master on the machine it runs on: real disk, clock and network. */
import http, { type RequestListener } from 'node:http'
import path from 'node:path'
import { hashToken } from '../common/auth/signing.js'
import { SystemClock } from '../common/clock/system-clock.js'
import { lockDirectory } from '../common/disk/directory-lock.js'
import type { Logger } from '../common/observe/logger.js'
import { SystemRandom } from '../common/random/system-random.js'
import { listenNode, type RunningServer } from '../common/rpc/http/node-server.js'
import type { ListenOptions } from '../common/rpc/transport.js'
import { SECOND_MS } from '../common/units.js'
import { ActiveLease } from './active-lease.js'
import { masterListener, standByListener } from './api/listener.js'
import { Master, type BootstrapToken } from './master.js'
import type { MasterSettings } from './settings.js'
import { holderId } from './store/holder-id.js'
import { leasedStore } from './store/leased-store.js'
import type { MetadataStore } from './store/metadata-store.js'
import { openSqliteStore } from './store/sqlite-store.js'

export interface MasterProcessOptions {
  /** Where its lock is, and the metadata unless they are elsewhere. */
  readonly directory: string
  /** The URL of a database that speaks PostgreSQL's protocol; undefined: SQLite in the directory. */
  readonly metadata?: string | undefined
  /** How long another master waits for one that is not heard of. */
  readonly leaseMs?: number | undefined
  readonly listen: ListenOptions
  readonly settings: Partial<MasterSettings>
  readonly tokens: readonly BootstrapToken[]
  readonly log: Logger
  /** The metadata can no longer be trusted to be durable: the process must end. */
  readonly onFatal: (error: unknown) => void
}

const CLOSE_GRACE_MS = 2_000
const LEASE_MS = 10 * SECOND_MS

/** @throws `DIRECTORY_LOCKED`, `PORT_IN_USE`, or what opening the database throws */
export async function runMaster(options: MasterProcessOptions): Promise<RunningServer> {
  const lock = lockDirectory(options.directory)
  try {
    const store = await openStore(options)
    const running = await (options.metadata === undefined ? runAlone(store, options) : runAmongOthers(store, options))
    const close = async (): Promise<void> => {
      await running.close()
      lock.release()
    }
    return { ...running, close }
  } catch (error) {
    lock.release()
    throw error
  }
}

const openMaster = (store: MetadataStore, { log, settings, tokens }: MasterProcessOptions): Promise<Master> =>
  Master.open({ clock: new SystemClock(), random: new SystemRandom(), log, store, settings, tokens, processMetrics: true })

/** The only master: nobody else can have its database. */
async function runAlone(store: MetadataStore, options: MasterProcessOptions): Promise<RunningServer> {
  const master = await openMaster(store, options)
  try {
    const server = await listenNode(http.createServer(masterListener(master)), options.listen)
    const close = async (): Promise<void> => {
      await server.close(CLOSE_GRACE_MS)
      await master.close()
    }
    return { url: server.url, id: master.context.clusterId, close }
  } catch (error) {
    await master.close()
    throw error
  }
}

/** One of several masters on one database: serves while it holds the lease, and stands by until then. */
async function runAmongOthers(store: MetadataStore, options: MasterProcessOptions): Promise<RunningServer> {
  let lease: ActiveLease | undefined
  let active: { readonly master: Master; readonly listener: RequestListener } | undefined
  try {
    const { clusterId } = await store.ensureCluster({})
    // Whoever is active knows the tokens of all.
    for (const { name, token, scopes } of options.tokens) await store.putToken({ hash: hashToken(token), name, scopes })
    const server = await listenNode(
      http.createServer((request, response) => {
        if (lease?.held && active) active.listener(request, response)
        else standByListener(request, response, lease?.refusal())
      }),
      options.listen,
    )
    lease = new ActiveLease({
      clock: new SystemClock(),
      log: options.log,
      store,
      holder: holderId(options.directory, new SystemRandom()),
      address: server.url,
      ttlMs: options.leaseMs ?? LEASE_MS,
      onActive: async (key) => {
        const master = await openMaster(leasedStore(store, key), options)
        active = { master, listener: masterListener(master) }
      },
      onLost: options.onFatal,
    })
    lease.start()
    const close = async (): Promise<void> => {
      await server.close(CLOSE_GRACE_MS)
      await active?.master.close()
      await lease?.stop()
      await store.close()
    }
    return { url: server.url, id: clusterId, close }
  } catch (error) {
    await store.close()
    throw error
  }
}

async function openStore({ metadata, directory, log, onFatal }: MasterProcessOptions): Promise<MetadataStore> {
  if (metadata === undefined) return openSqliteStore(path.join(directory, 'metadata.sqlite'), onFatal)
  // Loaded by who uses it only.
  const { openPostgresStore } = await import('./store/postgres-store.js')
  const { parsePostgresUrl } = await import('./store/postgres/address.js')
  return openPostgresStore(parsePostgresUrl(metadata, process.env), {
    onRetry: (reason, error) => {
      if (reason === 'lost') log.warn({ error }, 'a transaction of the metadata is run again on another connection')
      else log.debug({ error }, 'a transaction of the metadata has met another and is run again')
    },
  })
}
