/** What every part of a master works with. Made once by master.ts and passed down. */
import type { SigningKey } from '../common/auth/signing.js'
import type { Clock } from '../common/clock/clock.js'
import type { ClusterId } from '../common/ids.js'
import type { Logger } from '../common/observe/logger.js'
import type { Random } from '../common/random/random.js'
import type { MasterSettings } from './settings.js'
import type { MetadataStore } from './store/metadata-store.js'

export interface MasterContext {
  readonly clock: Clock
  readonly random: Random
  readonly log: Logger
  readonly store: MetadataStore
  readonly settings: MasterSettings
  readonly clusterId: ClusterId
  /** Rises with every restore of the metadata. */
  readonly metadataEpoch: number
  /** The first signs, all are accepted. Shared with chunkservers. */
  readonly capabilityKeys: readonly SigningKey[]
}
