/** How a client is set up, and what it works with. */
import type { Clock } from '../common/clock/clock.js'
import type { Logger } from '../common/observe/logger.js'
import type { Random } from '../common/random/random.js'
import type { Transport } from '../common/rpc/transport.js'
import { MiB, SECOND_MS } from '../common/units.js'
import type { RequestId } from '../common/ids.js'
import type { BlockPool } from '../common/bytes/block-pool.js'
import type { SmallChunks } from './small-chunks.js'

export interface ClientOptions {
  /** Addresses of masters; the first that answers is used until it fails. */
  readonly masters: readonly string[]
  readonly token?: string | undefined
  /** Where this client is: reads and first hops prefer servers there. */
  readonly zone?: string | undefined
  /** Chunks in flight per transfer. */
  readonly concurrency?: number | undefined
  /** Memory for chunk bytes, for all transfers of this client together. */
  readonly budgetBytes?: number | undefined
}

export const DEFAULT_CONCURRENCY = 4
export const DEFAULT_BUDGET_BYTES = 128 * MiB

/** Streams of at most this many blocks each share the client's blocks. */
export const BLOCKS_PER_STREAM = 4

/** No byte in either direction for so long: the chunkserver is taken for dead, and another one is tried. */
export const STALL_TIMEOUT_MS = 10 * SECOND_MS
/** How long a transfer tries to get on before it gives up with the last error. */
export const PATIENCE_MS = 30 * SECOND_MS
/** The same while no master has ever answered this client: a wrong address should be said soon. */
export const FIRST_CONTACT_PATIENCE_MS = 5 * SECOND_MS
/** A master that was there before may be restarting, or another be taking over. */
export const MASTER_PATIENCE_MS = 60 * SECOND_MS

/** The parts a client stands on; made by a platform. */
export interface ClientParts {
  readonly clock: Clock
  readonly random: Random
  readonly log: Logger
  readonly transport: Transport
}

/** Makes the ids of one operation's requests: each unique, all beginning alike, so that logs of all servers can be joined. */
export type RequestIds = () => RequestId

/** What uploads and downloads are given. */
export interface TransferContext extends ClientParts {
  readonly requestIds: RequestIds
  readonly zone: string | undefined
  readonly concurrency: number
  readonly blocks: BlockPool
  readonly smallChunks: SmallChunks
}

export interface Progress {
  /** Bytes of the transfer that are done, those of earlier runs included. */
  readonly doneBytes: number
  /** Null when the source's size is not known. */
  readonly totalBytes: number | null
  /** Bytes that were found done already, by checking them. */
  readonly skippedBytes: number
}

export interface TransferOptions {
  readonly signal?: AbortSignal | undefined
  readonly onProgress?: ((progress: Progress) => void) | undefined
  readonly concurrency?: number | undefined
  /** Told in words what the transfer waits for or works around. */
  readonly onNotice?: ((notice: string) => void) | undefined
}
