/**
 * Chunkservers that hold nothing but act as if: they carry out commands to replicate by waiting as long as a copy would
 * take, and answer with their targets' receipts. On any clock and transport, in virtual time too.
 */
import { sleep, type Clock } from '../../common/clock/clock.js'
import type { ChunkId, ServerId, TaskId } from '../../common/ids.js'
import type { Command, HeartbeatResult, TaskResult } from '../../common/protocol/cluster.js'
import { SyntheticMember, type MasterAccess, type StoredCopy } from './synthetic-member.js'

export interface RepairingServersOptions extends MasterAccess {
  readonly clock: Clock
  readonly count: number
  /** How long a copy takes. */
  readonly copyMs: number
  /** What a chunk is, by its id. */
  readonly chunk: (chunkId: ChunkId) => Omit<StoredCopy, 'chunkId'>
}

interface Server {
  readonly member: SyntheticMember
  readonly tasks: Set<TaskId>
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
    for (let index = 0; index < this.#options.count; index += 1) {
      const member = await SyntheticMember.join(this.#options, this.master, index)
      this.#servers.push({ member, tasks: new Set(), results: [], alive: true, wake: () => undefined })
    }
  }

  /** Begins to send heartbeats, evenly spread over the interval. */
  start(): void {
    const { clock } = this.#options
    this.#loops = this.#servers.map(async (server, index) => {
      const { heartbeatIntervalMs } = server.member.membership.settings
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
    return { serverId: server.member.serverId, lastMs: this.#options.clock.monotonic() }
  }

  /** @throws what made a heartbeat fail: the server may count as silent by now */
  check(): void {
    if (this.#failure) throw this.#failure as Error
  }

  async #beat(server: Server): Promise<void> {
    const results = server.results.splice(0)
    const startedMs = performance.now()
    const answer = await server.member.beat(this.master, [...server.tasks], results)
    this.beatsMs.push(performance.now() - startedMs)
    this.copies += results.length
    this.lastAnswer = answer
    for (const command of answer.commands) {
      if (command.kind !== 'replicate') continue
      this.firstCommandMs ??= this.#options.clock.monotonic()
      void this.#replicate(server, command)
    }
  }

  async #replicate(server: Server, command: Extract<Command, { kind: 'replicate' }>): Promise<void> {
    const { clock, copyMs, chunk } = this.#options
    const { taskId, chunkId } = command
    server.tasks.add(taskId)
    await sleep(clock, copyMs)
    const target = this.#servers.find(({ member }) => member.serverId === command.target.serverId) as Server
    const receipt = target.member.receipt({ chunkId, ...chunk(chunkId) })
    server.tasks.delete(taskId)
    server.results.push({ kind: 'replicated', taskId, receipt })
    // As a chunkserver does: a result is told at once, and the answer brings the next command.
    server.wake()
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
