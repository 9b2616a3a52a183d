/**
 * Sends one chunk until enough servers hold it: along a chain; past a hop that failed with what is left of the chain;
 * and when that is too little, to further servers that the master names. The id stays, since the bytes do.
 */
import { encodeLeafSums, chunkRoot, leafCount } from '../../common/checksum/tree.js'
import { xxh64, type Checksum64 } from '../../common/checksum/xxh64.js'
import { StreamBlocks } from '../../common/bytes/stream-blocks.js'
import type { Block } from '../../common/bytes/block-pool.js'
import { sleep } from '../../common/clock/clock.js'
import { CairnError, isCairnError, toCairnError } from '../../common/errors/cairn-error.js'
import { isErrorCode } from '../../common/errors/error-codes.js'
import { backoffDelayMs } from '../../common/flow/backoff.js'
import type { ServerId } from '../../common/ids.js'
import {
  CAPABILITY_HEADER,
  CHAIN_HEADER,
  chunkPath,
  formatChain,
  HOP_HEADER,
  HOP_TIMEOUT_HEADER,
  putBodyLength,
  putResult,
  REQUEST_ID_HEADER,
  type Hop,
  type HopFailure,
  type PutResult,
  type ReceiptJson,
} from '../../common/protocol/chunk-data.js'
import type { AllocatedChunk } from '../../common/protocol/uploads.js'
import { readAll } from '../../common/rpc/byte-pipe.js'
import { errorOf } from '../../common/rpc/endpoint-client.js'
import type { Exchange } from '../../common/rpc/transport.js'
import { KiB } from '../../common/units.js'
import { BLOCKS_PER_STREAM, PATIENCE_MS, STALL_TIMEOUT_MS, type TransferContext } from '../options.js'
import type { StoredChunkReport, UploadSession } from './session.js'
import type { ChunkPayload } from './source.js'

const BACKOFF = { firstMs: 100, maxMs: 2_000 }
/** A smaller body costs less than the round trip that asks whether to send it. */
const GO_AHEAD_BYTES_MIN = 256 * KiB
/** Errors of the source or of the session: no other server will do better. */
const HOPELESS = [
  'SOURCE_CHANGED',
  'LOCAL_FILE_NOT_FOUND',
  'LOCAL_IO_ERROR',
  'UPLOAD_SUPERSEDED',
  'UPLOAD_CLOSED',
  'UPLOAD_NOT_FOUND',
  'UNAUTHENTICATED',
  'FORBIDDEN',
  'MASTER_UNREACHABLE',
  'ABORTED',
  'INVALID_ARGUMENT',
] as const

export interface SentChunk {
  readonly index: number
  readonly offset: number
  readonly lengthBytes: number
  readonly root: Checksum64
}

export interface SendHooks {
  readonly onBytes: (bytes: number) => void
  /** What went wrong and what is done about it, in words. */
  readonly onNotice: (notice: string) => void
}

export class ChunkSender {
  readonly #context: TransferContext
  readonly #session: UploadSession
  readonly #signal: AbortSignal
  readonly #hooks: SendHooks

  constructor(context: TransferContext, session: UploadSession, signal: AbortSignal, hooks: SendHooks) {
    this.#context = context
    this.#session = session
    this.#signal = signal
    this.#hooks = hooks
  }

  /**
   * Resolves once the chunk is in the draft manifest. @throws the last error when patience is at its end
   * @param enter tells the master of the stored chunk; when it counts too few live copies the chunk is sent again
   */
  async send(
    payload: ChunkPayload,
    enter: (report: StoredChunkReport) => Promise<void> = (report) => this.#session.report(report),
  ): Promise<SentChunk> {
    const { clock, random } = this.#context
    const delivery = new Delivery(payload)
    let progressMs = clock.monotonic()
    for (let attempt = 0; ; attempt += 1) {
      const before = delivery.receipts.size
      try {
        return await this.#attempt(payload, delivery, enter)
      } catch (error) {
        if (this.#signal.aborted) throw this.#signal.reason
        if (isCairnError(error, ...HOPELESS)) throw error
        if (delivery.receipts.size > before) progressMs = clock.monotonic()
        if (clock.monotonic() - progressMs >= PATIENCE_MS) throw error
        this.#hooks.onNotice(`chunk ${payload.index}: ${toCairnError(error).message} Trying again.`)
        delivery.reconsider(error)
        await sleep(clock, backoffDelayMs(BACKOFF, attempt, random), this.#signal)
      }
    }
  }

  async #attempt(
    payload: ChunkPayload,
    delivery: Delivery,
    enter: (report: StoredChunkReport) => Promise<void>,
  ): Promise<SentChunk> {
    const { index, offset, lengthBytes } = payload
    await this.#deliver(payload, delivery)
    const { allocation, root } = delivery
    if (!allocation || root === undefined) throw new CairnError('INTERNAL', 'a delivered chunk has a root')
    const receipts = [...delivery.receipts.values()]
    await enter({ index, offset, lengthBytes, root, chunkId: allocation.chunkId, receipts })
    return { index, offset, lengthBytes, root }
  }

  /** Gets receipts from at least minReplicas servers. @throws the last failure when new targets have failed like those before */
  async #deliver(payload: ChunkPayload, delivery: Delivery): Promise<void> {
    const { minReplicas } = this.#session.info
    let receiptsAtRenewal: number | undefined
    let last: HopFailure | undefined
    while (delivery.receipts.size < minReplicas) {
      const { allocation } = delivery
      const chain = await this.#nextChain(payload, delivery)
      if (allocation !== undefined && delivery.allocation !== allocation) {
        // Whom the master names next may well be the same servers again: who takes them on does so after a while.
        if (last && receiptsAtRenewal === delivery.receipts.size) throw failureError(last)
        receiptsAtRenewal = delivery.receipts.size
      }
      last = undefined
      const isSmall = this.#context.smallChunks.takes(payload.lengthBytes)
      const result = await (isSmall ? this.#sendToEach(chain, payload, delivery) : this.#sendAlong(chain, payload, delivery))
      for (const receipt of result.receipts) delivery.accept(receipt)
      for (const failure of result.failures) {
        last = failure
        delivery.exclude(failure.serverId)
        this.#session.avoid(failure.serverId)
        this.#hooks.onNotice(
          `chunk ${payload.index}: server ${failure.serverId.slice(0, 8)} failed (${failure.code}), going on without it`,
        )
      }
      // Hops behind a failed one never got the chunk; they stay candidates.
      if (result.receipts.length + result.failures.length === 0)
        throw new CairnError('PROTOCOL_ERROR', 'A chunkserver answered without receipts.')
    }
  }

  /** What is left of the targets at hand, or new ones from the master. */
  async #nextChain(payload: ChunkPayload, delivery: Delivery): Promise<Hop[]> {
    const left = delivery.candidates()
    const needed = this.#session.info.minReplicas - delivery.receipts.size
    if (delivery.allocation && left.length >= needed) return left
    const wish = { index: payload.index, lengthBytes: payload.lengthBytes }
    const known = delivery.allocation
    delivery.renew(
      known
        ? await this.#session.allocateMore(wish, known.chunkId, [...delivery.receipts.keys()])
        : await this.#session.allocate(wish),
    )
    const fresh = delivery.candidates()
    if (fresh.length === 0) throw new CairnError('NOT_ENOUGH_SERVERS', 'No further chunkserver can take the chunk.')
    return fresh
  }

  /** To all servers at once, with other small chunks that go there. A chain would cost each of them more than the bytes do. */
  async #sendToEach(targets: readonly Hop[], payload: ChunkPayload, delivery: Delivery): Promise<PutResult> {
    const { chunkId } = delivery
    const { lengthBytes } = payload
    const data = await this.#smallBytes(payload)
    const sums = BigUint64Array.of(xxh64(data))
    delivery.settleRoot(chunkRoot(lengthBytes, sums))
    const capability = delivery.allocation?.capability ?? ''
    const put = { chunkId, lengthBytes, capability, data, leafSum: encodeLeafSums(sums) }
    const { smallChunks } = this.#context
    const outcomes = await Promise.allSettled(targets.map(({ url }) => smallChunks.put(url, put, this.#signal)))
    this.#signal.throwIfAborted()
    const receipts = outcomes.flatMap((outcome) => (outcome.status === 'fulfilled' ? [outcome.value] : []))
    const failures: HopFailure[] = []
    for (const [index, outcome] of outcomes.entries()) {
      if (outcome.status === 'fulfilled') continue
      const error = toCairnError(outcome.reason)
      if (error.code === 'CHUNK_EXISTS') throw delivery.changed()
      // No server's fault, and no copy came of it: others would say the same.
      const isServersFault: boolean = isHeadFault(error)
      if (receipts.length === 0 && !isServersFault) throw error
      failures.push({ serverId: (targets[index] as Hop).serverId, code: error.code, message: error.message })
    }
    this.#hooks.onBytes(lengthBytes)
    return { receipts, failures }
  }

  async #smallBytes(payload: ChunkPayload): Promise<Uint8Array> {
    if (payload.heldLeaf) return payload.heldLeaf(0)
    const block = await this.#context.blocks.acquire(this.#signal)
    try {
      return (await payload.readLeaf(0, block)).slice()
    } finally {
      block.release()
    }
  }

  async #sendAlong(chain: readonly Hop[], payload: ChunkPayload, delivery: Delivery): Promise<PutResult> {
    const [head, ...rest] = chain as [Hop, ...Hop[]]
    const exchange = this.#context.transport.exchange({
      method: 'PUT',
      url: head.url + chunkPath(delivery.chunkId),
      headers: {
        [CAPABILITY_HEADER]: delivery.allocation?.capability ?? '',
        [CHAIN_HEADER]: formatChain(rest),
        [HOP_HEADER]: '0',
        [HOP_TIMEOUT_HEADER]: String(STALL_TIMEOUT_MS),
        [REQUEST_ID_HEADER]: this.#context.requestIds(),
      },
      contentLength: putBodyLength(payload.lengthBytes),
      expectContinue: payload.lengthBytes >= GO_AHEAD_BYTES_MIN,
      stallTimeoutMs: STALL_TIMEOUT_MS,
      signal: this.#signal,
    })
    let counted = 0
    const count = (bytes: number): void => {
      counted += bytes
      this.#hooks.onBytes(bytes)
    }
    try {
      await this.#sendBody(exchange, payload, delivery, count)
      return await this.#readResult(exchange, head)
    } catch (error) {
      this.#hooks.onBytes(-counted)
      exchange.destroy(toCairnError(error))
      const fault: unknown = this.#signal.aborted ? this.#signal.reason : error
      if (isCairnError(fault, 'CHUNK_EXISTS')) throw delivery.changed()
      if (isHeadFault(fault))
        return { receipts: [], failures: [{ serverId: head.serverId, code: fault.code, message: fault.message }] }
      throw fault
    }
  }

  async #sendBody(exchange: Exchange, payload: ChunkPayload, delivery: Delivery, count: (bytes: number) => void): Promise<void> {
    await exchange.ready
    const sums = new BigUint64Array(leafCount(payload.lengthBytes))
    const send = async (leaf: number, bytes: Uint8Array): Promise<void> => {
      sums[leaf] = xxh64(bytes)
      await exchange.write(bytes)
      count(bytes.length)
    }
    if (payload.heldLeaf) {
      for (let leaf = 0; leaf < sums.length && !exchange.answered; leaf += 1) await send(leaf, payload.heldLeaf(leaf))
    } else {
      await this.#sendReading(exchange, payload, sums.length, send)
    }
    if (exchange.answered) return
    delivery.settleRoot(chunkRoot(payload.lengthBytes, sums))
    await exchange.write(encodeLeafSums(sums))
  }

  /** Reads ahead of what is being sent, as far as there are blocks. */
  async #sendReading(
    exchange: Exchange,
    payload: ChunkPayload,
    leaves: number,
    send: (leaf: number, bytes: Uint8Array) => Promise<void>,
  ): Promise<void> {
    const blocks = await StreamBlocks.open(this.#context.blocks, BLOCKS_PER_STREAM, this.#signal)
    const reading: Promise<{ block: Block; bytes: Uint8Array }>[] = []
    let next = 0
    const readAhead = (): void => {
      while (next < leaves) {
        const block = blocks.tryTake()
        if (!block) return
        reading.push(readLeaf(payload, next, block))
        next += 1
      }
    }
    try {
      for (let leaf = 0; leaf < leaves && !exchange.answered; leaf += 1) {
        readAhead()
        const { block, bytes } = await (reading.shift() as Promise<{ block: Block; bytes: Uint8Array }>)
        try {
          await send(leaf, bytes)
        } finally {
          block.release()
        }
      }
    } finally {
      for (const late of await Promise.allSettled(reading)) if (late.status === 'fulfilled') late.value.block.release()
      blocks.close()
    }
  }

  async #readResult(exchange: Exchange, head: Hop): Promise<PutResult> {
    const response = await exchange.response
    const text = new TextDecoder().decode(await readAll(response.body, response.contentLength))
    const json = text === '' ? undefined : (JSON.parse(text) as unknown)
    if (response.status >= 400) throw errorOf(json, response, head.url)
    const parsed = putResult.safeParse(json)
    if (!parsed.success) throw new CairnError('PROTOCOL_ERROR', `${head.url} answered a PUT in a shape unknown here.`)
    return parsed.data
  }
}

async function readLeaf(payload: ChunkPayload, leaf: number, block: Block): Promise<{ block: Block; bytes: Uint8Array }> {
  try {
    return { block, bytes: await payload.readLeaf(leaf, block) }
  } catch (error) {
    block.release()
    throw error
  }
}

const failureError = ({ code, message }: HopFailure): CairnError => new CairnError(isErrorCode(code) ? code : 'INTERNAL', message)

/** The first hop itself is to blame, and another may take its place. */
function isHeadFault(error: unknown): error is CairnError {
  return isCairnError(
    error,
    'CONNECTION_FAILED',
    'TIMEOUT',
    'DISK_FULL',
    'DISK_FAILED',
    'DISK_HANGS',
    'FENCED',
    'SHUTTING_DOWN',
    'STARTING',
    'INCARNATION_CHANGED',
    'INTERNAL',
    'PROTOCOL_ERROR',
  )
}

/** How far a chunk's delivery has come. */
class Delivery {
  readonly receipts = new Map<ServerId, ReceiptJson>()
  allocation: AllocatedChunk | undefined
  root: Checksum64 | undefined
  readonly #payload: ChunkPayload
  #excluded = new Set<ServerId>()

  constructor(payload: ChunkPayload) {
    this.#payload = payload
  }

  get chunkId(): AllocatedChunk['chunkId'] {
    if (!this.allocation) throw new CairnError('INTERNAL', 'a chunk is allocated before it is sent')
    return this.allocation.chunkId
  }

  renew(allocation: AllocatedChunk): void {
    this.allocation = allocation
    this.#excluded = new Set(this.receipts.keys())
  }

  candidates(): Hop[] {
    return (this.allocation?.targets ?? []).filter(({ serverId }) => !this.#excluded.has(serverId))
  }

  exclude(serverId: ServerId): void {
    this.#excluded.add(serverId)
  }

  accept(receipt: ReceiptJson): void {
    if (receipt.root !== this.root) throw this.changed()
    this.receipts.set(receipt.serverId, receipt)
    this.#excluded.add(receipt.serverId)
  }

  /** The bytes must be the same each time they are read: the id stands for them. */
  settleRoot(root: Checksum64): void {
    if (this.root !== undefined && this.root !== root) throw this.changed()
    this.root = root
  }

  /** After a failure that was no single server's fault: what is doubtful is dropped. */
  reconsider(error: unknown): void {
    // The master counts fewer live copies than there are receipts: servers have died since.
    if (isCairnError(error, 'NOT_ENOUGH_REPLICAS')) this.receipts.clear()
    this.allocation = this.allocation && { ...this.allocation, targets: [] }
  }

  changed(): CairnError {
    return new CairnError(
      'SOURCE_CHANGED',
      `Chunk ${this.#payload.index} of the source was different when it was read again. Run the command again when nothing writes to it.`,
    )
  }
}
