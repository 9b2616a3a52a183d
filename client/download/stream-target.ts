/**
 * Downloading as a stream: bytes in order, while those that follow are already being fetched.
 *
 * A chunk is fetched in windows of a few leaves, each into blocks that are at hand before it is asked for. So a reader
 * that is slow, or has stopped, holds back only itself: no chunkserver waits for it, since every request is read to its
 * end at once, and of the client's memory it has one block for certain and a few more while there are some to spare.
 */
import type { Block } from '../../common/bytes/block-pool.js'
import { StreamBlocks } from '../../common/bytes/stream-blocks.js'
import { LEAF_BYTES } from '../../common/checksum/tree.js'
import { deferred, observed, type Deferred } from '../../common/flow/deferred.js'
import type { ChunkTask, DownloadRun } from './download.js'

/** Leaves per request: enough that asking costs little beside what is answered. */
const WINDOW_LEAVES = 4
/** Windows fetched at once for a stream. The one being read needs a successor, and that one a moment to get going. */
const WINDOWS_MAX = 3
/** This part of the blocks is left for those streams that have none but their own, and for those yet to come. */
const RESERVED_SHARE = 1 / 2

interface Piece {
  readonly bytes: Uint8Array
  release(): void
}

/**
 * The bytes of the run's range. Each piece is valid until the next one is asked for.
 * Leaving the loop early ends the download.
 */
export async function* streamDownload(run: DownloadRun): AsyncGenerator<Uint8Array> {
  const most = Math.min(run.concurrency, WINDOWS_MAX)
  const pool = run.context.blocks
  const blocks = await StreamBlocks.open(pool, most * WINDOW_LEAVES, run.signal, Math.floor(pool.capacity * RESERVED_SHARE))
  const windows = new Windows(run, blocks)
  const ahead: WindowPieces[] = []
  try {
    for (;;) {
      while (ahead.length < most) {
        const next = await windows.next()
        if (!next) break
        ahead.push(next)
      }
      const current = ahead[0]
      if (!current) return
      for (let piece = await current.next(); piece; piece = await current.next()) {
        try {
          run.progress(piece.bytes.length)
          yield piece.bytes
        } finally {
          piece.release()
        }
      }
      ahead.shift()
    }
  } finally {
    for (const pieces of ahead) await pieces.cancel()
    blocks.close()
  }
}

/** Cuts the run's tasks into windows, as far as there are blocks for them. */
class Windows {
  readonly #run: DownloadRun
  readonly #tasks: AsyncGenerator<ChunkTask>
  readonly #blocks: StreamBlocks
  #task: ChunkTask | undefined
  #leaf = 0

  constructor(run: DownloadRun, blocks: StreamBlocks) {
    this.#run = run
    this.#tasks = run.tasks()
    this.#blocks = blocks
  }

  /** Starts fetching the next window. Undefined at the end, or when the windows under way have all the blocks. */
  async next(): Promise<WindowPieces | undefined> {
    if (!this.#task || this.#leaf >= this.#task.endLeaf) {
      const next = await this.#tasks.next()
      if (next.done) return undefined
      this.#task = next.value
      this.#leaf = next.value.firstLeaf
    }
    const blocks: Block[] = []
    while (blocks.length < Math.min(WINDOW_LEAVES, this.#task.endLeaf - this.#leaf)) {
      const block = this.#blocks.tryTake()
      if (!block) break
      blocks.push(block)
    }
    if (blocks.length === 0) return undefined
    const firstLeaf = this.#leaf
    this.#leaf += blocks.length
    return new WindowPieces(this.#run, { ...this.#task, firstLeaf, endLeaf: this.#leaf }, blocks)
  }
}

/** The pieces of one window, fetched ahead of their reader. */
class WindowPieces {
  readonly #run: DownloadRun
  readonly #task: ChunkTask
  /** One per leaf that has not arrived. */
  readonly #blocks: Block[]
  readonly #queue: Piece[] = []
  readonly #fetching: Promise<void>
  #wanted: Deferred<void> | undefined
  #ended = false
  #cancelled = false

  constructor(run: DownloadRun, task: ChunkTask, blocks: Block[]) {
    this.#run = run
    this.#task = task
    this.#blocks = blocks
    this.#fetching = observed(this.#fetch())
  }

  async #fetch(): Promise<void> {
    const { chunk, firstLeaf, endLeaf } = this.#task
    try {
      await this.#run.fetcher.fetch(chunk, firstLeaf, endLeaf, (leaf, block, length) => this.#take(leaf, block, length), {
        take: () => Promise.resolve(this.#lend()),
      })
    } finally {
      for (const block of this.#blocks.splice(0)) block.release()
      this.#ended = true
      this.#wanted?.resolve()
    }
  }

  /** A block to read a leaf into. It comes back here while the window is being fetched, in case a leaf must be read again. */
  #lend(): Block {
    const block = this.#blocks.pop() as Block
    return { bytes: block.bytes, release: () => (this.#ended ? block.release() : void this.#blocks.push(block)) }
  }

  async next(): Promise<Piece | undefined> {
    while (this.#queue.length === 0 && !this.#ended) {
      this.#wanted = deferred()
      await this.#wanted.promise
    }
    const piece = this.#queue.shift()
    if (!piece) await this.#fetching
    return piece
  }

  async cancel(): Promise<void> {
    this.#cancelled = true
    for (const piece of this.#queue.splice(0)) piece.release()
    await this.#fetching.catch(() => undefined)
    for (const piece of this.#queue.splice(0)) piece.release()
  }

  async #take(leaf: number, block: Block, lengthBytes: number): Promise<void> {
    const { start, end } = this.#run.range
    const from = this.#task.chunk.offset + leaf * LEAF_BYTES
    const bytes = block.bytes.subarray(Math.max(0, start - from), Math.min(lengthBytes, end - from))
    if (this.#cancelled) {
      block.release()
      throw new Error('the reader has left')
    }
    this.#queue.push({ bytes, release: () => block.release() })
    this.#wanted?.resolve()
  }
}
