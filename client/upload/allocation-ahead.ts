/** New chunks are allocated a batch at a time: one request and one synced transaction for many. */
import type { AllocatedChunk } from '../../common/protocol/uploads.js'

export interface ChunkWish {
  readonly index: number
  readonly lengthBytes: number
}

/** Enough that the request's cost vanishes, few enough that their targets are not stale when their turn comes. */
const BATCH = 16

export class AllocationAhead {
  readonly #allocate: (wishes: ChunkWish[]) => Promise<AllocatedChunk[]>
  /** The chunks that will follow the given one, as far as they are known. */
  readonly #upcoming: (after: ChunkWish, count: number) => ChunkWish[]
  readonly #held = new Map<number, Promise<AllocatedChunk>>()

  /** @param held allocations that are there already */
  constructor(
    allocate: (wishes: ChunkWish[]) => Promise<AllocatedChunk[]>,
    upcoming: (after: ChunkWish, count: number) => ChunkWish[],
    held: readonly AllocatedChunk[] = [],
  ) {
    this.#allocate = allocate
    this.#upcoming = upcoming
    for (const chunk of held) this.#held.set(chunk.index, Promise.resolve(chunk))
  }

  /** The allocation of a chunk, made with those that follow it unless an earlier one has brought it. */
  async take(wish: ChunkWish): Promise<AllocatedChunk> {
    const held = this.#held.get(wish.index)
    this.#held.delete(wish.index)
    if (held) return held
    const wishes = [wish, ...this.#upcoming(wish, BATCH - 1).filter((next) => !this.#held.has(next.index))]
    const batch = this.#allocate(wishes)
    for (const { index } of wishes.slice(1)) {
      const one = batch.then((chunks) => find(chunks, index))
      // Whoever comes for it sees the failure; if nobody does, it was not needed.
      one.catch(() => this.#held.get(index) === one && this.#held.delete(index))
      this.#held.set(index, one)
    }
    return find(await batch, wish.index)
  }

  /** Servers have failed: what was allocated before may name them. */
  forget(): void {
    this.#held.clear()
  }
}

function find(chunks: readonly AllocatedChunk[], index: number): AllocatedChunk {
  const chunk = chunks.find((one) => one.index === index)
  if (!chunk) throw new Error(`the master did not allocate chunk ${index}`)
  return chunk
}
