/**
 * Connections to whichever of the hosts takes writes: a bounded number, given out in order of demand. One that has failed is
 * not used again, and with the next one all hosts are tried anew, so that a failover is followed without anybody's help.
 */
import { CairnError, isCairnError } from '../../../common/errors/cairn-error.js'
import { Semaphore } from '../../../common/flow/semaphore.js'
import type { PostgresAddress } from './address.js'
import { PostgresConnection } from './connection.js'
import { sqlState } from './failures.js'

export class PostgresPool {
  readonly #address: PostgresAddress
  readonly #permits: Semaphore
  readonly #idle: PostgresConnection[] = []
  readonly #all = new Set<PostgresConnection>()
  /** Where the last connection was made: tried first. */
  #preferred = 0
  #closed = false

  constructor(address: PostgresAddress) {
    this.#address = address
    this.#permits = new Semaphore(address.connectionsMax)
  }

  /** Connections that are open. */
  get size(): number {
    return this.#all.size
  }

  /** Gives `work` a connection of its own. @throws what it throws, or what connecting to each of the hosts threw last */
  async use<T>(work: (connection: PostgresConnection) => Promise<T>): Promise<T> {
    return this.#permits.use(async () => {
      const connection = await this.#take()
      try {
        return await work(connection)
      } finally {
        this.#giveBack(connection)
      }
    })
  }

  async #take(): Promise<PostgresConnection> {
    for (let idle = this.#idle.pop(); idle; idle = this.#idle.pop()) {
      if (!idle.broken) return idle
      this.#drop(idle)
    }
    return this.#connect()
  }

  #giveBack(connection: PostgresConnection): void {
    if (connection.broken || this.#closed) this.#drop(connection)
    else this.#idle.push(connection)
  }

  #drop(connection: PostgresConnection): void {
    connection.close()
    this.#all.delete(connection)
  }

  async #connect(): Promise<PostgresConnection> {
    const { hosts } = this.#address
    let failure: unknown
    for (let tried = 0; tried < hosts.length; tried += 1) {
      if (this.#closed) throw new CairnError('SHUTTING_DOWN', 'The metadata store is closed.')
      const at = (this.#preferred + tried) % hosts.length
      try {
        const connection = await PostgresConnection.open(this.#address, hosts[at] as (typeof hosts)[number])
        this.#preferred = at
        this.#all.add(connection)
        return connection
      } catch (error) {
        failure = tellingError(failure, error)
      }
    }
    throw failure
  }

  /** A failover leaves connections to what was the primary: nobody is to come upon them one by one. */
  closeIdle(): void {
    for (const connection of this.#idle.splice(0)) this.#drop(connection)
  }

  close(): void {
    this.#closed = true
    this.closeIdle()
  }
}

/** Of what several hosts said: that the password is wrong says more than that another host is down. */
function tellingError(before: unknown, now: unknown): unknown {
  if (before === undefined) return now
  const weight = (error: unknown): number =>
    isCairnError(error) ? 3 : sqlState(error) === undefined ? 1 : sqlState(error) === '25006' ? 0 : 2
  return weight(now) > weight(before) ? now : before
}
