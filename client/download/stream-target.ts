/**
 * Downloading as a stream: bytes in order, while the next chunks are already being fetched. What is fetched ahead is
 * bounded by the blocks that each chunk's stream may hold, so a slow reader slows the servers down, not the memory up.
 */
import type { Block } from '../../common/bytes/block-pool.js'
import { LEAF_BYTES } from '../../common/checksum/tree.js'
import { deferred, observed, type Deferred } from '../../common/flow/deferred.js'
import type { ChunkTask, DownloadRun } from './download.js'

/** Chunks fetched at once for a stream. The one being read needs a successor, and that one a moment to get going. */
const STREAM_CONCURRENCY_MAX = 3

interface Piece {
  readonly bytes: Uint8Array
  release(): void
}

/**
 * The bytes of the run's range. Each piece is valid until the next one is asked for.
 * Leaving the loop early ends the download.
 */
export async function* streamDownload(run: DownloadRun): AsyncGenerator<Uint8Array> {
  const tasks = run.tasks()
  const ahead: ChunkPieces[] = []
  const most = Math.min(run.concurrency, STREAM_CONCURRENCY_MAX)
  try {
    for (;;) {
      while (ahead.length < most) {
        const next = await tasks.next()
        if (next.done) break
        ahead.push(new ChunkPieces(run, next.value))
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
  }
}

/** The pieces of one chunk, fetched ahead of their reader. */
class ChunkPieces {
  readonly #run: DownloadRun
  readonly #task: ChunkTask
  readonly #queue: Piece[] = []
  readonly #fetching: Promise<void>
  #wanted: Deferred<void> | undefined
  #ended = false
  #cancelled = false

  constructor(run: DownloadRun, task: ChunkTask) {
    this.#run = run
    this.#task = task
    this.#fetching = observed(
      run.fetcher
        .fetch(task.chunk, task.firstLeaf, task.endLeaf, (leaf, block, length) => this.#take(leaf, block, length))
        .finally(() => {
          this.#ended = true
          this.#wanted?.resolve()
        }),
    )
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

  /** The fetcher's blocks come back only as the reader gets on: that is what holds it back. */
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
