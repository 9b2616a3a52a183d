/** Which replica of a chunk to ask next, given what has failed where, and who is slow. */
import { LEAF_BYTES } from '../../common/checksum/tree.js'
import { CairnError, isCairnError } from '../../common/errors/cairn-error.js'
import type { ServerId } from '../../common/ids.js'
import type { ServerAddress } from '../../common/protocol/files.js'
import { shuffled } from '../../common/random/random.js'
import type { TransferContext } from '../options.js'
import type { LocatedChunk } from './locations.js'

/** What is known of servers beyond this chunk. The lower rank is asked first. */
export type RankOf = (serverId: ServerId) => number

export class ReplicaSearch {
  chunk: LocatedChunk
  readonly #context: TransferContext
  #order: ServerAddress[]
  /** Servers that failed as such, in this round. */
  readonly #down = new Set<ServerId>()
  /** Leaves found damaged, by server. They stay so. */
  readonly #damaged = new Map<ServerId, Set<number>>()
  readonly #rankOf: RankOf
  /** Servers that were given up for being slow, with this chunk: asked when no other is left. */
  readonly #slow = new Set<ServerId>()
  #lastError: CairnError | undefined

  constructor(chunk: LocatedChunk, context: TransferContext, rankOf: RankOf) {
    this.chunk = chunk
    this.#context = context
    this.#rankOf = rankOf
    this.#order = this.#ordered()
  }

  /** The nearest, then least loaded of the good copies, those on servers that failed just now or are slow last; after them whatever else may still hold one. */
  #ordered(): ServerAddress[] {
    const { zone, random } = this.#context
    const known = (ids: readonly ServerId[]): ServerAddress[] =>
      ids.map((id) => this.chunk.servers.get(id)).filter((server) => server !== undefined)
    const rank = (server: ServerAddress): number => this.#rankOf(server.id)
    const distance = (server: ServerAddress): number => (zone !== undefined && server.zone === zone ? 0 : 1)
    const good = shuffled(random, known(this.chunk.replicas)).sort(
      (one, other) => rank(one) - rank(other) || distance(one) - distance(other) || one.load - other.load,
    )
    return [...good, ...known(this.chunk.fallbacks)]
  }

  choose(leaf: number): ServerAddress | undefined {
    return this.#candidates(leaf).find((server) => !this.#slow.has(server.id)) ?? this.#candidates(leaf)[0]
  }

  /** Whether another good copy is left to turn to that has not been slow yet. */
  hasOther(server: ServerAddress, leaf: number): boolean {
    const others = this.#candidates(leaf).filter((other) => other !== server && !this.#slow.has(other.id))
    return others.some((other) => this.chunk.replicas.includes(other.id))
  }

  /** It takes too long; there is another. */
  tooSlow(serverId: ServerId): void {
    this.#slow.add(serverId)
  }

  #candidates(leaf: number): ServerAddress[] {
    return this.#order.filter((server) => !this.#down.has(server.id) && !this.#damaged.get(server.id)?.has(leaf))
  }

  failed(serverId: ServerId, leaf: number, error: CairnError): void {
    this.#lastError = error
    if (isCairnError(error, 'CHUNK_CORRUPT', 'CHECKSUM_MISMATCH')) {
      const leaves = this.#damaged.get(serverId) ?? new Set()
      this.#damaged.set(serverId, leaves.add(leaf))
    } else {
      this.#down.add(serverId)
    }
  }

  /** @throws `DATA_LOST` when every copy there is has this leaf damaged */
  checkLost(leaf: number): void {
    if (this.#order.length === 0 || !this.#order.every((server) => this.#damaged.get(server.id)?.has(leaf))) return
    throw new CairnError(
      'DATA_LOST',
      `Leaf ${leaf} (offset ${this.chunk.offset + leaf * LEAF_BYTES}) of chunk ${this.chunk.id} is damaged in all ${this.#order.length} copies. Other ranges of the file can still be read.`,
      {
        data: { chunkId: this.chunk.id, chunkIndex: this.chunk.index, leaf },
      },
    )
  }

  unavailable(): CairnError {
    const why = this.#lastError ? ` (last: ${this.#lastError.message})` : ''
    return new CairnError(
      'CHUNK_UNAVAILABLE',
      `No server with a copy of chunk ${this.chunk.index} (${this.chunk.id}) answers${why}. Start the servers that hold it: cairn chunk locate ${this.chunk.id}`,
      {
        data: { chunkId: this.chunk.id, chunkIndex: this.chunk.index },
      },
    )
  }

  /** A new round: servers that were down may be up again. */
  startOver(chunk: LocatedChunk | undefined): void {
    if (chunk) this.chunk = chunk
    this.#down.clear()
    this.#slow.clear()
    this.#order = this.#ordered()
  }
}
