/** A simulated cluster with one file in it, and short ways to see and change what becomes of its chunks. */
import { expect } from '@jest/globals'
import { sealCapability } from '../../common/auth/capability.js'
import {
  CAPABILITY_HEADER,
  CHAIN_HEADER,
  chunkPath,
  formatChain,
  putResult,
  type PutResult,
  type ReceiptJson,
} from '../../common/protocol/chunk-data.js'
import { chunkRoot, encodeLeafSums, fileChecksum, LEAF_BYTES, leafCount } from '../../common/checksum/tree.js'
import { xxh64, type Checksum64 } from '../../common/checksum/xxh64.js'
import type { ChunkId, ServerId, UploadId } from '../../common/ids.js'
import type { AllocatedChunk } from '../../common/protocol/uploads.js'
import { SeededRandom } from '../../common/random/seeded-random.js'
import type { Transport } from '../../common/rpc/transport.js'
import type { Fate } from '../../common/rpc/memory-network.js'
import { DAY_MS, KiB } from '../../common/units.js'
import { SimCluster, type SimOptions, type SimServer } from '../support/sim-cluster.js'

export const DATA = new SeededRandom(77).bytes(100 * KiB)

export async function* pieces(data: Uint8Array): AsyncGenerator<Uint8Array> {
  yield data
}

export const lost: Fate = { kind: 'lost' }
export const delivered: Fate = { kind: 'delivered', delayMs: 0 }

export class OneFile implements AsyncDisposable {
  readonly cluster: SimCluster
  readonly path: string
  chunkId!: ChunkId

  private constructor(cluster: SimCluster, path: string) {
    this.cluster = cluster
    this.path = path
  }

  /** A cluster with a file of one chunk in three copies. */
  static async start(options: SimOptions, path = '/b/file'): Promise<OneFile> {
    const cluster = await SimCluster.start(options)
    const file = new OneFile(cluster, path)
    await cluster.run(cluster.client.uploadStream(pieces(DATA), path))
    const [chunk] = await file.chunks()
    file.chunkId = chunk as ChunkId
    return file
  }

  async chunks(path = this.path): Promise<ChunkId[]> {
    const { manifestId } = await this.cluster.run(this.cluster.client.stat(path))
    return (await this.cluster.store.listManifestChunks({ manifestId, from: 0, limit: 100 })).map(({ id }) => id)
  }

  /** Indices of servers on whose disks the chunk's file lies in service. */
  holders(chunkId = this.chunkId): number[] {
    return this.cluster.servers.flatMap((server, index) => (server.running?.store.find(chunkId) ? [index] : []))
  }

  serverNo(index: number): number {
    return this.cluster.master.cluster.recordOf(this.serverId(index))?.serverNo as number
  }

  serverId(index: number): ServerId {
    return (this.server(index).running?.serverId ?? '') as ServerId
  }

  server(index: number): SimServer {
    return this.cluster.servers[index] as SimServer
  }

  /** How the metadata has the chunk's copies: states by server number. */
  async states(chunkId = this.chunkId): Promise<Map<number, number>> {
    const chunk = await this.cluster.store.getChunk({ chunkId })
    return new Map((chunk?.replicas ?? []).map(({ serverNo, state }) => [serverNo, state]))
  }

  async expectWhole(path = this.path, data = DATA): Promise<void> {
    expect(xxh64(await this.cluster.read(path))).toBe(xxh64(data))
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.cluster[Symbol.asyncDispose]()
  }
}

/** An upload of one chunk, taken apart into its steps, as a client would do them one after the other. */
export class SteppedUpload {
  readonly cluster: SimCluster
  readonly data: Uint8Array
  readonly session: { readonly uploadId: UploadId; readonly writerEpoch: number }
  readonly chunk: AllocatedChunk
  readonly root: Checksum64
  receipts: ReceiptJson[] = []

  private constructor(
    cluster: SimCluster,
    data: Uint8Array,
    session: SteppedUpload['session'],
    chunk: AllocatedChunk,
    root: Checksum64,
  ) {
    this.cluster = cluster
    this.data = data
    this.session = session
    this.chunk = chunk
    this.root = root
  }

  /** Opens the session and has the chunk allocated. */
  static async open(cluster: SimCluster, path: string, data = DATA): Promise<SteppedUpload> {
    const { api } = cluster.client
    const open = { path, sizeBytes: null, fingerprint: null, owner: 'test', adoption: { kind: 'none' } } as const
    const session = await cluster.run(api.call('openUpload', { body: open }))
    const allocated = api.call('allocateChunks', {
      params: { uploadId: session.uploadId },
      body: { writerEpoch: session.writerEpoch, chunks: [{ index: 0, lengthBytes: data.length }], avoid: [] },
    })
    const [chunk] = (await cluster.run(allocated)).chunks
    return new SteppedUpload(cluster, data, session, chunk as AllocatedChunk, chunkRoot(data.length, leafSumsOf(data)))
  }

  /** Sends the chunk along its chain, or to some of its targets. Again and again, if need be: the capability stays. */
  async put(targets = this.chunk.targets): Promise<PutResult> {
    const result = await putChunk(this.cluster, this.chunk, targets, this.data)
    this.receipts = [...this.receipts, ...result.receipts]
    return result
  }

  report(receipts = this.receipts): Promise<unknown> {
    const { chunkId, index } = this.chunk
    const chunk = { index, chunkId, offset: 0, lengthBytes: this.data.length, root: this.root, receipts }
    return this.cluster.run(
      this.cluster.client.api.call('reportChunks', {
        params: { uploadId: this.session.uploadId },
        body: { writerEpoch: this.session.writerEpoch, chunks: [chunk] },
      }),
    )
  }

  commit() {
    const checksum = fileChecksum([{ lengthBytes: this.data.length, root: this.root }])
    return this.cluster.run(
      this.cluster.client.api.call('commitUpload', {
        params: { uploadId: this.session.uploadId },
        body: { writerEpoch: this.session.writerEpoch, sizeBytes: this.data.length, chunkCount: 1, checksum },
      }),
    )
  }
}

export function leafSumsOf(data: Uint8Array): BigUint64Array {
  const sums = new BigUint64Array(leafCount(data.length))
  for (let leaf = 0; leaf < sums.length; leaf += 1) sums[leaf] = xxh64(data.subarray(leaf * LEAF_BYTES, (leaf + 1) * LEAF_BYTES))
  return sums
}

/** One PUT of a chunk along a chain of servers. @throws an error whose message is the code of the one that the first answers */
export function putChunk(
  cluster: SimCluster,
  chunk: Pick<AllocatedChunk, 'chunkId' | 'capability'>,
  [head, ...rest]: AllocatedChunk['targets'],
  data: Uint8Array,
): Promise<PutResult> {
  return cluster.run(sendChunk(cluster.network.transport('client'), chunk, [head?.url ?? '', formatChain(rest)], data))
}

/** The same by address: of the first server, and the chain behind it as its header has it. */
export async function sendChunk(
  transport: Transport,
  { chunkId, capability }: Pick<AllocatedChunk, 'chunkId' | 'capability'>,
  [url, chain = '']: readonly [string, string?],
  data: Uint8Array,
): Promise<PutResult> {
  const sums = encodeLeafSums(leafSumsOf(data))
  const body = new Uint8Array(data.length + sums.length)
  body.set(data)
  body.set(sums, data.length)
  const response = await transport.call({
    method: 'PUT',
    url: url + chunkPath(chunkId),
    headers: { [CAPABILITY_HEADER]: capability, ...(chain === '' ? {} : { [CHAIN_HEADER]: chain }) },
    body,
    timeoutMs: 60_000,
  })
  const json = JSON.parse(new TextDecoder().decode(response.body)) as { error?: { code: string } }
  if (json.error) throw new Error(json.error.code)
  return putResult.parse(json)
}

/** Has a server without a copy of the chunk take one, by a capability of its own; the master is not told. */
export async function extraCopy(file: OneFile, upload: SteppedUpload): Promise<{ serverNo: number; receipt: ReceiptJson }> {
  const { cluster } = file
  const { chunkId, index: chunkIndex } = upload.chunk
  const states = await file.states(chunkId)
  const view = cluster.master.cluster.views.all().find(({ record }) => !states.has(record.serverNo))
  const [key] = cluster.master.context.capabilityKeys
  if (!view || !key) throw new Error('every server has a copy')
  const { serverId, incarnation, url, zone, serverNo } = view.record
  const capability = sealCapability(key, {
    kind: 'write',
    chunkId,
    uploadId: upload.session.uploadId,
    chunkIndex,
    lengthBytes: upload.data.length,
    targets: [[serverId, incarnation]],
    metadataEpoch: 1,
    expiresMs: cluster.store.now() + DAY_MS,
  })
  const { receipts } = await putChunk(cluster, { chunkId, capability }, [{ serverId, url, zone }], upload.data)
  return { serverNo, receipt: receipts[0] as ReceiptJson }
}
