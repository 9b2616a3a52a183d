/** A master on the machine it runs on: real disk, clock and network. */
import http from 'node:http'
import path from 'node:path'
import { SystemClock } from '../common/clock/system-clock.js'
import { lockDirectory } from '../common/disk/directory-lock.js'
import type { Logger } from '../common/observe/logger.js'
import { SystemRandom } from '../common/random/system-random.js'
import { listenNode, type RunningServer } from '../common/rpc/http/node-server.js'
import type { ListenOptions } from '../common/rpc/transport.js'
import { masterListener } from './api/listener.js'
import { Master, type BootstrapToken } from './master.js'
import type { MasterSettings } from './settings.js'
import type { MetadataStore } from './store/metadata-store.js'
import { openSqliteStore } from './store/sqlite-store.js'

export interface MasterProcessOptions {
  /** Where its lock is, and the metadata unless they are elsewhere. */
  readonly directory: string
  /** The URL of a database that speaks PostgreSQL's protocol; undefined: SQLite in the directory. */
  readonly metadata?: string | undefined
  readonly listen: ListenOptions
  readonly settings: Partial<MasterSettings>
  readonly tokens: readonly BootstrapToken[]
  readonly log: Logger
  /** The metadata can no longer be trusted to be durable: the process must end. */
  readonly onFatal: (error: unknown) => void
}

const CLOSE_GRACE_MS = 2_000

/** @throws `DIRECTORY_LOCKED`, `PORT_IN_USE`, or what opening the database throws */
export async function runMaster(options: MasterProcessOptions): Promise<RunningServer> {
  const lock = lockDirectory(options.directory)
  try {
    const store = await openStore(options)
    const master = await Master.open({
      clock: new SystemClock(),
      random: new SystemRandom(),
      log: options.log,
      store,
      settings: options.settings,
      tokens: options.tokens,
      processMetrics: true,
    })
    try {
      const server = await listenNode(http.createServer(masterListener(master)), options.listen)
      const close = async (): Promise<void> => {
        await server.close(CLOSE_GRACE_MS)
        await master.close()
        lock.release()
      }
      return { url: server.url, id: master.context.clusterId, close }
    } catch (error) {
      await master.close()
      throw error
    }
  } catch (error) {
    lock.release()
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
