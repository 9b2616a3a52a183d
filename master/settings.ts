/** The settings of a master, with their defaults. Times in milliseconds. */
import type { BucketPolicy } from '../common/protocol/buckets.js'
import { DAY_MS, HOUR_MS, MiB, MINUTE_MS, SECOND_MS } from '../common/units.js'

/** Copies in flight into and out of one server, in units of a 64 MiB chunk; small chunks weigh less. */
export interface TransferLimit {
  readonly into: number
  readonly outOf: number
}

export interface MasterSettings {
  readonly heartbeatIntervalMs: number
  /** No heartbeat for so long: no new writes, read last. */
  readonly suspectAfterMs: number
  /** No heartbeat for so long: its chunks are rebuilt elsewhere. */
  readonly deadAfterMs: number
  /** No repair for so long after a start: servers that are only late must not look dead. */
  readonly repairStartDelayMs: number
  /** At speed `balanced`. `background` is for moves: drains, misplaced copies, rebalancing. */
  readonly repairLimits: {
    readonly lastCopy: TransferLimit
    readonly belowGoal: TransferLimit
    readonly background: TransferLimit
  }
  /** What one chunkserver may send at most for repair; null: a share of what its disks can do. */
  readonly repairBytesPerSecondMax: number | null
  /** How long announced maintenance may last when nothing else is said. */
  readonly maintenanceGraceMs: number
  /** A repair without a result for so long is planned anew. */
  readonly repairTimeoutMs: number
  /** Policy of buckets that come into being by their first put. */
  readonly bucketDefaults: BucketPolicy
  /** Between a chunk's last reference and its deletion. Longer than any capability lives. */
  readonly garbageGraceMs: number
  /** Between the first sight of a copy that the metadata does not know and its deletion. */
  readonly orphanGraceMs: number
  /** Between two rounds of the collector. */
  readonly garbageIntervalMs: number
  readonly capabilityLifeMs: number
}

export const DEFAULT_MASTER_SETTINGS: MasterSettings = {
  heartbeatIntervalMs: 1 * SECOND_MS,
  suspectAfterMs: 5 * SECOND_MS,
  deadAfterMs: 60 * SECOND_MS,
  repairStartDelayMs: 30 * SECOND_MS,
  repairLimits: { lastCopy: { into: 4, outOf: 10 }, belowGoal: { into: 2, outOf: 5 }, background: { into: 1, outOf: 2 } },
  repairBytesPerSecondMax: null,
  maintenanceGraceMs: 30 * MINUTE_MS,
  repairTimeoutMs: 2 * MINUTE_MS,
  bucketDefaults: { replicas: 3, minReplicas: 2, chunkSizeBytes: 64 * MiB, trashDays: 3 },
  garbageGraceMs: 45 * MINUTE_MS,
  orphanGraceMs: 6 * HOUR_MS,
  garbageIntervalMs: 5 * SECOND_MS,
  capabilityLifeMs: 30 * MINUTE_MS,
}

/** Allocations that were never reported are given up after this; any capability for them has expired long before. */
export const ALLOCATION_KEPT_MS = DAY_MS

/**
 * A grace shorter than this, as tests choose, does not shorten capabilities further: a transfer that has to wait its turn
 * would find them expired. A copy that one makes after its chunk is gone is an orphan, and collected as such.
 */
const CAPABILITY_LIFE_MS_MIN = 20 * SECOND_MS

/** Completes a partial choice: what follows from another value follows the chosen one. */
export function masterSettings(chosen: Partial<MasterSettings>): MasterSettings {
  const settings = { ...DEFAULT_MASTER_SETTINGS, ...chosen }
  return {
    ...settings,
    // Half the dead time: enough for every live server to be heard, without leaving a test cluster waiting for 30 s.
    repairStartDelayMs: chosen.repairStartDelayMs ?? Math.min(settings.repairStartDelayMs, settings.deadAfterMs / 2),
    capabilityLifeMs: Math.min(settings.capabilityLifeMs, Math.max(CAPABILITY_LIFE_MS_MIN, (settings.garbageGraceMs * 2) / 3)),
  }
}
