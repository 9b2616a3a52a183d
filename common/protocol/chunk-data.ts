/**
 * The conversation about chunk bytes: client to chunkserver, and chunkserver to the next of its chain. Raw HTTP bodies;
 * byte by byte in docs/formats/chunk-transfer.md.
 */
import { z } from 'zod'
import { CairnError } from '../errors/cairn-error.js'
import type { ChunkId, ServerId } from '../ids.js'
import { LEAF_SUM_BYTES, leafCount } from '../checksum/tree.js'
import { byteCount, checksum64, chunkId, count, diskId, serverId } from './schemas.js'

export const CAPABILITY_HEADER = 'x-cairn-capability'
/** The servers after this one: `serverId=url` pairs, comma separated. */
export const CHAIN_HEADER = 'x-cairn-chain'
/** 0-based place of the receiving server in the chain. */
export const HOP_HEADER = 'x-cairn-hop'
/** How long the sender waits for a sign of life; what the receiver allows the next hop is less. */
export const HOP_TIMEOUT_HEADER = 'x-cairn-hop-timeout-ms'
/** `repair` when servers copy among themselves: it counts as no client's work. Nothing else depends on it. */
export const PURPOSE_HEADER = 'x-cairn-purpose'
export type Purpose = 'client' | 'repair'
export const REQUEST_ID_HEADER = 'x-request-id'
export const CHUNK_LENGTH_HEADER = 'x-cairn-chunk-length'
export const CHUNK_ROOT_HEADER = 'x-cairn-chunk-root'
/** First leaf of a read answer; the leaf sums of the whole chunk come before it. */
export const FIRST_LEAF_HEADER = 'x-cairn-first-leaf'

export const chunkPath = (id: ChunkId): string => `/v1/chunks/${id}`

/** What a chunk of this length weighs on the wire in a PUT: the bytes, then 8 bytes per leaf sum. */
export const putBodyLength = (lengthBytes: number): number => lengthBytes + leafCount(lengthBytes) * LEAF_SUM_BYTES

export const receipt = z.object({
  chunkId,
  serverId,
  diskId,
  lengthBytes: byteCount,
  root: checksum64,
  /** Where the copy stands in the sequence of changes of its server's store. */
  storeSeq: count,
  keyId: z.string(),
  mac: z.string(),
})
export type ReceiptJson = z.infer<typeof receipt>

export const hopFailure = z.object({ serverId, code: z.string(), message: z.string() })
export type HopFailure = z.infer<typeof hopFailure>

export const putResult = z.object({ receipts: z.array(receipt), failures: z.array(hopFailure) })
export type PutResult = z.infer<typeof putResult>

/** What a server found when it read its copy from the disk. `missing`: it has none. */
export const verifyAnswer = z.object({ outcome: z.enum(['good', 'corrupt', 'missing']), lengthBytes: byteCount })
export type VerifyAnswer = z.infer<typeof verifyAnswer>

export const chunkLocation = z.object({ dir: z.string(), file: z.string(), offset: byteCount, lengthBytes: byteCount })
export type ChunkLocation = z.infer<typeof chunkLocation>

/** One hop of a chain. */
export interface Hop {
  readonly serverId: ServerId
  readonly url: string
}

/** Copies of a chunk, and with it hops of a chain. More would be a mistake in a policy. */
export const REPLICAS_MAX = 16

export const formatChain = (hops: readonly Hop[]): string => hops.map((hop) => `${hop.serverId}=${hop.url}`).join(',')

/** @throws `INVALID_ARGUMENT` */
export function parseChain(text: string | undefined): Hop[] {
  if (!text) return []
  const hops = text.split(',').map((pair) => {
    const match = /^([0-9a-f]{32})=(https?:\/\/[^\s,]+)$/.exec(pair.trim())
    if (!match) throw new CairnError('INVALID_ARGUMENT', `${CHAIN_HEADER} must list serverId=url pairs.`)
    return { serverId: match[1] as ServerId, url: match[2] as string }
  })
  if (hops.length >= REPLICAS_MAX) throw new CairnError('INVALID_ARGUMENT', `A chain has at most ${REPLICAS_MAX} servers.`)
  return hops
}
