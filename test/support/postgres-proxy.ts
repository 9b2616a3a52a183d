/** Stands between a store and its PostgreSQL, reads what is sent, and loses the answers that a test wants lost. */
import net from 'node:net'

/**
 * - `pass`: nothing happens.
 * - `lose-request`: the connection ends before the database has heard of it.
 * - `lose-answer`: the database carries it out; the connection ends before its answer is through.
 * - `silence`: the database carries it out, and the answer never comes; the connection stays.
 */
export type Fate = 'pass' | 'lose-request' | 'lose-answer' | 'silence'

const TYPE_BYTES = 1
const LENGTH_BYTES = 4
const SIMPLE_QUERY = 'Q'.charCodeAt(0)

export class PostgresProxy implements AsyncDisposable {
  readonly port: number
  readonly #server: net.Server
  readonly #sockets = new Set<net.Socket>()
  /** Decides over each message of plain SQL: commits above all. */
  decide: (sql: string) => Fate = () => 'pass'

  private constructor(server: net.Server, port: number) {
    this.#server = server
    this.port = port
  }

  static async start(targetPort: number): Promise<PostgresProxy> {
    const server = net.createServer((client) => proxy.#serve(client, targetPort))
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
    const proxy: PostgresProxy = new PostgresProxy(server, (server.address() as net.AddressInfo).port)
    return proxy
  }

  #serve(client: net.Socket, port: number): void {
    const database = net.connect(port, '127.0.0.1')
    let muted = false
    const end = (): void => {
      client.destroy()
      database.end()
    }
    for (const socket of [client, database]) {
      this.#sockets.add(socket)
      socket.on('error', end)
      socket.on('close', () => {
        this.#sockets.delete(socket)
        if (!muted || socket === client) end()
      })
    }
    database.on('data', (data) => {
      if (!muted) client.write(data)
    })
    let pending = Buffer.alloc(0)
    let started = false
    client.on('data', (data) => {
      pending = Buffer.concat([pending, data])
      for (;;) {
        const header = started ? TYPE_BYTES : 0
        if (pending.length < header + LENGTH_BYTES) return
        const length = header + pending.readUInt32BE(header)
        if (pending.length < length) return
        const message = pending.subarray(0, length)
        pending = pending.subarray(length)
        const isQuery = started && message[0] === SIMPLE_QUERY
        started = true
        const fate = isQuery ? this.decide(message.toString('utf8', TYPE_BYTES + LENGTH_BYTES, length - 1)) : 'pass'
        if (fate === 'lose-request') return void client.destroy()
        if (fate !== 'pass') muted = true
        database.write(message)
        if (fate === 'lose-answer') database.once('data', () => client.destroy())
      }
    })
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const socket of this.#sockets) socket.destroy()
    await new Promise((resolve) => this.#server.close(resolve))
  }
}
