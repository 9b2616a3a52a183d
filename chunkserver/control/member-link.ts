/**
 * The tie to the master: registration, heartbeats, commands, reports. One heartbeat at a time; an early one when there
 * are results to tell, so that repair does not wait for the next beat.
 */
import type { SigningKey } from '../../common/auth/signing.js'
import { checksumToHex } from '../../common/checksum/xxh64.js'
import { CairnError, isCairnError, toCairnError } from '../../common/errors/cairn-error.js'
import { backoffDelayMs } from '../../common/flow/backoff.js'
import { Periodic } from '../../common/flow/periodic.js'
import { sleep } from '../../common/clock/clock.js'
import { bytesToHex, newId, type ClusterId, type RequestId, type ServerId, type TaskId } from '../../common/ids.js'
import {
  CHANGES_PER_HEARTBEAT_MAX,
  heartbeat,
  isLater,
  PROTOCOL_VERSION,
  registerServer,
  reportShard,
  SEQUENCES_PER_INCARNATION,
  SHARD_COUNT,
  type ClusterSettings,
  type Command,
  type HeartbeatResult,
  type MetadataPosition,
  type ShardDigest,
  type TaskResult,
} from '../../common/protocol/cluster.js'
import { callEndpoint } from '../../common/rpc/endpoint-client.js'
import type { ResultOf } from '../../common/protocol/endpoint.js'
import { SECOND_MS } from '../../common/units.js'
import type { Clock } from '../../common/clock/clock.js'
import type { Logger } from '../../common/observe/logger.js'
import type { Random } from '../../common/random/random.js'
import type { Transport } from '../../common/rpc/transport.js'
import type { ServerIdentity } from '../store/disk-identity.js'
import type { ChunkStore } from '../store/chunk-store.js'
import type { Membership, MembershipSource } from '../server-context.js'

export interface Placement {
  readonly url: string
  readonly zone: string
  readonly rack: string
  readonly host: string
}

export interface MemberLinkOptions {
  readonly clock: Clock
  readonly random: Random
  readonly log: Logger
  readonly transport: Transport
  readonly store: ChunkStore
  /** Addresses of masters; the first that answers is used until it fails. */
  readonly masters: readonly string[]
  readonly token: string | undefined
  readonly placement: Placement
  readonly identity: ServerIdentity
  readonly seen: MetadataPosition
  readonly load: () => { readonly writes: number; readonly reads: number }
  /** Tasks begun and not ended. */
  readonly tasks: () => TaskId[]
  /** Told once the master has given us an identity, before anything is served under it. */
  readonly onIdentity: (identity: { readonly serverId: ServerId; readonly clusterId: ClusterId }) => Promise<void>
  /** @param toldSequence the last change that the master had been told of when it gave the command */
  readonly onCommand: (command: Command, toldSequence: number) => void
  readonly onSeen: (seen: MetadataPosition) => void
}

const CALL_TIMEOUT_MS = 10 * SECOND_MS
const RETRY = { firstMs: 50, maxMs: 2_000 }
/** A whole cluster starts at once, and its master is ready last: so many tries follow one another closely. */
const EAGER_TRIES = 20
const EAGER_RETRY = { firstMs: 50, maxMs: 100 }
/** Results waiting to be told; beyond this the oldest are dropped, and the master plans their tasks anew. */
const RESULTS_MAX = 1000
const FATAL = ['WRONG_CLUSTER', 'SERVER_ID_CONFLICT', 'SERVER_REMOVED', 'UNAUTHENTICATED', 'FORBIDDEN', 'PROTOCOL_ERROR'] as const

const allShards = (): readonly number[] => Array.from({ length: SHARD_COUNT }, (_, shard) => shard)

export class MemberLink implements MembershipSource {
  readonly #options: MemberLinkOptions
  readonly #instanceId: string
  readonly #beats: Periodic
  #membership: Membership | undefined
  #identity: ServerIdentity
  #settings: ClusterSettings = {
    heartbeatIntervalMs: SECOND_MS,
    deadAfterMs: 60 * SECOND_MS,
    repair: { speed: 'balanced', bytesPerSecondMax: null },
  }
  #seen: MetadataPosition
  #master = 0
  #contactMs = -Infinity
  #masterTime = { wallMs: 0, atMs: 0 }
  #results: TaskResult[] = []
  #shardsToTell: readonly number[] = []
  #nextShard = 0

  constructor(options: MemberLinkOptions) {
    this.#options = options
    this.#instanceId = bytesToHex(options.random.bytes(8))
    this.#identity = options.identity
    this.#seen = options.seen
    this.#beats = new Periodic({
      clock: options.clock,
      intervalMs: () => this.#settings.heartbeatIntervalMs,
      run: (signal) => this.#beat(signal),
      onError: (error) => options.log.warn({ error }, 'heartbeat failed'),
    })
  }

  /** Registers, trying until a master answers. @throws what no retry can mend: wrong cluster, copied id, bad token */
  async start(signal?: AbortSignal): Promise<void> {
    for (let attempt = 0; ; attempt += 1) {
      try {
        await this.#register(signal)
        break
      } catch (error) {
        if (isCairnError(error, ...FATAL)) throw error
        this.#options.log.warn({ error, master: this.#masterUrl() }, 'cannot register with the master yet')
        this.#master += 1
        const retry = attempt < EAGER_TRIES ? EAGER_RETRY : RETRY
        await sleep(this.#options.clock, backoffDelayMs(retry, attempt, this.#options.random), signal)
      }
    }
    await this.#beat(signal)
    this.#beats.start({ immediately: false })
  }

  async stop(): Promise<void> {
    await this.#beats.stop()
  }

  membership(): Membership {
    if (!this.#membership) throw new CairnError('STARTING', 'The chunkserver has not registered with a master yet.')
    return this.#membership
  }

  masterNowMs(): number {
    return this.#masterTime.wallMs + (this.#options.clock.monotonic() - this.#masterTime.atMs)
  }

  checkFence(): void {
    const silentMs = this.#options.clock.monotonic() - this.#contactMs
    if (silentMs <= this.#settings.deadAfterMs / 2) return
    throw new CairnError(
      'FENCED',
      `This chunkserver has not reached a master for ${Math.round(silentMs / 1000)} s and takes no writes. Others do.`,
    )
  }

  /** What the master has said about repair. */
  get repairSettings(): ClusterSettings['repair'] {
    return this.#settings.repair
  }

  get registered(): boolean {
    return this.#membership !== undefined
  }

  /** Tells the master what became of a task, with the next heartbeat, which is sent at once. */
  report(result: TaskResult): void {
    this.#results.push(result)
    if (this.#results.length > RESULTS_MAX) this.#results = this.#results.slice(-RESULTS_MAX)
    this.#beats.poke()
  }

  /** Much has changed that no journal tells of: the next heartbeat compares everything. */
  tellAll(): void {
    this.#shardsToTell = allShards()
    this.#beats.poke()
  }

  /** Something has changed that the master should hear of soon. */
  poke(): void {
    this.#beats.poke()
  }

  #masterUrl(): string {
    const { masters } = this.#options
    return masters[this.#master % masters.length] as string
  }

  async #register(signal: AbortSignal | undefined): Promise<void> {
    const { transport, token, placement, store, random } = this.#options
    const sentMs = this.#options.clock.monotonic()
    const result = await callEndpoint(transport, this.#masterUrl(), registerServer, {
      params: {},
      body: {
        protocolVersion: PROTOCOL_VERSION,
        ...this.#identity,
        instanceId: this.#instanceId,
        ...placement,
        disks: store.disks(),
        seen: this.#seen,
      },
      requestId: newId<RequestId>(random),
      token,
      timeoutMs: CALL_TIMEOUT_MS,
      signal,
    })
    await this.#join(result, sentMs)
  }

  async #join(result: ResultOf<typeof registerServer>, sentMs: number): Promise<void> {
    const { serverId, clusterId, incarnation, receiptKey, capabilityKeys } = result
    await this.#options.onIdentity({ serverId, clusterId })
    this.#identity = { serverId, clusterId }
    if (this.#membership?.incarnation !== incarnation) {
      this.#options.store.startSequence(Math.max(this.#options.store.sequence, incarnation * SEQUENCES_PER_INCARNATION))
    }
    this.#membership = { serverId, incarnation, receiptKey, capabilityKeys }
    this.#shardsToTell = allShards()
    this.#heard(result, capabilityKeys, sentMs)
    this.#options.log.info({ serverId, clusterId, incarnation }, 'registered with the master')
  }

  /** The fence counts from when the request was sent: the master may have decided the moment after it answered. */
  #heard(
    answer: Pick<HeartbeatResult, 'masterTimeMs' | 'metadata' | 'settings'>,
    capabilityKeys: readonly SigningKey[],
    sentMs: number,
  ): void {
    this.#contactMs = sentMs
    this.#masterTime = { wallMs: answer.masterTimeMs, atMs: this.#options.clock.monotonic() }
    this.#settings = answer.settings
    if (this.#membership) this.#membership = { ...this.#membership, capabilityKeys }
    if (isLater(answer.metadata, this.#seen)) {
      this.#seen = answer.metadata
      this.#options.onSeen(this.#seen)
    }
  }

  async #beat(signal: AbortSignal | undefined): Promise<void> {
    try {
      await this.#sendBeat(signal)
    } catch (error) {
      if (isCairnError(error, 'SERVER_UNREGISTERED')) return this.#register(signal)
      this.#master += 1
      throw error
    }
  }

  async #sendBeat(signal: AbortSignal | undefined): Promise<void> {
    const { store, transport, token, random, load, tasks, clock } = this.#options
    const { serverId, incarnation } = this.membership()
    const changes = store.pendingChanges(CHANGES_PER_HEARTBEAT_MAX)
    const toldSequence = changes.length < CHANGES_PER_HEARTBEAT_MAX ? store.sequence : (changes.at(-1)?.sequence ?? 0)
    const results = [...this.#results]
    const shards = changes.length < CHANGES_PER_HEARTBEAT_MAX ? this.#nextShards() : []
    const sentMs = clock.monotonic()
    const answer = await callEndpoint(transport, this.#masterUrl(), heartbeat, {
      params: { serverId },
      body: {
        incarnation,
        load: load(),
        disks: store.disks(),
        changes: [...changes],
        results,
        tasks: tasks(),
        digests: shards.map((shard) => this.#digest(shard)),
        seen: this.#seen,
      },
      requestId: newId<RequestId>(random),
      token,
      timeoutMs: CALL_TIMEOUT_MS,
      signal,
    })
    const last = changes.at(-1)
    if (last) store.acknowledge(last.sequence)
    this.#results = this.#results.slice(results.length)
    // Unless all were asked for again meanwhile.
    if (this.#shardsToTell === shards) this.#shardsToTell = []
    const behind = isLater(this.#seen, answer.metadata)
    this.#heard(answer, answer.capabilityKeys, sentMs)
    for (const command of answer.commands) this.#obey(command, behind, toldSequence)
    if (changes.length === CHANGES_PER_HEARTBEAT_MAX || this.#results.length > 0) this.#beats.poke()
  }

  /** All shards after a registration, then one after the other, a new one with each beat. */
  #nextShards(): readonly number[] {
    if (this.#shardsToTell.length > 0) return this.#shardsToTell
    this.#nextShard = (this.#nextShard + 1) % SHARD_COUNT
    return [this.#nextShard]
  }

  #digest(shard: number): ShardDigest {
    const { count, hash } = this.#options.store.digestOf(shard)
    return { shard, count, hash: checksumToHex(hash) }
  }

  #obey(command: Command, behind: boolean, toldSequence: number): void {
    if (command.kind === 'report') {
      for (const shard of command.shards) void this.#reportShard(shard)
    } else if (command.kind === 'delete' && !this.#mayDelete(command, behind)) {
      this.#options.log.warn(
        { command: { ...command, chunkIds: command.chunkIds.length }, seen: this.#seen },
        'a delete command is void',
      )
    } else {
      this.#options.onCommand(command, toldSequence)
    }
  }

  /** A master with older metadata than we have seen, a late command, or one for an earlier life of this server: refused. */
  #mayDelete(command: Extract<Command, { kind: 'delete' }>, behind: boolean): boolean {
    return !behind && command.incarnation === this.membership().incarnation && command.expiresMs >= this.masterNowMs()
  }

  async #reportShard(shard: number): Promise<void> {
    const { store, transport, token, random, log } = this.#options
    const { serverId, incarnation } = this.membership()
    const copies = store
      .listShard(shard)
      .map(({ chunkId, diskId, lengthBytes, root }) => ({ chunkId, diskId, lengthBytes, root }))
    try {
      const answer = await callEndpoint(transport, this.#masterUrl(), reportShard, {
        params: { serverId },
        body: { incarnation, shard, asOfSequence: store.sequence, copies },
        requestId: newId<RequestId>(random),
        token,
        timeoutMs: CALL_TIMEOUT_MS,
      })
      // The master may have dropped rows of bad copies with others: it hears of them again.
      store.retellCorrupt(shard)
      log.info({ shard, ...answer }, 'a shard was compared with the master')
    } catch (error) {
      log.warn({ shard, error: toCairnError(error) }, 'a shard report failed; its digest will differ again')
    }
  }
}
