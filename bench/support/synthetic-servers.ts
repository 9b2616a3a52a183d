/** Chunkservers that hold nothing but sign receipts, so that metadata for any amount of data can be made without the data. */
import { toCairnError } from '../../common/errors/cairn-error.js'
import type { ServerId } from '../../common/ids.js'
import type { ReceiptJson } from '../../common/protocol/chunk-data.js'
import { SyntheticMember, type MasterAccess, type StoredCopy } from './synthetic-member.js'

export interface SyntheticServersOptions extends MasterAccess {
  readonly master: string
  readonly count: number
}

export class SyntheticServers implements Disposable {
  readonly #master: string
  readonly #members: ReadonlyMap<ServerId, SyntheticMember>
  readonly #timer: NodeJS.Timeout
  #failure: Error | undefined

  private constructor(master: string, members: readonly SyntheticMember[]) {
    this.#master = master
    this.#members = new Map(members.map((member) => [member.serverId, member]))
    const { heartbeatIntervalMs } = (members[0] as SyntheticMember).membership.settings
    this.#timer = setInterval(() => {
      this.beat().catch((error: unknown) => (this.#failure = toCairnError(error)))
    }, heartbeatIntervalMs)
  }

  /** Registers them, and sends their first heartbeats. */
  static async start(options: SyntheticServersOptions): Promise<SyntheticServers> {
    const members: SyntheticMember[] = []
    for (let index = 0; index < options.count; index += 1)
      members.push(await SyntheticMember.join(options, options.master, index))
    const all = new SyntheticServers(options.master, members)
    await all.beat()
    return all
  }

  async beat(): Promise<void> {
    for (const member of this.#members.values()) await member.beat(this.#master)
  }

  /** A server's signed word that it holds a copy. @throws what made a heartbeat fail, since the server may count as silent by now */
  receipt(serverId: ServerId, copy: StoredCopy): ReceiptJson {
    if (this.#failure) throw this.#failure
    const member = this.#members.get(serverId)
    if (!member) throw new Error(`the master chose server ${serverId}, which is none of these`)
    return member.receipt(copy)
  }

  [Symbol.dispose](): void {
    clearInterval(this.#timer)
  }
}
