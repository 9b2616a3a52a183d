/**
 * Sending a chunk or a range of it: the leaf sums, then the whole leaves that cover the range, each verified before its
 * first byte leaves. A leaf that turns out bad breaks the answer off, so that what was received is always good.
 */
import { openCapability } from '../../common/auth/capability.js'
import type { Block } from '../../common/bytes/block-pool.js'
import { encodeLeafSums, LEAF_BYTES, leafLength } from '../../common/checksum/tree.js'
import { CairnError } from '../../common/errors/cairn-error.js'
import { observed } from '../../common/flow/deferred.js'
import type { ChunkId } from '../../common/ids.js'
import { CAPABILITY_HEADER, CHUNK_LENGTH_HEADER, CHUNK_ROOT_HEADER, FIRST_LEAF_HEADER } from '../../common/protocol/chunk-data.js'
import type { ByteSink, IncomingRequest, OutgoingResponse } from '../../common/rpc/transport.js'
import type { ChunkserverContext } from '../server-context.js'
import type { ChunkReader } from '../store/chunk-store.js'
import { releaseAfter } from '../store/disk-io.js'
import type { Admitted } from './admission.js'

/** Leaves read ahead of the one being sent. */
const READ_AHEAD = 2

interface LeafRange {
  readonly first: number
  /** One past the last. */
  readonly end: number
}

export async function getChunk(
  context: ChunkserverContext,
  request: IncomingRequest,
  chunkId: ChunkId,
): Promise<OutgoingResponse> {
  checkReadCapability(context, request.headers[CAPABILITY_HEADER], chunkId)
  const admitted = await context.admission.withSignsOfLife(request, () => context.admission.admitRead(request.signal))
  let reader: ChunkReader | undefined
  try {
    reader = await context.store.open(chunkId)
    const sending = new Sending(context, reader, leafRange(request, reader.lengthBytes), admitted)
    // The first leaf is read before the answer begins: if it is bad, the answer can still be an error that says so.
    await sending.readFirst()
    return sending.response()
  } catch (error) {
    await reader?.close()
    admitted.release()
    throw error
  }
}

export function checkReadCapability(context: ChunkserverContext, sealed: string | undefined, chunkId: ChunkId): void {
  const { capabilityKeys } = context.members.membership()
  openCapability(sealed, {
    kind: 'read',
    chunkId,
    keys: capabilityKeys,
    nowMs: context.members.masterNowMs(),
  })
}

/** `?start=…&end=…`, in bytes of the chunk, end exclusive; the whole chunk without. An empty range asks for the leaf sums alone. */
function leafRange(request: IncomingRequest, lengthBytes: number): LeafRange {
  const start = Number(request.query.get('start') ?? 0)
  const end = Number(request.query.get('end') ?? lengthBytes)
  if (!Number.isSafeInteger(start) || !Number.isSafeInteger(end) || start < 0 || end < start || end > lengthBytes) {
    throw new CairnError('INVALID_RANGE', `The range ${start}-${end} does not lie within the chunk's ${lengthBytes} bytes.`)
  }
  const first = Math.floor(start / LEAF_BYTES)
  return { first, end: start === end ? first : Math.ceil(end / LEAF_BYTES) }
}

interface ReadLeaf {
  readonly block: Block
  readonly length: number
}

class Sending {
  readonly #context: ChunkserverContext
  readonly #reader: ChunkReader
  readonly #range: LeafRange
  readonly #admitted: Admitted
  readonly #ahead: Promise<ReadLeaf>[] = []
  #next: number

  constructor(context: ChunkserverContext, reader: ChunkReader, range: LeafRange, admitted: Admitted) {
    this.#context = context
    this.#reader = reader
    this.#range = range
    this.#admitted = admitted
    this.#next = range.first
  }

  async readFirst(): Promise<void> {
    this.#readAhead(1)
    await this.#ahead[0]
  }

  response(): OutgoingResponse {
    const { lengthBytes, root, leafSums } = this.#reader
    const sums = encodeLeafSums(leafSums)
    let contentLength = sums.length
    for (let index = this.#range.first; index < this.#range.end; index += 1) contentLength += leafLength(lengthBytes, index)
    return {
      status: 200,
      headers: {
        'content-type': 'application/octet-stream',
        [CHUNK_LENGTH_HEADER]: String(lengthBytes),
        [CHUNK_ROOT_HEADER]: root,
        [FIRST_LEAF_HEADER]: String(this.#range.first),
      },
      body: { contentLength, produce: (sink) => this.#produce(sink, sums), discard: () => this.#close() },
    }
  }

  async #produce(sink: ByteSink, sums: Uint8Array): Promise<void> {
    try {
      await sink.write(sums)
      for (let index = this.#range.first; index < this.#range.end; index += 1) {
        this.#readAhead(READ_AHEAD)
        const { block, length } = await (this.#ahead.shift() as Promise<ReadLeaf>)
        // While this leaf goes out, the next ones come in.
        this.#readAhead(READ_AHEAD)
        try {
          await sink.write(block.bytes.subarray(0, length))
        } finally {
          block.release()
        }
        this.#context.onBytes('out', length, 'client')
      }
    } finally {
      await this.#close()
    }
  }

  /** Starts reads while blocks are at hand; there always is one when none is ahead. */
  #readAhead(count: number): void {
    while (this.#ahead.length < count && this.#next < this.#range.end) {
      const block = this.#admitted.blocks.tryTake()
      if (!block) return
      this.#ahead.push(observed(this.#readLeaf(this.#next, block)))
      this.#next += 1
    }
  }

  async #readLeaf(index: number, block: Block): Promise<ReadLeaf> {
    try {
      return { block, length: await this.#reader.readLeaf(index, block.bytes) }
    } catch (error) {
      releaseAfter(error, block)
      throw error
    }
  }

  async #close(): Promise<void> {
    for (const leaf of await Promise.allSettled(this.#ahead.splice(0)))
      if (leaf.status === 'fulfilled') leaf.value.block.release()
    await this.#reader.close()
    this.#admitted.release()
  }
}
