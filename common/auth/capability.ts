/**
 * Chunk capabilities: signed permission, made by a master, to write or read one chunk. Chunkservers check them without
 * asking anybody. They are no secrets of lasting worth: they expire, by the master's clock.
 */
import { CairnError } from '../errors/cairn-error.js'
import type { ChunkId, ServerId, UploadId } from '../ids.js'
import { sign, verifySignature, type SigningKey } from './signing.js'

/** May write one chunk of exactly this length to these starts of these servers. */
export interface WriteCapability {
  readonly kind: 'write'
  readonly chunkId: ChunkId
  readonly uploadId: UploadId
  readonly chunkIndex: number
  readonly lengthBytes: number
  /** Server and its incarnation: a server that has restarted since refuses. */
  readonly targets: readonly (readonly [ServerId, number])[]
  readonly metadataEpoch: number
  readonly expiresMs: number
}

/** May read one chunk from any server. */
export interface ReadCapability {
  readonly kind: 'read'
  readonly chunkId: ChunkId
  readonly expiresMs: number
}

export type Capability = WriteCapability | ReadCapability

export function sealCapability(key: SigningKey, capability: Capability): string {
  const payload = Buffer.from(JSON.stringify(capability)).toString('base64url')
  return `${payload}.${key.keyId}.${sign(key, payload)}`
}

export interface CapabilityCheck<Kind extends Capability['kind']> {
  readonly kind: Kind
  readonly chunkId: ChunkId
  readonly keys: readonly SigningKey[]
  readonly nowMs: number
}

/** @throws `CAPABILITY_INVALID`, `CAPABILITY_EXPIRED` */
export function openCapability<Kind extends Capability['kind']>(
  sealed: string | undefined,
  check: CapabilityCheck<Kind>,
): Extract<Capability, { kind: Kind }> {
  const refuse = (why: string): CairnError =>
    new CairnError('CAPABILITY_INVALID', `The chunk capability is not accepted: ${why}. Ask the master for a fresh one.`)
  const [payload, keyId, mac, rest] = (sealed ?? '').split('.')
  if (!payload || !keyId || !mac || rest !== undefined) throw refuse('it is missing or malformed')
  const key = check.keys.find((candidate) => candidate.keyId === keyId)
  if (!key) throw refuse('its key is unknown here')
  if (!verifySignature(key, payload, mac)) throw refuse('its signature is wrong')
  const capability = JSON.parse(Buffer.from(payload, 'base64url').toString()) as Capability
  if (capability.kind !== check.kind) throw refuse(`it is for ${capability.kind}, not ${check.kind}`)
  if (capability.chunkId !== check.chunkId) throw refuse('it is for another chunk')
  if (capability.expiresMs < check.nowMs) {
    throw new CairnError('CAPABILITY_EXPIRED', 'The chunk capability has expired. Ask the master for a fresh one.')
  }
  return capability as Extract<Capability, { kind: Kind }>
}
