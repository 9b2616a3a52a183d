/**
 * One chunkserver that holds nothing: it registers and sends heartbeats by the real protocol, and signs receipts with the
 * key that the master gave it. It sends no digests: the master would find that nothing is there.
 */
import { signReceipt } from '../../common/auth/receipt.js'
import type { Checksum64 } from '../../common/checksum/xxh64.js'
import { newId, type ChunkId, type DiskId, type RequestId, type ServerId, type TaskId } from '../../common/ids.js'
import type { ReceiptJson } from '../../common/protocol/chunk-data.js'
import {
  heartbeat,
  PROTOCOL_VERSION,
  registerServer,
  SEQUENCES_PER_INCARNATION,
  type DiskReport,
  type HeartbeatResult,
  type RegisterResult,
  type TaskResult,
} from '../../common/protocol/cluster.js'
import type { Random } from '../../common/random/random.js'
import { callEndpoint } from '../../common/rpc/endpoint-client.js'
import type { Transport } from '../../common/rpc/transport.js'
import { SECOND_MS, TiB } from '../../common/units.js'

const CALL_TIMEOUT_MS = 30 * SECOND_MS
const CAPACITY_BYTES = 100 * TiB

export interface MasterAccess {
  readonly transport: Transport
  readonly random: Random
  /** May join and report. */
  readonly token: string
}

export interface StoredCopy {
  readonly chunkId: ChunkId
  readonly lengthBytes: number
  readonly root: Checksum64
}

export class SyntheticMember {
  readonly membership: RegisterResult
  readonly #access: MasterAccess
  readonly #disk: DiskReport
  #sequence: number

  private constructor(access: MasterAccess, disk: DiskReport, membership: RegisterResult) {
    this.#access = access
    this.#disk = disk
    this.membership = membership
    this.#sequence = membership.incarnation * SEQUENCES_PER_INCARNATION
  }

  get serverId(): ServerId {
    return this.membership.serverId
  }

  /** Joins as the `index`th, on a host of its own. */
  static async join(access: MasterAccess, master: string, index: number): Promise<SyntheticMember> {
    const { transport, random, token } = access
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
        url: `http://synthetic-${index}:1`,
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
    return new SyntheticMember(access, disk, membership)
  }

  beat(master: string, tasks: readonly TaskId[] = [], results: readonly TaskResult[] = []): Promise<HeartbeatResult> {
    const { transport, random, token } = this.#access
    return callEndpoint(transport, master, heartbeat, {
      params: { serverId: this.serverId },
      body: {
        incarnation: this.membership.incarnation,
        load: { writes: 0, reads: 0 },
        disks: [this.#disk],
        changes: [],
        tasks: [...tasks],
        results: [...results],
        digests: [],
        seen: { epoch: 0, position: 0 },
      },
      requestId: newId<RequestId>(random),
      token,
      timeoutMs: CALL_TIMEOUT_MS,
    })
  }

  /** Its signed word that it holds a copy. */
  receipt(copy: StoredCopy): ReceiptJson {
    this.#sequence += 1
    const { serverId, receiptKey } = this.membership
    return signReceipt(receiptKey, { ...copy, serverId, diskId: this.#disk.diskId, storeSeq: this.#sequence })
  }
}
