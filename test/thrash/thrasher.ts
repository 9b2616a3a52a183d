/**
 * Faults at random on a cluster with clients at work, after Ceph's teuthology (qa/tasks/thrashosds.py): an action every few
 * seconds, never more servers away than the data bears, and again and again everything is healed and must become clean.
 *
 * What it does is drawn from one seed; when things happen is the machine's.
 */
import { setTimeout as sleep } from 'node:timers/promises'
import type { Cluster, TestMember } from '../../testing/index.js'
import { SeededRandom } from '../../common/random/seeded-random.js'
import type { ClientLoad } from '../support/client-load.js'
import { FAULTS, killAllButOne, wipeOne } from './faults.js'

export interface ThrashOptions {
  readonly minutes: number
  readonly seed: number
  readonly say: (line: string) => void
}

/** Teuthology's figures, where they have one. */
const ACTION_EVERY_MS = 5_000
const CHANCE_DOWN = 0.4
const SERVERS_LEFT_MIN = 4
const CLEAN_EVERY_MS = 60_000
export const CLEAN_WITHIN_MS = 360_000
const SHORT_STALL_MS = 3_000
const CHANCE_ALL_BUT_ONE = 0.15
/** All the data of one server, while everything else is whole. */
const CHANCE_WIPE = 0.15
const LASTS_ACTIONS_MAX = 4

interface Ailment {
  readonly what: string
  actionsLeft: number
  readonly heal: () => Promise<void>
}

export class Thrasher {
  readonly cluster: Cluster
  readonly load: ClientLoad
  readonly random: SeededRandom
  readonly faults: Record<string, number> = {}
  readonly violations: string[] = []
  cleans = 0
  longestCleanMs = 0
  /** Chunks with a copy that was damaged once. None is damaged twice: some copy must stay good. */
  readonly damagedChunks = new Set<string>()
  readonly #options: ThrashOptions
  readonly #ailing = new Map<TestMember, Ailment>()
  readonly #startedMs = performance.now()
  readonly #stalls = new Set<Promise<void>>()

  constructor(cluster: Cluster, load: ClientLoad, options: ThrashOptions) {
    this.cluster = cluster
    this.load = load
    this.random = new SeededRandom(options.seed)
    this.#options = options
  }

  say(what: string): void {
    this.#options.say(`${((performance.now() - this.#startedMs) / 1000).toFixed(1).padStart(7)} s  ${what}`)
  }

  count(kind: string): void {
    this.faults[kind] = (this.faults[kind] ?? 0) + 1
  }

  pick<T>(from: readonly T[]): T | undefined {
    return from[this.random.integer(from.length)]
  }

  /** Chunkservers without an ailment. */
  get hale(): readonly TestMember[] {
    return this.cluster.chunkservers.filter((member) => !this.#ailing.has(member))
  }

  /** Notes what is wrong with a member and how that ends, which it does after some actions. */
  ail(member: TestMember, what: string, heal: () => Promise<void>): void {
    this.#ailing.set(member, { what, actionsLeft: 1 + this.random.integer(LASTS_ACTIONS_MAX), heal })
    this.say(`${member.name}: ${what}`)
  }

  async run(): Promise<void> {
    const endMs = this.#startedMs + this.#options.minutes * 60_000
    let cleanDueMs = this.#startedMs + CLEAN_EVERY_MS
    while (performance.now() < endMs) {
      await sleep(ACTION_EVERY_MS)
      await this.#act()
      if (performance.now() < cleanDueMs) continue
      await this.clean()
      const dice = this.random.fraction()
      if (dice < CHANCE_ALL_BUT_ONE) await killAllButOne(this)
      else if (dice < CHANCE_ALL_BUT_ONE + CHANCE_WIPE) await wipeOne(this)
      if (dice < CHANCE_ALL_BUT_ONE + CHANCE_WIPE) await this.clean()
      cleanDueMs = performance.now() + CLEAN_EVERY_MS
    }
    await this.clean()
  }

  async #act(): Promise<void> {
    this.#lookForDeaths()
    await this.#healDue()
    this.#stallShortly()
    const takes = this.hale.length > SERVERS_LEFT_MIN && this.random.fraction() < CHANCE_DOWN
    const kinds = FAULTS.filter(({ takesServer }) => takesServer === takes)
    const total = kinds.reduce((sum, { weight }) => sum + weight, 0)
    let dice = this.random.fraction() * total
    const fault = kinds.find(({ weight }) => (dice -= weight) < 0)
    if (fault && (await fault.inject(this))) this.count(fault.kind)
  }

  /** Who is gone without having been killed has failed by itself. */
  #lookForDeaths(): void {
    for (const member of [this.cluster.master, ...this.cluster.chunkservers]) {
      if (member.running || this.#ailing.get(member)?.what.startsWith('killed')) continue
      this.violate(`${member.name} has ended by itself; its log is in ${this.cluster.logDirectory}`)
    }
  }

  violate(what: string): void {
    this.violations.push(what)
    this.say(`VIOLATION: ${what}`)
  }

  /** In every round somebody stands still for a moment, whatever else goes on. */
  #stallShortly(): void {
    const member = this.pick([...this.hale, this.cluster.master])
    if (!member || member.paused) return
    this.count('short-stall')
    const stall = (async () => {
      await this.cluster.pause(member)
      await sleep(SHORT_STALL_MS)
      await this.cluster.resume(member)
    })().finally(() => this.#stalls.delete(stall))
    this.#stalls.add(stall)
  }

  async #healDue(): Promise<void> {
    for (const [member, ailment] of this.#ailing) {
      ailment.actionsLeft -= 1
      if (ailment.actionsLeft <= 0) await this.#heal(member, ailment)
    }
  }

  async #heal(member: TestMember, { what, heal }: Ailment): Promise<void> {
    await heal()
    this.#ailing.delete(member)
    this.say(`${member.name}: healed (${what})`)
  }

  /** Ends all faults and waits until nothing is missing. @throws when that takes too long */
  async clean(): Promise<void> {
    await Promise.all(this.#stalls)
    for (const [member, ailment] of this.#ailing) await this.#heal(member, ailment)
    this.#lookForDeaths()
    const startedMs = performance.now()
    await this.cluster.healthy({ withinMs: CLEAN_WITHIN_MS })
    const tookMs = performance.now() - startedMs
    this.cleans += 1
    this.longestCleanMs = Math.max(this.longestCleanMs, tookMs)
    const { operations, failed, bytesVerified } = this.load.figures
    this.say(
      `clean after ${(tookMs / 1000).toFixed(1)} s; ${operations} operations (${failed} failed), ${bytesVerified} bytes verified`,
    )
    for (const violation of this.load.violations.splice(0)) this.violate(violation)
  }

  /** Reads every copy on every disk: what is damaged is found and made good, and then nothing bad is left. */
  async verifyCopies(): Promise<void> {
    this.say(`every copy is read; bad ones: ${await this.#badCopies()}`)
    await this.cluster.until('no copy is bad', async () => (await this.#badCopies()) === 0, { withinMs: CLEAN_WITHIN_MS })
    await this.cluster.healthy({ withinMs: CLEAN_WITHIN_MS })
  }

  async #badCopies(): Promise<number> {
    const { client } = this.cluster
    let bad = 0
    for await (const { path } of client.list('/load/')) {
      for await (const { copies } of client.verify(await client.stat(path))) {
        if (!copies.some(({ outcome }) => outcome === 'good')) this.violate(`a chunk of ${path} has no good copy`)
        bad += copies.filter(({ outcome }) => outcome !== 'good').length
      }
    }
    return bad
  }
}
