/**
 * What a seed stands for: the shape of the cluster, its settings, the load, and how often what goes wrong. Each kind of
 * trouble is absent from many seeds ("swarm testing"): what is always there hides what happens without it.
 */
import type { BucketPolicy } from '../../../common/protocol/buckets.js'
import { SeededRandom } from '../../../common/random/seeded-random.js'
import { PACKED_CHUNK_BYTES_MAX } from '../../../chunkserver/store/pack-record.js'
import { KiB, SECOND_MS } from '../../../common/units.js'
import type { MasterSettings } from '../../../master/index.js'

export const FAULTS = [
  'power-cut',
  'process-kill',
  'server-pause',
  'master-kill',
  'master-pause',
  'client-kill',
  'client-pause',
  'partition',
  'one-way-partition',
  'zone-loss',
  'clock-jump',
  'bit-flip',
  'torn-chunk',
  'lost-chunk',
  'misdirected-write',
  'unreadable-sector',
  'disk-errors',
  'disk-hang',
  'disk-slow',
  'disk-full',
  'disk-replaced',
  'disk-emptied',
  'server-gone',
  'join',
  'drain',
  'maintenance',
] as const
export type Fault = (typeof FAULTS)[number]

export interface NetworkPlan {
  /** Of requests and of answers, each. */
  readonly lossShare: number
  readonly resetShare: number
  readonly duplicateShare: number
  readonly delayMs: number
  /** Some messages are this late. */
  readonly lateShare: number
  readonly lateMs: number
  /** Milliseconds per 64 KiB of a body, at most. */
  readonly bodyMs: number
}

export interface Plan {
  readonly seed: number
  readonly servers: number
  readonly zones: number
  readonly disksPerServer: number
  /** Chunks up to this length share pack files. */
  readonly packedBytesMax: number
  readonly clients: number
  readonly operations: number
  readonly faultsMs: number
  /** How often something is done to the cluster, and which kinds of things, by weight. */
  readonly faultEveryMs: number
  readonly faults: readonly { readonly fault: Fault; readonly weight: number }[]
  readonly network: NetworkPlan
  readonly storeLatencyMs: number
  readonly diskLatencyMs: number
  /** Of what was not synced, so much is lost or damaged by a power cut. */
  readonly crashShare: number
  readonly sectorBytes: number
  readonly settings: Partial<MasterSettings>
  readonly buckets: readonly { readonly name: string; readonly policy: BucketPolicy }[]
  /** The cluster rests for days at the end, so that what lives for days ends too. */
  readonly rests: boolean
}

/** How often a fault of a seed that has it comes, against the others. */
const WEIGHTS: Record<Fault, number> = {
  'power-cut': 6,
  'process-kill': 5,
  'server-pause': 3,
  'master-kill': 3,
  'master-pause': 2,
  'client-kill': 3,
  'client-pause': 1,
  partition: 3,
  'one-way-partition': 3,
  'zone-loss': 1,
  'clock-jump': 2,
  'bit-flip': 4,
  'torn-chunk': 2,
  'lost-chunk': 2,
  'misdirected-write': 2,
  'unreadable-sector': 3,
  'disk-errors': 1,
  'disk-hang': 1,
  'disk-slow': 1,
  'disk-full': 2,
  'disk-replaced': 1,
  'disk-emptied': 1,
  'server-gone': 1,
  join: 1,
  drain: 2,
  maintenance: 2,
}

const PACKS_FROM_SEED = 1000

export function drawPlan(seed: number): Plan {
  const random = new SeededRandom(seed)
  const between = (low: number, high: number): number => low + random.integer(high - low + 1)
  const sometimes = (share: number, value: () => number): number => (random.fraction() < share ? value() : 0)
  const pick = <T>(...values: T[]): T => values[random.integer(values.length)] as T
  const servers = between(3, 7)
  const heartbeatIntervalMs = pick(1, 2, 2, 3) * SECOND_MS
  const deadAfterMs = heartbeatIntervalMs * pick(5, 8)
  const calm = random.fraction() < 0.1
  return {
    seed,
    servers,
    zones: between(1, Math.min(4, servers)),
    disksPerServer: pick(1, 1, 2, 3),
    clients: between(1, 4),
    operations: between(20, 45),
    faultsMs: between(25, 70) * SECOND_MS,
    faultEveryMs: pick(2, 3, 5) * SECOND_MS,
    faults: calm
      ? []
      : FAULTS.filter(() => random.fraction() < 0.45).map((fault) => ({
          fault,
          weight: WEIGHTS[fault] * (0.5 + random.fraction()),
        })),
    network: {
      lossShare: sometimes(0.5, () => random.fraction() ** 2 * 0.3),
      resetShare: sometimes(0.3, () => random.fraction() * 0.05),
      duplicateShare: sometimes(0.5, () => random.fraction() * 0.5),
      delayMs: pick(0, 2, 20, 200),
      lateShare: sometimes(0.4, () => random.fraction() * 0.05),
      lateMs: between(1, 20) * SECOND_MS,
      bodyMs: pick(0, 0, 5, 200),
    },
    storeLatencyMs: pick(0, 0, 2, 30),
    diskLatencyMs: pick(0, 0, 1, 8),
    crashShare: 0.8 + random.fraction() * 0.2,
    sectorBytes: pick(512, 4096),
    settings: {
      heartbeatIntervalMs,
      suspectAfterMs: heartbeatIntervalMs * 3,
      deadAfterMs,
      repairStartDelayMs: pick(0, deadAfterMs / 2),
      repairTimeoutMs: between(10, 30) * SECOND_MS,
      garbageGraceMs: between(15, 40) * SECOND_MS,
      orphanGraceMs: between(20, 60) * SECOND_MS,
      garbageIntervalMs: between(2, 6) * SECOND_MS,
    },
    buckets: ['b0', 'b1'].map((name) => {
      const replicas = between(1, 3)
      return {
        name,
        policy: {
          replicas,
          minReplicas: replicas === 1 || random.fraction() < 0.15 ? 1 : replicas === 3 && random.fraction() < 0.1 ? 3 : 2,
          chunkSizeBytes: 64 * KiB,
          trashDays: pick(0, 0.0003, 0.001, 3),
        },
      }
    }),
    rests: random.fraction() < 0.4,
    // Not in the seeds that the tests run: those keep chunk files in view.
    packedBytesMax: seed < PACKS_FROM_SEED ? 0 : pick(0, 20 * KiB, PACKED_CHUNK_BYTES_MAX),
  }
}
