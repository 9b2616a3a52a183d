/**
 * A TCP proxy in front of one member, which stalls or cuts connections as the partitions in force demand.
 *
 * A stalled direction is simply not read: what is under way waits in the buffers of kernel and sender, as it would in a
 * network that drops packets and a sender that keeps retransmitting, and goes on when the partition heals. Ends of
 * connections count as bytes and wait too.
 */
import net, { type Socket } from 'node:net'
import { CLIENTS, dependsOnSource, verdictOf, type Partition } from './partition.js'
import { ownerOfConnection, type KnownProcess } from './socket-owner.js'

/** Where a member listens. `starting`: connections wait. `down`: they are cut, as by a machine without such a process. */
export type Target = number | 'starting' | 'down'

export interface ProxyOptions {
  /** The member in front of which it stands. */
  readonly member: string
  /** Who alone uses this proxy; undefined when anybody may, and the process behind a connection must be looked up. */
  readonly source: string | undefined
}

/** What all proxies of a cluster go by. */
export interface NetworkState {
  readonly partitions: readonly Partition[]
  readonly processes: readonly KnownProcess[]
}

interface Connection {
  readonly client: Socket
  upstream: Socket | undefined
  source: string | undefined
}

const BUFFER_BYTES = 256 * 1024

export class FaultProxy {
  readonly #options: ProxyOptions
  readonly #server: net.Server
  readonly #connections = new Set<Connection>()
  #state: NetworkState
  #target: Target = 'starting'

  constructor(options: ProxyOptions, state: NetworkState) {
    this.#options = options
    this.#state = state
    const socketOptions = { allowHalfOpen: true, pauseOnConnect: true, highWaterMark: BUFFER_BYTES, noDelay: true }
    this.#server = net.createServer(socketOptions, (client) => this.#accept(client))
  }

  /** @returns its port */
  listen(): Promise<number> {
    return new Promise((resolve, reject) => {
      this.#server.once('error', reject)
      this.#server.listen(0, '127.0.0.1', () => resolve((this.#server.address() as net.AddressInfo).port))
    })
  }

  get member(): string {
    return this.#options.member
  }

  setTarget(target: Target): void {
    this.#target = target
    for (const connection of this.#connections) this.#apply(connection)
  }

  setState(state: NetworkState): void {
    this.#state = state
    for (const connection of this.#connections) this.#apply(connection)
  }

  #accept(client: Socket): void {
    const connection: Connection = { client, upstream: undefined, source: this.#options.source }
    this.#connections.add(connection)
    client.on('close', () => this.#drop(connection))
    client.on('error', () => this.#cut(connection))
    this.#apply(connection)
  }

  /** Brings a connection in line with what holds now. */
  #apply(connection: Connection): void {
    const { forward, backward, refused } = verdictOf(this.#state.partitions, this.#sourceOf(connection), this.#options.member)
    if (refused) return this.#cut(connection)
    if (!connection.upstream && forward) {
      if (this.#target === 'down') return this.#cut(connection)
      if (this.#target !== 'starting') this.#connect(connection, this.#target)
    }
    const { client, upstream } = connection
    if (!upstream) return
    letFlow(client, forward && !upstream.writableNeedDrain)
    letFlow(upstream, backward && !client.writableNeedDrain)
  }

  #sourceOf(connection: Connection): string {
    if (connection.source !== undefined) return connection.source
    if (!dependsOnSource(this.#state.partitions, this.#options.member)) return CLIENTS
    const { remotePort, localPort } = connection.client
    if (remotePort === undefined || localPort === undefined) return CLIENTS
    connection.source = ownerOfConnection(remotePort, localPort, this.#state.processes) ?? CLIENTS
    return connection.source
  }

  #connect(connection: Connection, port: number): void {
    const { client } = connection
    const upstream = net.connect({ host: '127.0.0.1', port, allowHalfOpen: true, noDelay: true })
    upstream.pause()
    connection.upstream = upstream
    upstream.on('error', () => this.#cut(connection))
    upstream.on('close', () => this.#drop(connection))
    this.#carry(connection, client, upstream)
    this.#carry(connection, upstream, client)
  }

  #carry(connection: Connection, from: Socket, to: Socket): void {
    from.on('data', (piece) => {
      if (!to.write(piece)) from.pause()
    })
    from.on('end', () => to.end())
    to.on('drain', () => this.#apply(connection))
  }

  /**
   * Cuts at once, with what is under way. Not by `resetAndDestroy`: that lets pending bytes out first, and a thread with a
   * handle that could not be reset never comes to its end (seen with Node 20, in uv_run below CleanupHandles).
   */
  #cut(connection: Connection): void {
    connection.client.destroy()
    connection.upstream?.destroy()
    this.#connections.delete(connection)
  }

  /** One side has come to its end: the other is ended with what it was still to get. */
  #drop(connection: Connection): void {
    for (const socket of [connection.client, connection.upstream]) socket?.destroySoon()
    this.#connections.delete(connection)
  }
}

function letFlow(socket: Socket, flows: boolean): void {
  if (socket.destroyed || socket.isPaused() !== flows) return
  if (flows) socket.resume()
  else socket.pause()
}
