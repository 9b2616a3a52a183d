/** A metadata store with four chunkservers, and short ways to fill it: what the suites for every implementation share. */
import { signReceipt } from '../../common/auth/receipt.js'
import { fileChecksum } from '../../common/checksum/tree.js'
import { checksumToHex, type Checksum64 } from '../../common/checksum/xxh64.js'
import { newId, type ChunkId, type DiskId } from '../../common/ids.js'
import { NO_PRECONDITION } from '../../common/protocol/precondition.js'
import { SeededRandom } from '../../common/random/seeded-random.js'
import { MiB } from '../../common/units.js'
import type { BucketPolicy } from '../../common/protocol/buckets.js'
import type { DiskReport } from '../../common/protocol/cluster.js'
import type { MetadataStore } from '../../master/store/metadata-store.js'
import type { ServerRecord } from '../../master/store/operations/servers.js'

export interface StoreUnderTest {
  readonly store: MetadataStore
  /** Moves the store's clock on, if the implementation can. */
  readonly advance?: (ms: number) => void
  readonly close: () => Promise<void>
}

export type TestServer = ServerRecord & { diskId: DiskId }

export const DEFAULTS = { replicas: 3, minReplicas: 2, chunkSizeBytes: 64 * MiB, trashDays: 3 }
export const random = new SeededRandom(7)
export const chunkId = (): ChunkId => newId<ChunkId>(random)
export const root = (n: number): Checksum64 => checksumToHex(BigInt(n))

const SERVERS = 4

/** What opens an upload of a stream that nobody takes up. */
export const newUpload = (path: string, bucketDefaults: BucketPolicy = DEFAULTS) => ({
  path,
  sizeBytes: null,
  fingerprint: null,
  chunkSizeBytes: undefined,
  replicas: undefined,
  precondition: NO_PRECONDITION,
  owner: 'test',
  adoption: { kind: 'none' } as const,
  bucketDefaults,
})

export class StoreFixture {
  readonly under: StoreUnderTest
  readonly store: MetadataStore
  readonly servers: TestServer[] = []
  sequence = 100

  private constructor(under: StoreUnderTest) {
    this.under = under
    this.store = under.store
  }

  static async open(open: () => Promise<StoreUnderTest>): Promise<StoreFixture> {
    const fixture = new StoreFixture(await open())
    await fixture.store.ensureCluster({})
    for (let index = 0; index < SERVERS; index += 1) fixture.servers.push(await fixture.addServer(index))
    return fixture
  }

  async addServer(index: number, changes: { zone?: string; disk?: Partial<DiskReport> } = {}): Promise<TestServer> {
    const diskId = newId<DiskId>(random)
    const record = await this.store.registerServer({
      serverId: null,
      freshId: newId<ChunkId>(random),
      freshReceiptKey: { keyId: `k${index}`, secret: 'ab'.repeat(32) },
      instanceId: `i${index}`,
      url: `http://cs:${index}`,
      zone: changes.zone ?? 'z',
      rack: 'r',
      host: 'h',
      disks: [
        { diskId, path: `/d${index}`, state: 'ok', totalBytes: 1, freeBytes: 1, usedBytes: 0, chunkCount: 0, ...changes.disk },
      ],
      seen: { epoch: 0, position: 0 },
    })
    return { ...record, diskId }
  }

  openUpload(path: string, changes: Record<string, unknown> = {}) {
    return this.store.openUpload({ ...newUpload(path), ...changes })
  }

  receiptOf(server: TestServer, id: ChunkId, lengthBytes: number, chunkRoot: Checksum64, storeSeq = this.sequence++) {
    return {
      serverNo: server.serverNo,
      receipt: signReceipt(server.receiptKey, {
        chunkId: id,
        serverId: server.serverId,
        diskId: server.diskId,
        lengthBytes,
        root: chunkRoot,
        storeSeq,
      }),
    }
  }

  /** Uploads a file of chunks of the given lengths; copies on the first `copies` servers. */
  async upload(path: string, lengths: readonly number[], copies = 3) {
    const session = await this.openUpload(path)
    const { uploadId, writerEpoch } = session
    const chunks = lengths.map((lengthBytes, index) => ({ index, lengthBytes, chunkId: chunkId(), root: root(index + 1) }))
    if (chunks.length > 0) {
      await this.store.allocateChunks({
        uploadId,
        writerEpoch,
        chunks: chunks.map((chunk) => ({ ...chunk, isNew: true, targets: [] })),
      })
      let offset = 0
      await this.store.reportChunks({
        uploadId,
        writerEpoch,
        chunks: chunks.map((chunk) => {
          const at = offset
          offset += chunk.lengthBytes
          return {
            ...chunk,
            offset: at,
            receipts: this.servers
              .slice(0, copies)
              .map((server) => this.receiptOf(server, chunk.chunkId, chunk.lengthBytes, chunk.root)),
          }
        }),
      })
    }
    const sizeBytes = lengths.reduce((sum, length) => sum + length, 0)
    const file = await this.store.commitUpload({
      uploadId,
      writerEpoch,
      sizeBytes,
      chunkCount: chunks.length,
      checksum: fileChecksum(chunks),
    })
    return { file, chunks, session }
  }
}
