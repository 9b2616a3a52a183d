/**
 * Fetches the leaves of a chunk, each verified against the manifest's root, from whichever replica has it: past a
 * server that dies in mid-chunk, and past a damaged leaf, at just the place where it happened. Good leaves of damaged
 * copies are joined this way too; only a leaf that is bad in every copy is lost.
 */
import { assert } from '../../common/assert.js'
import type { Block } from '../../common/bytes/block-pool.js'
import { StreamBlocks } from '../../common/bytes/stream-blocks.js'
import { chunkRoot, decodeLeafSums, leafCount, LEAF_BYTES, LEAF_SUM_BYTES, leafLength } from '../../common/checksum/tree.js'
import { RunningXxh64, xxh64 } from '../../common/checksum/xxh64.js'
import { sleep } from '../../common/clock/clock.js'
import { CairnError, isCairnError, toCairnError } from '../../common/errors/cairn-error.js'
import { backoffDelayMs } from '../../common/flow/backoff.js'
import { deferred } from '../../common/flow/deferred.js'
import type { ServerId } from '../../common/ids.js'
import { CAPABILITY_HEADER, chunkPath, REQUEST_ID_HEADER } from '../../common/protocol/chunk-data.js'
import type { ServerAddress } from '../../common/protocol/files.js'
import type { SmallData } from '../../common/protocol/small-chunks.js'
import { readAll } from '../../common/rpc/byte-pipe.js'
import { errorOf } from '../../common/rpc/endpoint-client.js'
import type { Exchange, StreamResponse } from '../../common/rpc/transport.js'
import { SECOND_MS } from '../../common/units.js'
import type { MasterApi } from '../master-api.js'
import { BLOCKS_PER_STREAM, PATIENCE_MS, STALL_TIMEOUT_MS, type TransferContext } from '../options.js'
import type { ChunkLocations, LocatedChunk } from './locations.js'
import { ReplicaSearch } from './replica-search.js'
import { ServerPace } from './server-pace.js'

const BACKOFF = { firstMs: 100, maxMs: 2_000 }
/** Longer than the leaf list of the largest chunk, and than any error. */
const SMALL_ANSWER_BYTES_MAX = 64 * 1024

/** Takes a verified leaf. The block is the taker's, to be released when its bytes are no longer needed. */
export type LeafTaker = (leaf: number, block: Block, lengthBytes: number) => Promise<void>

/** Where the blocks come from that leaves are read into. One caller at a time. */
export interface BlockSupply {
  take(): Promise<Block>
}

export interface FetchServices {
  readonly api: MasterApi
  readonly context: TransferContext
  readonly locations: ChunkLocations
  readonly signal: AbortSignal
  readonly onNotice: (notice: string) => void
}

/** How long a server that failed is asked only when no other has the chunk. */
const AVOID_MS = 30 * SECOND_MS
/** Errors that the server as such is to blame for, so that its other chunks will fare no better. */
const SERVER_FAULTS = ['CONNECTION_FAILED', 'TIMEOUT', 'DISK_FAILED', 'SHUTTING_DOWN', 'STARTING', 'BUSY'] as const

export class ChunkFetcher {
  readonly #services: FetchServices
  /** Until when servers are avoided: one that hangs should cost one stall time, not one for each request. */
  readonly #avoided = new Map<ServerId, number>()
  readonly #pace = new ServerPace()

  constructor(services: FetchServices) {
    this.#services = services
  }

  /** Servers that failed just now come last, slow ones before them. */
  #rankOf(serverId: ServerId): number {
    if ((this.#avoided.get(serverId) ?? -Infinity) > this.#services.context.clock.monotonic()) return 2
    return this.#pace.isSlow(serverId) ? 1 : 0
  }

  /** The leaf sums of a chunk, checked against the manifest. */
  async leafSums(chunk: LocatedChunk): Promise<BigUint64Array> {
    let sums: BigUint64Array | undefined
    await this.#withReplicas(chunk, 0, 0, async (fetch) => {
      sums = await this.#open(fetch, 0, 0).then(({ leafSums }) => leafSums)
      return 0
    })
    return sums as BigUint64Array
  }

  /**
   * Delivers leaves `first` to `end` (exclusive) in order.
   * @param supply blocks for them; without, some of the client's, so that a slow taker holds the server back
   * @throws `DATA_LOST` when a leaf is damaged in every copy, `CHUNK_UNAVAILABLE` when no server that has one answers for long enough
   */
  async fetch(chunk: LocatedChunk, first: number, end: number, take: LeafTaker, supply?: BlockSupply): Promise<void> {
    const { context, signal } = this.#services
    const own = supply === undefined ? await StreamBlocks.open(context.blocks, BLOCKS_PER_STREAM, signal) : undefined
    const blocks: BlockSupply | undefined = supply ?? own
    assert(blocks, 'there are blocks to read into')
    const takes = new TakeQueue(take)
    try {
      const { smallChunks } = context
      await this.#withReplicas(chunk, first, end, (fetch) =>
        smallChunks.takes(chunk.sizeBytes) && end > first
          ? this.#readSmall(fetch, blocks, takes)
          : this.#stream(fetch, end, blocks, takes),
      )
      await takes.drain()
    } finally {
      await takes.settle()
      own?.close()
    }
  }

  /** Calls `attempt` with one replica after another until the leaf to fetch next is `end`. */
  async #withReplicas(
    chunk: LocatedChunk,
    first: number,
    end: number,
    attempt: (fetch: Fetch) => Promise<number>,
  ): Promise<void> {
    const { clock, random } = this.#services.context
    // The locations may have been read anew since the caller got the chunk.
    const latest = (await this.#services.locations.at(chunk.index)) ?? chunk
    const search = new ReplicaSearch(latest, this.#services.context, (serverId) => this.#rankOf(serverId))
    let next = first
    let progressMs = clock.monotonic()
    for (let round = 0; ;) {
      this.#services.signal.throwIfAborted()
      const server = search.choose(next)
      if (server) {
        const fetch: Fetch = { chunk: search.chunk, server, next, patient: !search.hasOther(server, next), givenUp: false }
        try {
          await attempt(fetch)
          return
        } catch (error) {
          if (this.#services.signal.aborted) throw this.#services.signal.reason
          if (error instanceof TakeFailure) throw error.cause
          if (fetch.next > next) progressMs = clock.monotonic()
          next = fetch.next
          if (next >= end && end > first) return
          if (fetch.givenUp) search.tooSlow(server.id)
          else this.#note(search, server, next, toCairnError(error))
        }
        continue
      }
      search.checkLost(next)
      if (clock.monotonic() - progressMs >= PATIENCE_MS) throw search.unavailable()
      await sleep(clock, backoffDelayMs(BACKOFF, round++, random), this.#services.signal)
      search.startOver(await this.#services.locations.refresh(chunk.index))
    }
  }

  #note(search: ReplicaSearch, server: ServerAddress, leaf: number, error: CairnError): void {
    const { api, context, onNotice } = this.#services
    search.failed(server.id, leaf, error)
    if (isCairnError(error, ...SERVER_FAULTS)) this.#avoided.set(server.id, context.clock.monotonic() + AVOID_MS)
    context.log.debug({ chunkId: search.chunk.id, serverId: server.id, leaf, error }, 'a replica failed')
    onNotice(`chunk ${search.chunk.index}: server ${server.id.slice(0, 8)} failed (${error.code}), reading another copy`)
    if (!isCairnError(error, 'CHECKSUM_MISMATCH', 'CHUNK_CORRUPT', 'CHUNK_NOT_FOUND')) return
    // The server looks for itself: our word condemns nothing.
    api
      .call('reportBadReplica', {
        params: { chunkId: search.chunk.id },
        body: { serverId: server.id, code: error.code },
        signal: this.#services.signal,
      })
      .catch(() => undefined)
  }

  /** All of a small chunk, read together with others on the same server. */
  async #readSmall(fetch: Fetch, blocks: BlockSupply, takes: TakeQueue): Promise<number> {
    const { chunk, server } = fetch
    const { sizeBytes, capability = '' } = chunk
    const left = deferred<never>()
    const { smallChunks } = this.#services.context
    const read = (): Promise<SmallData> =>
      Promise.race([
        smallChunks.read(server.url, { chunkId: chunk.id, sizeBytes, capability }, this.#services.signal),
        left.promise,
      ])
    const { data, leafSum } = await this.#timely(fetch, (reason) => left.reject(reason), read)
    const sums = checkedSums(leafSum, chunk, server)
    if (data.length !== sizeBytes || xxh64(data) !== sums[0])
      throw new CairnError('CHECKSUM_MISMATCH', `Leaf 0 arrived damaged from ${server.url}.`)
    const block = await blocks.take()
    block.bytes.set(data)
    takes.add(0, block, sizeBytes)
    fetch.next = 1
    return fetch.next
  }

  /** Streams leaves from one replica from `fetch.next` on, which it moves along. */
  async #stream(fetch: Fetch, end: number, blocks: BlockSupply, takes: TakeQueue): Promise<number> {
    const { leafSums, response, exchange } = await this.#open(fetch, fetch.next, end)
    const { sizeBytes } = fetch.chunk
    try {
      while (fetch.next < end) {
        const block = await blocks.take()
        const length = leafLength(sizeBytes, fetch.next)
        try {
          const sum = new RunningXxh64(block.bytes)
          const target = block.bytes.subarray(0, length)
          const read = (): Promise<number> => response.body.readInto(target, (filled) => sum.advance(filled))
          const count = await this.#timely(fetch, (reason) => exchange.destroy(reason), read)
          sum.advance(count)
          if (count < length) throw new CairnError('CONNECTION_FAILED', `${fetch.server.url} broke off within a leaf.`)
          if (sum.digest() !== leafSums[fetch.next]) {
            throw new CairnError('CHECKSUM_MISMATCH', `Leaf ${fetch.next} arrived damaged from ${fetch.server.url}.`)
          }
        } catch (error) {
          block.release()
          throw error
        }
        takes.add(fetch.next, block, length)
        fetch.next += 1
      }
      return fetch.next
    } catch (error) {
      exchange.destroy(toCairnError(error))
      throw error
    }
  }

  /** Breaks off when a step takes too long and another copy can be asked. @param breakOff makes what the step waits for reject */
  async #timely<T>(fetch: Fetch, breakOff: (reason: CairnError) => void, step: () => Promise<T>): Promise<T> {
    const { clock } = this.#services.context
    const startMs = clock.monotonic()
    const note = (): void => this.#pace.note(fetch.server.id, clock.monotonic() - startMs)
    const giveUp = (): void => {
      fetch.givenUp = true
      note()
      breakOff(new CairnError('TIMEOUT', `${fetch.server.url} takes longer than other copies are likely to.`))
    }
    const timer = fetch.patient ? undefined : clock.setTimer(this.#pace.patienceMs, giveUp)
    try {
      const result = await step()
      note()
      return result
    } finally {
      timer?.cancel()
    }
  }

  async #open(
    fetch: Fetch,
    first: number,
    end: number,
  ): Promise<{ leafSums: BigUint64Array; response: StreamResponse; exchange: Exchange }> {
    const { chunk, server } = fetch
    const from = Math.min(first * LEAF_BYTES, chunk.sizeBytes)
    const to = Math.min(end * LEAF_BYTES, chunk.sizeBytes)
    const exchange = this.#services.context.transport.exchange({
      method: 'GET',
      url: `${server.url}${chunkPath(chunk.id)}?start=${from}&end=${Math.max(from, to)}`,
      headers: { [CAPABILITY_HEADER]: chunk.capability ?? '', [REQUEST_ID_HEADER]: this.#services.context.requestIds() },
      contentLength: 0,
      stallTimeoutMs: STALL_TIMEOUT_MS,
      signal: this.#services.signal,
    })
    try {
      // The server has read the first leaf before it answers.
      const response = await this.#timely(
        fetch,
        (reason) => exchange.destroy(reason),
        () => exchange.response,
      )
      if (response.status >= 400) throw await readError(response, server.url)
      return { leafSums: await this.#readSums(response, chunk, server), response, exchange }
    } catch (error) {
      exchange.destroy(toCairnError(error))
      throw error
    }
  }

  async #readSums(response: StreamResponse, chunk: LocatedChunk, server: ServerAddress): Promise<BigUint64Array> {
    const bytes = new Uint8Array(leafCount(chunk.sizeBytes) * LEAF_SUM_BYTES)
    const count = await response.body.readInto(bytes)
    if (count < bytes.length) throw new CairnError('CONNECTION_FAILED', `${server.url} broke off within the leaf sums.`)
    return checkedSums(bytes, chunk, server)
  }
}

/** @throws `CHECKSUM_MISMATCH` unless they are the leaf sums of the chunk that the manifest names */
function checkedSums(bytes: Uint8Array, chunk: LocatedChunk, server: ServerAddress): BigUint64Array {
  const sums = decodeLeafSums(bytes)
  if (chunkRoot(chunk.sizeBytes, sums) !== chunk.root) {
    throw new CairnError('CHECKSUM_MISMATCH', `The leaf sums from ${server.url} do not match the manifest.`)
  }
  return sums
}

async function readError(response: StreamResponse, url: string): Promise<CairnError> {
  const length = Math.min(response.contentLength, SMALL_ANSWER_BYTES_MAX)
  const text = new TextDecoder().decode(await readAll(response.body, length))
  try {
    return errorOf(JSON.parse(text), response, url)
  } catch {
    return new CairnError('PROTOCOL_ERROR', `${url} answered ${response.status} without saying why.`)
  }
}

interface Fetch {
  readonly chunk: LocatedChunk
  readonly server: ServerAddress
  next: number
  /** There is no other copy to turn to. */
  readonly patient: boolean
  /** It took too long while there is. */
  givenUp: boolean
}

/** What the taker of leaves threw: no replica is to blame for it. */
class TakeFailure extends Error {}

/** Hands leaves to the taker one after another, while the next ones are on their way. */
class TakeQueue {
  readonly #take: LeafTaker
  #tail: Promise<void> = Promise.resolve()
  #failure: TakeFailure | undefined

  constructor(take: LeafTaker) {
    this.#take = take
  }

  add(leaf: number, block: Block, lengthBytes: number): void {
    if (this.#failure) {
      block.release()
      throw this.#failure
    }
    this.#tail = this.#tail.then(async () => {
      if (this.#failure) return block.release()
      await this.#take(leaf, block, lengthBytes).catch((error: unknown) => {
        this.#failure = new TakeFailure('the taker failed', { cause: error })
      })
    })
  }

  async drain(): Promise<void> {
    await this.#tail
    if (this.#failure) throw this.#failure.cause
  }

  async settle(): Promise<void> {
    await this.#tail
  }
}
