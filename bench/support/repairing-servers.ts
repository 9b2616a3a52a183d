/**
 * Chunkservers that hold nothing but act as if: they join and send heartbeats by the real protocol, carry out commands to
 * replicate by waiting as long as a copy would take, and answer with their targets' receipts. On any clock and transport,
 * in virtual time too. They send no digests: the master would find that nothing is here.
 */
import { signReceipt } from '../../common/auth/receipt.js'
import { sleep, type Clock } from '../../common/clock/clock.js'
import type { Checksum64 } from '../../common/checksum/xxh64.js'
import { newId, type ChunkId, type DiskId, type RequestId, type ServerId, type TaskId } from '../../common/ids.js'
import {
  heartbeat,
  PROTOCOL_VERSION,
  registerServer,
  SEQUENCES_PER_INCARNATION,
  type Command,
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

export interface RepairingServersOptions {
  readonly transport: Transport
  readonly clock: Clock
  readonly random: Random
  readonly token: string
  readonly count: number
  /** How long a copy takes. */
  readonly copyMs: number
  /** What a chunk is, by its id. */
  readonly chunk: (chunkId: ChunkId) => { readonly lengthBytes: number; readonly root: Checksum64 }
}

interface Server {
  readonly membership: RegisterResult
  readonly disk: DiskReport
  readonly tasks: Set<TaskId>
  sequence: number
  results: TaskResult[]
  alive: boolean
  /** Ends the wait for the next heartbeat. */
  wake: () => void
}

export class RepairingServers implements AsyncDisposable {
  /** Where the master is. It may move. */
  master = ''
  readonly beatsMs: number[] = []
  /** When the first command to replicate came, by the clock. */
  firstCommandMs: number | undefined
  copies = 0
  lastAnswer: HeartbeatResult | undefined
  readonly #options: RepairingServersOptions
  readonly #servers: Server[] = []
  #loops: Promise<void>[] = []
  #failure: unknown

  constructor(options: RepairingServersOptions) {
    this.#options = options
  }

  /** Joins them all to the master, each on a host of its own. */
  async join(): Promise<void> {
    for (let index = 0; index < this.#options.count; index += 1) this.#servers.push(await this.#register(index))
  }

  /** Begins to send heartbeats, evenly spread over the interval. */
  start(): void {
    const { clock } = this.#options
    this.#loops = this.#servers.map(async (server, index) => {
      const { heartbeatIntervalMs } = server.membership.settings
      await pause(clock, server, (index * heartbeatIntervalMs) / this.#servers.length)
      while (server.alive) {
        await this.#beat(server).catch((error: unknown) => (this.#failure ??= server.alive ? error : undefined))
        if (server.results.length === 0) await pause(clock, server, heartbeatIntervalMs)
      }
    })
  }

  /** It is never heard of again. @returns its id, and when it was last heard */
  kill(index: number): { readonly serverId: ServerId; readonly lastMs: number } {
    const server = this.#servers[index] as Server
    end(server)
    return { serverId: server.membership.serverId, lastMs: this.#options.clock.monotonic() }
  }

  /** @throws what made a heartbeat fail: the server may count as silent by now */
  check(): void {
    if (this.#failure) throw this.#failure as Error
  }

  async #beat(server: Server): Promise<void> {
    const { clock, random, transport, token } = this.#options
    const { serverId, incarnation } = server.membership
    const results = server.results.splice(0)
    const startedMs = performance.now()
    const answer = await callEndpoint(transport, this.master, heartbeat, {
      params: { serverId },
      body: {
        incarnation,
        load: { writes: 0, reads: 0 },
        disks: [server.disk],
        changes: [],
        tasks: [...server.tasks],
        results,
        digests: [],
        seen: { epoch: 0, position: 0 },
      },
      requestId: newId<RequestId>(random),
      token,
      timeoutMs: CALL_TIMEOUT_MS,
    })
    this.beatsMs.push(performance.now() - startedMs)
    this.copies += results.length
    this.lastAnswer = answer
    for (const command of answer.commands) {
      if (command.kind !== 'replicate') continue
      this.firstCommandMs ??= clock.monotonic()
      void this.#replicate(server, command)
    }
  }

  async #replicate(server: Server, command: Extract<Command, { kind: 'replicate' }>): Promise<void> {
    const { clock, copyMs, chunk } = this.#options
    const { taskId, chunkId } = command
    server.tasks.add(taskId)
    await sleep(clock, copyMs)
    const target = this.#servers.find(({ membership }) => membership.serverId === command.target.serverId) as Server
    target.sequence += 1
    const { serverId, receiptKey } = target.membership
    const { diskId } = target.disk
    const receipt = signReceipt(receiptKey, { chunkId, ...chunk(chunkId), serverId, diskId, storeSeq: target.sequence })
    server.tasks.delete(taskId)
    server.results.push({ kind: 'replicated', taskId, receipt })
    // As a chunkserver does: a result is told at once, and the answer brings the next command.
    server.wake()
  }

  async #register(index: number): Promise<Server> {
    const { transport, random, token } = this.#options
    const disk: DiskReport = {
      diskId: newId<DiskId>(random),
      path: `/synthetic/${index}`,
      state: 'ok',
      totalBytes: CAPACITY_BYTES,
      freeBytes: CAPACITY_BYTES,
      usedBytes: 0,
      chunkCount: 0,
    }
    const membership = await callEndpoint(transport, this.master, registerServer, {
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
    const sequence = membership.incarnation * SEQUENCES_PER_INCARNATION
    return { membership, disk, sequence, tasks: new Set(), results: [], alive: true, wake: () => undefined }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const server of this.#servers) end(server)
    await Promise.all(this.#loops)
  }
}

function end(server: Server): void {
  server.alive = false
  server.wake()
}

/** Waits until it is time, or the server is woken. */
function pause(clock: Clock, server: Server, delayMs: number): Promise<void> {
  return new Promise((resolve) => {
    const timer = clock.setTimer(delayMs, resolve)
    server.wake = () => {
      timer.cancel()
      resolve()
    }
  })
}
