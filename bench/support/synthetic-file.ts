/** Files that consist of metadata alone: uploads with chunks that nobody holds, through a master's real API. */
import { chunkRoot, fileChecksum, leafCount } from '../../common/checksum/tree.js'
import type { Checksum64 } from '../../common/checksum/xxh64.js'
import { newId, type ChunkId, type ManifestId, type RequestId, type ServerId, type UploadId } from '../../common/ids.js'
import type { Endpoint } from '../../common/protocol/endpoint.js'
import { endpoints, type EndpointTypes } from '../../common/protocol/index.js'
import { SeededRandom } from '../../common/random/seeded-random.js'
import { SystemRandom } from '../../common/random/system-random.js'
import { callEndpoint } from '../../common/rpc/endpoint-client.js'
import type { Transport } from '../../common/rpc/transport.js'
import { MiB, SECOND_MS } from '../../common/units.js'
import type { SyntheticServers } from './synthetic-servers.js'

export const CHUNK_BYTES = 64 * MiB
const CALL_TIMEOUT_MS = 60 * SECOND_MS
/** As many as the client allocates at once. */
const ALLOCATION_BATCH = 16

interface Chunk {
  readonly index: number
  readonly chunkId: ChunkId
  readonly offset: number
  readonly lengthBytes: number
  readonly root: Checksum64
}

/** How long the requests of one upload took. */
export interface Timing {
  openMs: number
  readonly allocationsMs: number[]
  readonly reportsMs: number[]
  commitMs: number
}

/** Calls a master, as a client does. */
export class Master {
  readonly #transport: Transport
  readonly #url: string
  readonly #token: string
  readonly #random = new SystemRandom()

  constructor(transport: Transport, { url, token }: { url: string; token: string }) {
    this.#transport = transport
    this.#url = url
    this.#token = token
  }

  call<E extends Endpoint>(
    endpoint: E,
    input: {
      params: EndpointTypes<E>['params']
      query?: Partial<EndpointTypes<E>['query']>
      body?: EndpointTypes<E>['body']
    },
  ): Promise<EndpointTypes<E>['result']> {
    return callEndpoint(this.#transport, this.#url, endpoint, {
      ...(input as { params: unknown; query?: Partial<unknown>; body?: unknown }),
      requestId: newId<RequestId>(this.#random),
      token: this.#token,
      timeoutMs: CALL_TIMEOUT_MS,
    }) as Promise<EndpointTypes<E>['result']>
  }
}

/** One file that consists of metadata alone. */
export class SyntheticFile {
  readonly #master: Master
  readonly #servers: SyntheticServers
  readonly #random: SeededRandom
  #chunks: Chunk[] = []
  #checksum = ''
  #manifestId: ManifestId | undefined

  constructor(master: Master, servers: SyntheticServers, seed: number) {
    this.#master = master
    this.#servers = servers
    this.#random = new SeededRandom(seed)
  }

  /** Goes through a whole upload, one request after the other, and times each. */
  async upload(filePath: string, bytes: number, batch: number): Promise<Timing> {
    const timing: Timing = { openMs: 0, allocationsMs: [], reportsMs: [], commitMs: 0 }
    const opening = { path: filePath, sizeBytes: bytes, fingerprint: null, owner: 'bench', adoption: { kind: 'none' } as const }
    const [session, openMs] = await timed(() => this.#master.call(endpoints.openUpload, { params: {}, body: opening }))
    timing.openMs = openMs
    const { uploadId, writerEpoch } = session
    const placed = await this.#allocate({ uploadId }, writerEpoch, bytes, timing)
    const reports = placed.map(({ chunk, targets }) => ({
      ...chunk,
      receipts: targets.map((serverId) => this.#servers.receipt(serverId, copyOf(chunk))),
    }))
    for (const chunks of inBatches(reports, batch)) {
      const body = { writerEpoch, chunks }
      timing.reportsMs.push((await timed(() => this.#master.call(endpoints.reportChunks, { params: { uploadId }, body })))[1])
    }
    this.#chunks = placed.map(({ chunk }) => chunk)
    this.#checksum = fileChecksum(this.#chunks)
    const body = { writerEpoch, sizeBytes: bytes, chunkCount: this.#chunks.length, checksum: this.#checksum }
    const [file, commitMs] = await timed(() => this.#master.call(endpoints.commitUpload, { params: { uploadId }, body }))
    timing.commitMs = commitMs
    this.#manifestId = file.manifestId
    return timing
  }

  async #allocate(params: { uploadId: UploadId }, writerEpoch: number, bytes: number, timing: Timing) {
    const count = Math.ceil(bytes / CHUNK_BYTES)
    const wishes = Array.from({ length: count }, (_, index) => ({
      index,
      lengthBytes: Math.min(CHUNK_BYTES, bytes - index * CHUNK_BYTES),
    }))
    const placed: { chunk: Chunk; targets: ServerId[] }[] = []
    for (const chunks of inBatches(wishes, ALLOCATION_BATCH)) {
      const body = { writerEpoch, chunks, avoid: [] }
      const [answer, tookMs] = await timed(() => this.#master.call(endpoints.allocateChunks, { params, body }))
      timing.allocationsMs.push(tookMs)
      for (const { index, chunkId, targets } of answer.chunks) {
        const lengthBytes = (wishes[index] as { lengthBytes: number }).lengthBytes
        const chunk = {
          index,
          chunkId: chunkId,
          offset: index * CHUNK_BYTES,
          lengthBytes,
          root: this.#root(lengthBytes),
        }
        placed.push({ chunk, targets: targets.map((target) => target.serverId) })
      }
    }
    return placed
  }

  /** The root that a chunk with these (made up) leaf sums would have. */
  #root(lengthBytes: number): Checksum64 {
    const bytes = this.#random.bytes(leafCount(lengthBytes) * 8)
    return chunkRoot(lengthBytes, new BigUint64Array(bytes.buffer))
  }

  /** Reads the manifest as a reader does. @returns the file's checksum @throws when it is not what was committed, with three copies of each chunk */
  async readBack(): Promise<string> {
    const expected = this.#chunks.map(({ index, chunkId, root }) => `${index} ${chunkId} ${root} 3`)
    const found: string[] = []
    for (let from: number | null = 0; from !== null;) {
      const params = { manifestId: this.#manifestId as ManifestId }
      const page: EndpointTypes<typeof endpoints.listManifestChunks>['result'] = await this.#master.call(
        endpoints.listManifestChunks,
        { params, query: { from } },
      )
      for (const { index, id, root, replicas } of page.chunks) found.push(`${index} ${id} ${root} ${replicas.length}`)
      from = page.next
    }
    if (found.join() !== expected.join()) throw new Error('the manifest is not what was committed')
    return this.#checksum
  }
}

const copyOf = ({ chunkId, lengthBytes, root }: Chunk) => ({ chunkId, lengthBytes, root })

function* inBatches<T>(values: readonly T[], size: number): Generator<T[]> {
  for (let at = 0; at < values.length; at += size) yield values.slice(at, at + size)
}

async function timed<T>(work: () => Promise<T>): Promise<[T, number]> {
  const startedMs = performance.now()
  const result = await work()
  return [result, performance.now() - startedMs]
}
