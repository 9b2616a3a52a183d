/**
 * Chunkservers that hold nothing: they register and send heartbeats by the real protocol, and sign receipts with the
 * keys that the master gave them, so that metadata for any amount of data can be made without the data.
 */
import { signReceipt } from '../../common/auth/receipt.js'
import { toCairnError } from '../../common/errors/cairn-error.js'
import type { Checksum64 } from '../../common/checksum/xxh64.js'
import { newId, type ChunkId, type DiskId, type RequestId, type ServerId } from '../../common/ids.js'
import {
  heartbeat,
  PROTOCOL_VERSION,
  registerServer,
  type DiskReport,
  type RegisterResult,
} from '../../common/protocol/cluster.js'
import type { ReceiptJson } from '../../common/protocol/chunk-data.js'
import type { Random } from '../../common/random/random.js'
import { callEndpoint } from '../../common/rpc/endpoint-client.js'
import type { Transport } from '../../common/rpc/transport.js'
import { SECOND_MS, TiB } from '../../common/units.js'

const CALL_TIMEOUT_MS = 10 * SECOND_MS
/** As a real chunkserver numbers its changes: the first ones of its first incarnation. */
const SEQUENCES_PER_INCARNATION = 2 ** 32
const CAPACITY_BYTES = 100 * TiB

export interface SyntheticServersOptions {
  readonly transport: Transport
  readonly random: Random
  readonly master: string
  /** May join and report. */
  readonly token: string
  readonly count: number
}

interface SyntheticServer {
  readonly membership: RegisterResult
  readonly disk: DiskReport
  sequence: number
}

export interface StoredCopy {
  readonly chunkId: ChunkId
  readonly lengthBytes: number
  readonly root: Checksum64
}

export class SyntheticServers implements Disposable {
  readonly #options: SyntheticServersOptions
  readonly #servers = new Map<ServerId, SyntheticServer>()
  readonly #timer: NodeJS.Timeout
  #failure: Error | undefined

  private constructor(options: SyntheticServersOptions, servers: readonly SyntheticServer[]) {
    this.#options = options
    for (const server of servers) this.#servers.set(server.membership.serverId, server)
    const { heartbeatIntervalMs } = (servers[0] as SyntheticServer).membership.settings
    this.#timer = setInterval(() => {
      this.beat().catch((error: unknown) => (this.#failure = toCairnError(error)))
    }, heartbeatIntervalMs)
  }

  /** Registers them, each on a host of its own, and sends their first heartbeats. */
  static async start(options: SyntheticServersOptions): Promise<SyntheticServers> {
    const servers: SyntheticServer[] = []
    for (let index = 0; index < options.count; index += 1) servers.push(await register(options, index))
    const all = new SyntheticServers(options, servers)
    await all.beat()
    return all
  }

  async beat(): Promise<void> {
    for (const { membership, disk } of this.#servers.values()) {
      await callEndpoint(this.#options.transport, this.#options.master, heartbeat, {
        params: { serverId: membership.serverId },
        body: {
          incarnation: membership.incarnation,
          load: { writes: 0, reads: 0 },
          disks: [disk],
          changes: [],
          tasks: [],
          results: [],
          // No digests: the master would find that nothing is here.
          digests: [],
          seen: { epoch: 0, position: 0 },
        },
        requestId: newId<RequestId>(this.#options.random),
        token: this.#options.token,
        timeoutMs: CALL_TIMEOUT_MS,
      })
    }
  }

  /** A server's signed word that it holds a copy. @throws what made a heartbeat fail, since the server may count as silent by now */
  receipt(serverId: ServerId, copy: StoredCopy): ReceiptJson {
    if (this.#failure) throw this.#failure
    const server = this.#servers.get(serverId)
    if (!server) throw new Error(`the master chose server ${serverId}, which is none of these`)
    server.sequence += 1
    return signReceipt(server.membership.receiptKey, { ...copy, serverId, diskId: server.disk.diskId, storeSeq: server.sequence })
  }

  [Symbol.dispose](): void {
    clearInterval(this.#timer)
  }
}

async function register({ transport, random, master, token }: SyntheticServersOptions, index: number): Promise<SyntheticServer> {
  const disk: DiskReport = {
    diskId: newId<DiskId>(random),
    path: `/synthetic/${index}`,
    state: 'ok',
    totalBytes: CAPACITY_BYTES,
    freeBytes: CAPACITY_BYTES,
    usedBytes: 0,
    chunkCount: 0,
  }
  const membership = await callEndpoint(transport, master, registerServer, {
    params: {},
    body: {
      protocolVersion: PROTOCOL_VERSION,
      serverId: null,
      clusterId: null,
      instanceId: `synthetic-${index}`,
      url: `http://127.0.0.1:${index + 1}`,
      zone: '',
      rack: '',
      host: `synthetic-${index}`,
      disks: [disk],
      seen: { epoch: 0, position: 0 },
    },
    requestId: newId<RequestId>(random),
    token,
    timeoutMs: CALL_TIMEOUT_MS,
  })
  return { membership, disk, sequence: membership.incarnation * SEQUENCES_PER_INCARNATION }
}
