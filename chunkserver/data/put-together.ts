/**
 * Receiving several small chunks in one request. Each is checked, stored, acknowledged or refused by itself, as a PUT of its
 * own would be; they go to the disk in one turn, so that they share its syncs. Nothing is passed on: whoever sends small
 * chunks sends them to each server.
 *
 * Invariants: as in put-chunk.ts. A receipt is signed only after the sync, and only while we are not fenced; bytes that do not
 * match the sum that follows them are not stored.
 */
import { decodeLeafSums, leafCount } from '../../common/checksum/tree.js'
import { xxh64 } from '../../common/checksum/xxh64.js'
import { CairnError, isCairnError, toCairnError } from '../../common/errors/cairn-error.js'
import type { ReceiptJson } from '../../common/protocol/chunk-data.js'
import { decodePuts, type SmallPut, type StoredList } from '../../common/protocol/small-chunks.js'
import { readAll } from '../../common/rpc/byte-pipe.js'
import type { IncomingRequest, OutgoingResponse } from '../../common/rpc/transport.js'
import type { ChunkserverContext, Membership } from '../server-context.js'
import type { ChunkWriter } from '../store/chunk-store.js'
import { LAST_PLACE, type Admitted } from './admission.js'
import { smallBodyBytes } from './small-body.js'
import { checkWriteCapability, receiptOf } from './write-capability.js'

export async function putTogether(context: ChunkserverContext, request: IncomingRequest): Promise<OutgoingResponse> {
  const membership = context.members.membership()
  context.members.checkFence()
  const length = smallBodyBytes(request)
  // It waits for no other server, like the end of a chain.
  const admitted = await context.admission.withSignsOfLife(request, () =>
    context.admission.admitWrite(LAST_PLACE, request.signal),
  )
  try {
    request.interim(100)
    const body = await readAll(request.body, length)
    if (body.length < length) throw new CairnError('CONNECTION_FAILED', 'The body ended too early.')
    const puts = decodePuts(body)
    const list = await context.admission.withSignsOfLife(request, () => receive(context, membership, admitted, puts))
    return {
      status: 200,
      headers: { 'content-type': 'application/json' },
      body: new TextEncoder().encode(JSON.stringify(list)),
    }
  } finally {
    admitted.release()
  }
}

async function receive(
  context: ChunkserverContext,
  membership: Membership,
  admitted: Admitted,
  puts: readonly SmallPut[],
): Promise<StoredList> {
  const storing: Promise<StoredList['chunks'][number]>[] = []
  for (const put of puts) {
    const stored = await begin(context, membership, admitted, put)
    storing.push(
      stored.receipt.then(
        (receipt) => ({ receipt }),
        (error: unknown) => ({ error: refusal(context, put, error) }),
      ),
    )
  }
  return { chunks: await Promise.all(storing) }
}

/** Resolves when the memory that the write needs is free again; the outcome may still be open then. Never rejects. */
async function begin(
  context: ChunkserverContext,
  membership: Membership,
  admitted: Admitted,
  put: SmallPut,
): Promise<{ readonly receipt: Promise<ReceiptJson> }> {
  let writer: ChunkWriter | undefined
  try {
    const { chunkId, lengthBytes, data, leafSum } = put
    const bodyBytes = data.length + leafSum.length
    const capability = checkWriteCapability(context, membership, { chunkId, sealed: put.capability, bodyBytes })
    const sum = xxh64(data)
    if (sum !== decodeLeafSums(leafSum)[0]) {
      throw new CairnError(
        'CHECKSUM_MISMATCH',
        `Chunk ${chunkId} arrived different from how it was sent. Nothing was stored; send it again.`,
      )
    }
    context.onBytes('in', lengthBytes, 'client')
    const { uploadId, chunkIndex, metadataEpoch } = capability
    writer = await context.store.create({ chunkId, uploadId, chunkIndex, metadataEpoch, lengthBytes })
    await writeLeaf(writer, admitted, data)
    const sums = new BigUint64Array(leafCount(lengthBytes)).fill(sum)
    return { receipt: commit(context, membership, writer, sums) }
  } catch (error) {
    await writer?.abort()
    return { receipt: Promise.reject(toCairnError(error)) }
  }
}

/** By way of memory that suits the disk. */
async function writeLeaf(writer: ChunkWriter, admitted: Admitted, data: Uint8Array): Promise<void> {
  const block = await admitted.blocks.take()
  try {
    block.bytes.set(data)
    await writer.writeLeaf(block.bytes, data.length)
  } finally {
    block.release()
  }
}

async function commit(
  context: ChunkserverContext,
  membership: Membership,
  writer: ChunkWriter,
  sums: BigUint64Array,
): Promise<ReceiptJson> {
  try {
    const stored = await writer.commit(sums)
    context.members.checkFence()
    return receiptOf(membership, stored)
  } catch (error) {
    await writer.abort()
    throw error
  }
}

function refusal(context: ChunkserverContext, { chunkId }: SmallPut, error: unknown): CairnError {
  const known = toCairnError(error)
  const unexpected = !isCairnError(error) || known.code === 'INTERNAL'
  context.log[unexpected ? 'error' : 'warn'](
    { chunkId, code: known.code, error: unexpected ? error : undefined },
    'a small chunk was refused',
  )
  return known
}
