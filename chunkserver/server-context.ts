/** What the parts of a chunkserver work with. */
import type { SigningKey } from '../common/auth/signing.js'
import type { Clock } from '../common/clock/clock.js'
import type { ServerId } from '../common/ids.js'
import type { Purpose } from '../common/protocol/chunk-data.js'
import type { Logger } from '../common/observe/logger.js'
import type { Random } from '../common/random/random.js'
import type { Transport } from '../common/rpc/transport.js'
import type { Admission } from './data/admission.js'
import type { ChunkStore } from './store/chunk-store.js'

/** Who we are in the cluster, and what the master has told us. Known once registered. */
export interface Membership {
  readonly serverId: ServerId
  readonly incarnation: number
  readonly receiptKey: SigningKey
  readonly capabilityKeys: readonly SigningKey[]
}

export interface MembershipSource {
  /** @throws `STARTING` before the first registration */
  membership(): Membership
  /** The master's clock, as far as heartbeats tell it. */
  masterNowMs(): number
  /** @throws `FENCED` when no master has been reached for half the dead time: others may be rebuilding our chunks */
  checkFence(): void
}

export interface ChunkserverContext {
  readonly clock: Clock
  readonly random: Random
  readonly log: Logger
  readonly transport: Transport
  readonly store: ChunkStore
  readonly admission: Admission
  readonly members: MembershipSource
  readonly onBytes: (direction: 'in' | 'out', bytes: number, purpose: Purpose) => void
}
