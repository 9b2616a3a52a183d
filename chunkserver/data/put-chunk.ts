/**
 * Receiving a chunk: hash, store and forward each leaf as it arrives, then sync, then acknowledge.
 *
 * Invariants: a receipt is signed only after the sync, and only while we are not fenced; a body that is short or does
 * not match the sums that follow it publishes nothing here or further down; a failure of our disk does not stop the
 * bytes on their way to the next server, nor does a failure of the next server stop our own copy.
 */
import type { WriteCapability } from '../../common/auth/capability.js'
import type { Block } from '../../common/bytes/block-pool.js'
import { decodeLeafSums, leafCount, leafLength, LEAF_SUM_BYTES } from '../../common/checksum/tree.js'
import { RunningXxh64 } from '../../common/checksum/xxh64.js'
import { CairnError, toCairnError } from '../../common/errors/cairn-error.js'
import type { ChunkId } from '../../common/ids.js'
import {
  CAPABILITY_HEADER,
  CHAIN_HEADER,
  HOP_HEADER,
  HOP_TIMEOUT_HEADER,
  parseChain,
  PURPOSE_HEADER,
  REPLICAS_MAX,
  REQUEST_ID_HEADER,
  type HopFailure,
  type Purpose,
  type PutResult,
  type ReceiptJson,
} from '../../common/protocol/chunk-data.js'
import type { IncomingRequest, OutgoingResponse } from '../../common/rpc/transport.js'
import { KiB, SECOND_MS } from '../../common/units.js'
import type { ChunkserverContext, Membership } from '../server-context.js'
import type { ChunkWriter } from '../store/chunk-store.js'
import type { Admitted } from './admission.js'
import { Downstream, HOP_TIMEOUT_SHARE } from './forward.js'
import { checkWriteCapability, receiptOf } from './write-capability.js'

const HOP_TIMEOUT_MS = 10 * SECOND_MS
const HOP_TIMEOUT_MS_MIN = 1 * SECOND_MS
/** Bytes go on to the next hop in pieces of at least this size: small enough to keep the chain busy, large enough to be cheap. */
const FORWARD_BYTES = 256 * KiB

export async function putChunk(
  context: ChunkserverContext,
  request: IncomingRequest,
  chunkId: ChunkId,
): Promise<OutgoingResponse> {
  const membership = context.members.membership()
  const sealed = request.headers[CAPABILITY_HEADER]
  const capability = checkWriteCapability(context, membership, { chunkId, sealed, bodyBytes: request.contentLength })
  context.members.checkFence()
  const place = Math.max(0, Math.min(REPLICAS_MAX, Math.trunc(Number(request.headers[HOP_HEADER] ?? 0)) || 0))
  const admitted = await context.admission.withSignsOfLife(request, () => context.admission.admitWrite(place, request.signal))
  try {
    const reception = await Reception.open(context, membership, capability, request, place, admitted)
    const result = await reception.run()
    return {
      status: 200,
      headers: { 'content-type': 'application/json' },
      body: new TextEncoder().encode(JSON.stringify(result)),
    }
  } finally {
    admitted.release()
  }
}

class Reception {
  readonly #context: ChunkserverContext
  readonly #membership: Membership
  readonly #capability: WriteCapability
  readonly #request: IncomingRequest
  readonly #admitted: Admitted
  readonly #downstream: Downstream | undefined
  readonly #inFlight = new Set<Promise<void>>()
  readonly #sums: BigUint64Array
  readonly #purpose: Purpose
  #writer: ChunkWriter | undefined
  #ownFailure: CairnError | undefined

  private constructor(
    context: ChunkserverContext,
    membership: Membership,
    capability: WriteCapability,
    request: IncomingRequest,
    place: number,
    admitted: Admitted,
  ) {
    this.#context = context
    this.#membership = membership
    this.#capability = capability
    this.#request = request
    this.#admitted = admitted
    this.#sums = new BigUint64Array(leafCount(capability.lengthBytes))
    this.#purpose = request.headers[PURPOSE_HEADER] === 'repair' ? 'repair' : 'client'
    this.#downstream = this.#connect(place)
  }

  /** Gets everything ready for the first byte, and gives the go-ahead for it. */
  static async open(
    context: ChunkserverContext,
    membership: Membership,
    capability: WriteCapability,
    request: IncomingRequest,
    place: number,
    admitted: Admitted,
  ): Promise<Reception> {
    const reception = new Reception(context, membership, capability, request, place, admitted)
    const { chunkId, uploadId, chunkIndex, metadataEpoch, lengthBytes } = capability
    await context.admission.withSignsOfLife(request, async () => {
      try {
        reception.#writer = await context.store.create({ chunkId, uploadId, chunkIndex, metadataEpoch, lengthBytes })
      } catch (error) {
        if (!reception.#downstream) throw error
        reception.#ownFailure = toCairnError(error)
      }
      await reception.#downstream?.ready()
    })
    reception.#checkHope()
    request.interim(100)
    return reception
  }

  #connect(place: number): Downstream | undefined {
    const [hop, ...rest] = parseChain(this.#request.headers[CHAIN_HEADER])
    if (!hop) return undefined
    for (const { serverId } of [hop, ...rest]) {
      if (serverId === this.#membership.serverId || !this.#capability.targets.some(([target]) => target === serverId)) {
        throw new CairnError('CAPABILITY_INVALID', `The chain names server ${serverId}, which the capability does not allow.`)
      }
    }
    const allowedMs = Number(this.#request.headers[HOP_TIMEOUT_HEADER] ?? HOP_TIMEOUT_MS) || HOP_TIMEOUT_MS
    return new Downstream(this.#context.transport, {
      chunkId: this.#capability.chunkId,
      capability: this.#request.headers[CAPABILITY_HEADER] ?? '',
      hop,
      rest,
      place: place + 1,
      timeoutMs: Math.max(HOP_TIMEOUT_MS_MIN, allowedMs * HOP_TIMEOUT_SHARE),
      contentLength: this.#request.contentLength,
      requestId: this.#request.headers[REQUEST_ID_HEADER],
      purpose: this.#purpose,
    })
  }

  async run(): Promise<PutResult> {
    try {
      for (let index = 0; index < this.#sums.length; index += 1) await this.#receiveLeaf(index)
      await this.#receiveSums()
      return await this.#context.admission.withSignsOfLife(this.#request, () => this.#acknowledge())
    } catch (error) {
      this.#downstream?.destroy(toCairnError(error))
      await Promise.allSettled(this.#inFlight)
      await this.#writer?.abort()
      throw error
    }
  }

  async #receiveLeaf(index: number): Promise<void> {
    const block = await this.#admitted.blocks.take()
    const length = leafLength(this.#capability.lengthBytes, index)
    const sends: Promise<void>[] = []
    let forwarded = 0
    const sum = new RunningXxh64(block.bytes)
    const onProgress = (filled: number): void => {
      sum.advance(filled)
      forward(filled)
    }
    const forward = (filled: number): void => {
      if (!this.#downstream || (filled - forwarded < FORWARD_BYTES && filled < length)) return
      sends.push(this.#downstream.write(block.bytes.subarray(forwarded, filled)))
      forwarded = filled
    }
    try {
      const count = await this.#request.body.readInto(block.bytes.subarray(0, length), onProgress)
      sum.advance(count)
      if (count < length) throw new CairnError('CONNECTION_FAILED', 'The body ended too early.')
    } catch (error) {
      this.#downstream?.destroy(toCairnError(error))
      await Promise.allSettled(sends)
      block.release()
      throw error
    }
    this.#context.onBytes('in', length, this.#purpose)
    this.#sums[index] = sum.digest()
    this.#track(block, [this.#store(block, length), ...sends])
    this.#checkHope()
  }

  /** Keeps the block until it is on disk and on its way. None of the works rejects. */
  #track(block: Block, works: readonly Promise<void>[]): void {
    const done = Promise.all(works).then(() => {
      block.release()
      this.#inFlight.delete(done)
    })
    this.#inFlight.add(done)
  }

  async #store(block: Block, length: number): Promise<void> {
    if (!this.#writer || this.#ownFailure) return
    await this.#writer.writeLeaf(block.bytes, length).catch((error: unknown) => this.#failOwn(error))
  }

  #failOwn(error: unknown): void {
    this.#ownFailure ??= toCairnError(error)
  }

  /** Going on makes sense while at least one copy can still come of it. */
  #checkHope(): void {
    if (this.#ownFailure && (!this.#downstream || this.#downstream.broken)) throw this.#ownFailure
  }

  async #receiveSums(): Promise<void> {
    const tail = new Uint8Array(this.#sums.length * LEAF_SUM_BYTES)
    const count = await this.#request.body.readInto(tail)
    if (count < tail.length) throw new CairnError('CONNECTION_FAILED', 'The body ended before its leaf sums.')
    const sent = decodeLeafSums(tail)
    const wrong = this.#sums.findIndex((sum, index) => sum !== sent[index])
    if (wrong >= 0) {
      throw new CairnError(
        'CHECKSUM_MISMATCH',
        `Leaf ${wrong} of chunk ${this.#capability.chunkId} arrived different from how it was sent. Nothing was stored; send it again.`,
      )
    }
    await this.#downstream?.write(tail)
  }

  async #acknowledge(): Promise<PutResult> {
    const [own, down] = await Promise.all([this.#commit(), this.#downstream?.result()])
    const receipts: ReceiptJson[] = [...(own ? [own] : []), ...(down?.receipts ?? [])]
    const failures: HopFailure[] = [...(this.#ownFailure ? [this.#describe(this.#ownFailure)] : []), ...(down?.failures ?? [])]
    if (receipts.length === 0 && this.#ownFailure) throw this.#ownFailure
    for (const failure of failures)
      this.#context.log.warn({ chunkId: this.#capability.chunkId, ...failure }, 'a hop of the chain failed')
    return { receipts, failures }
  }

  async #commit(): Promise<ReceiptJson | undefined> {
    await Promise.all(this.#inFlight)
    if (!this.#writer || this.#ownFailure) {
      await this.#writer?.abort()
      return undefined
    }
    try {
      const stored = await this.#writer.commit(this.#sums)
      this.#context.members.checkFence()
      return receiptOf(this.#membership, stored)
    } catch (error) {
      this.#failOwn(error)
      await this.#writer.abort()
      return undefined
    }
  }

  #describe(error: CairnError): HopFailure {
    return { serverId: this.#membership.serverId, code: error.code, message: error.message }
  }
}
