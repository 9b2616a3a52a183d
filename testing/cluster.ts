/**
 * A cluster of real processes on this machine, and what can be done to it.
 *
 * Its processes are children of the test's process and end with it, however it ends. Every fault is in force when the
 * promise of its method resolves.
 */
import { rm } from 'node:fs/promises'
import { openNodeClient, CairnError, type CairnClient } from '../client/index.js'
import type { ClusterStatus, ServerInfo } from '../common/protocol/admin.js'
import { SystemClock } from '../common/clock/system-clock.js'
import { sleep } from '../common/clock/clock.js'
import type { DiskOperation, DiskTarget } from './disk-faults.js'
import { copiesOf, damageCopy, type ChunkCopy, type CorruptOptions } from './damage.js'
import type { TestMember } from './member.js'
import type { ClusterParts, Servers } from './servers.js'
import { CLIENTS, type PartitionOptions } from './network/partition.js'
import { canTellOwners } from './network/socket-owner.js'

/** A handle, or the id or name of a member. */
export type Target = TestMember | string

export interface WaitOptions {
  /** Default 60 000. */
  readonly withinMs?: number
}

export interface RestartOptions {
  /** How it is ended first when it runs. Default: SIGTERM, orderly. */
  readonly signal?: NodeJS.Signals
  /** How far its wall clock is off; 0 sets it right. Default: as before. */
  readonly clockSkewMs?: number
  /** Whether to wait until it serves. A chunkserver serves only once it has reached the master. Default true. */
  readonly wait?: boolean
}

const WAIT_MS = 60_000
const POLL_MS = 50
const clock = new SystemClock()

export class Cluster implements AsyncDisposable {
  /** Where everything lives. */
  readonly directory: string
  /** An API token that may do everything. */
  readonly token: string
  /** Ready to use; closed by {@link stop}. */
  readonly client: CairnClient
  readonly #servers: Servers
  readonly #temporary: boolean

  /** Use `startCluster`. */
  constructor(parts: ClusterParts) {
    this.directory = parts.directory
    this.token = parts.token
    this.#servers = parts.servers
    this.#temporary = parts.temporary
    this.client = openNodeClient({ masters: [parts.clientMasterUrl], token: parts.token })
    this.masterUrl = parts.clientMasterUrl
  }

  /** The address of the master for clients. It stays over restarts. */
  readonly masterUrl: string

  get master(): TestMember {
    return this.#servers.member('master')
  }

  /** @throws when the cluster was started without one */
  get gateway(): TestMember {
    return this.#servers.member('gateway')
  }

  get chunkservers(): readonly TestMember[] {
    return this.#servers.members.filter(({ role }) => role === 'chunkserver')
  }

  /** The directory of the processes' logs, one file each. */
  get logDirectory(): string {
    return this.#servers.logDirectory
  }

  /** What the `cairn` command needs to work on this cluster. */
  get env(): { readonly CAIRN_MASTER: string; readonly CAIRN_TOKEN: string } {
    return { CAIRN_MASTER: this.masterUrl, CAIRN_TOKEN: this.token }
  }

  /** Ends a process at once. @returns once it is gone */
  async kill(target: Target, signal: NodeJS.Signals = 'SIGKILL'): Promise<void> {
    await this.#servers.end(this.#one(target), signal)
  }

  /** Starts a process that was killed, or ends one that runs and starts it again. */
  async restart(target: Target, options: RestartOptions = {}): Promise<void> {
    const member = this.#one(target)
    await this.#servers.end(member, options.signal ?? 'SIGTERM')
    const started = this.#servers.begin(member, options.clockSkewMs)
    if (options.wait ?? true) await started
    else started.catch(() => undefined)
  }

  /** Adds a chunkserver with empty disks. @returns once it serves */
  async addChunkserver(options: { readonly zone?: string } = {}): Promise<TestMember> {
    return this.#servers.addChunkserver(options.zone ?? '')
  }

  /** Stops a process without ending it (SIGSTOP): its connections stay, and nothing is answered. */
  async pause(target: Target): Promise<void> {
    this.#servers.pause(this.#one(target))
  }

  async resume(target: Target): Promise<void> {
    this.#servers.resume(this.#one(target))
  }

  /**
   * Cuts `a` off from `b`: another member, `'clients'` (whoever is no process of the cluster), or everybody. Adds to what
   * is cut already.
   *
   * Who opened a connection is known on Linux only. Elsewhere pairs of chunkservers and `'clients'` are refused, and a
   * chunkserver cut off from everybody still reaches its peers.
   */
  async partition(a: Target, b?: Target, options: PartitionOptions = {}): Promise<void> {
    const names = { a: this.#nameOf(a), b: b === undefined ? undefined : this.#nameOf(b) }
    const needsOwners = names.b !== undefined && names.a !== 'master' && names.b !== 'master'
    if (needsOwners && !canTellOwners)
      throw new CairnError('USAGE', `Cutting ${names.a} off from ${names.b} is supported on Linux only.`)
    const { mode = 'stall', direction = 'both' } = options
    await this.#servers.network.setPartitions([...this.#servers.network.partitions, { ...names, mode, direction }])
  }

  /** Ends the partitions of one member, or all. Bytes that were held back arrive now. */
  async heal(target?: Target): Promise<void> {
    const name = target === undefined ? undefined : this.#nameOf(target)
    const { network } = this.#servers
    await network.setPartitions(network.partitions.filter(({ a, b }) => name !== undefined && a !== name && b !== name))
  }

  /**
   * Damages one copy of one chunk of a file behind its server's back.
   * @returns what was damaged
   */
  async corrupt(filePath: string, options: CorruptOptions = {}): Promise<ChunkCopy> {
    const copies = await this.copies(filePath)
    const victim = copies.find(
      ({ index, server }) => index === (options.chunk ?? 0) && (options.server === undefined || server === options.server),
    )
    if (!victim) throw new CairnError('USAGE', `${filePath} has no such copy of chunk ${options.chunk ?? 0}.`)
    damageCopy(victim, copies, options)
    return victim
  }

  /** Where the copies of a file's chunks lie, those on live servers. */
  copies(filePath: string): Promise<ChunkCopy[]> {
    return copiesOf(this.client, filePath, this.chunkservers)
  }

  /**
   * The disks of a chunkserver are full: writes fail (ENOSPC). Unless `silently`, the server also sees that nothing is
   * free, as on a real full disk.
   */
  async fillDisk(target: Target, options: DiskTarget & { readonly silently?: boolean } = {}): Promise<void> {
    const { faults, directories } = this.#disks(target, options)
    faults.set(directories, ['write'], { kind: 'error', code: 'ENOSPC' })
    if (!options.silently) faults.set(directories, ['write'], { kind: 'no-space' })
  }

  /** Undoes {@link fillDisk}. */
  async freeDisk(target: Target, options: DiskTarget = {}): Promise<void> {
    const { faults, directories } = this.#disks(target, options)
    faults.clear(directories, ['no-space'])
    faults.clear(directories, ['error'], 'ENOSPC')
  }

  /** Every operation takes longer by `delayMs` (default 200). */
  async slowDisk(target: Target, options: DiskTarget & { readonly delayMs?: number } = {}): Promise<void> {
    const { faults, directories } = this.#disks(target, options)
    faults.set(directories, ['read', 'write', 'sync'], { kind: 'delay', delayMs: options.delayMs ?? 200 })
  }

  /** Operations fail (EIO): all, or those named. */
  async failDisk(target: Target, options: DiskTarget & { readonly operations?: readonly DiskOperation[] } = {}): Promise<void> {
    const { faults, directories } = this.#disks(target, options)
    faults.set(directories, options.operations ?? ['read', 'write', 'sync'], { kind: 'error', code: 'EIO' })
  }

  /** Operations that begin from now on do not end before {@link healDisk}. */
  async hangDisk(target: Target, options: DiskTarget = {}): Promise<void> {
    const { faults, directories } = this.#disks(target, options)
    faults.set(directories, ['read', 'write', 'sync'], { kind: 'hang' })
  }

  /** Ends all faults of disks. A server that has given a disk up takes it again when it is restarted. */
  async healDisk(target: Target, options: DiskTarget = {}): Promise<void> {
    const { faults, directories } = this.#disks(target, options)
    faults.clear(directories)
  }

  /** What the master says. */
  status(): Promise<ClusterStatus> {
    return this.client.api.call('getStatus', {})
  }

  /** Waits for a condition. @throws when it does not hold in time, with `what` and what the condition threw last */
  async until(what: string, condition: () => boolean | Promise<boolean>, options: WaitOptions = {}): Promise<void> {
    const withinMs = options.withinMs ?? WAIT_MS
    const startedMs = clock.monotonic()
    for (;;) {
      let failure: unknown
      try {
        if (await condition()) return
      } catch (error) {
        failure = error
      }
      if (clock.monotonic() - startedMs >= withinMs)
        throw new CairnError('TIMEOUT', `Not within ${withinMs} ms: ${what}.`, failure === undefined ? {} : { cause: failure })
      await sleep(clock, POLL_MS)
    }
  }

  /**
   * Waits until the master knows which chunkservers run and which do not, and every chunk has all its copies. What a
   * partition touches may look dead or alive. A death counts once it is declared.
   */
  async healthy(options: WaitOptions = {}): Promise<void> {
    await this.until(
      'every chunk has its copies, and the master knows who is there',
      async () => {
        const { servers, chunks } = await this.status()
        return chunks.healthy === chunks.total && this.chunkservers.every((member) => this.#isKnown(member, servers))
      },
      options,
    )
  }

  #isKnown(member: TestMember, servers: readonly ServerInfo[]): boolean {
    if (this.#servers.network.partitions.some(({ a, b }) => a === member.name || b === member.name)) return true
    const state = servers.find(({ id }) => id === member.id)?.state
    if (!member.running || member.paused) return state !== 'serving' && state !== 'suspect'
    return state !== undefined && state !== 'suspect' && state !== 'dead'
  }

  /** Ends everything. A temporary directory is removed; processes with a directory to keep end in order. */
  async stop(): Promise<void> {
    await this.client.close()
    await this.#servers.close(this.#temporary ? 'SIGKILL' : 'SIGTERM')
    if (this.#temporary) await rm(this.directory, { recursive: true, force: true })
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop()
  }

  #one(target: Target): TestMember {
    return typeof target === 'string' ? this.#servers.member(target) : target
  }

  #nameOf(target: Target): string {
    return target === CLIENTS ? CLIENTS : this.#one(target).name
  }

  #disks(target: Target, { disk }: DiskTarget) {
    const member = this.#one(target)
    const directories = disk === undefined ? member.directories : [member.directories[disk] ?? '']
    if (directories.includes('')) throw new CairnError('USAGE', `${member.name} has no disk ${disk}.`)
    return { faults: this.#servers.diskFaults(member), directories }
  }
}
