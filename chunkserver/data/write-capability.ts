/** What every way to write a chunk begins and ends with: the capability is checked, the receipt is signed. */
import { openCapability, type WriteCapability } from '../../common/auth/capability.js'
import { signReceipt } from '../../common/auth/receipt.js'
import { CairnError } from '../../common/errors/cairn-error.js'
import type { ChunkId } from '../../common/ids.js'
import { putBodyLength, type ReceiptJson } from '../../common/protocol/chunk-data.js'
import type { ChunkserverContext, Membership } from '../server-context.js'
import type { StoredChunk } from '../store/chunk-store.js'

export interface WriteRequest {
  readonly chunkId: ChunkId
  readonly sealed: string | undefined
  /** Of the data and their leaf sums. */
  readonly bodyBytes: number
}

/** @throws `CAPABILITY_INVALID`, `CAPABILITY_EXPIRED`, `INCARNATION_CHANGED`, `CHUNK_SIZE_MISMATCH` */
export function checkWriteCapability(context: ChunkserverContext, membership: Membership, write: WriteRequest): WriteCapability {
  const capability = openCapability(write.sealed, {
    kind: 'write',
    chunkId: write.chunkId,
    keys: membership.capabilityKeys,
    nowMs: context.members.masterNowMs(),
  })
  const target = capability.targets.find(([serverId]) => serverId === membership.serverId)
  if (!target) throw new CairnError('CAPABILITY_INVALID', 'The write capability is for other servers. Ask the master for one.')
  if (target[1] !== membership.incarnation) {
    throw new CairnError(
      'INCARNATION_CHANGED',
      'This chunkserver has restarted since the write capability was made. Ask the master for new targets.',
    )
  }
  const expected = putBodyLength(capability.lengthBytes)
  if (write.bodyBytes !== expected) {
    throw new CairnError(
      'CHUNK_SIZE_MISMATCH',
      `The body has ${write.bodyBytes} bytes; for a chunk of ${capability.lengthBytes} it must have ${expected}, its leaf sums included.`,
    )
  }
  return capability
}

/** Our word that a chunk is stored. Only after its sync, and after a look at the fence. */
export const receiptOf = (membership: Membership, stored: StoredChunk): ReceiptJson =>
  signReceipt(membership.receiptKey, {
    chunkId: stored.chunkId,
    serverId: membership.serverId,
    diskId: stored.diskId,
    lengthBytes: stored.lengthBytes,
    root: stored.root,
    storeSeq: stored.sequence,
  })
