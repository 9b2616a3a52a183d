/**
 * Requests that cost their sender little, so that it is the server that is measured: keep-alive connections, on each one
 * request at a time, answers of a stated length. Plain HTTP/1.1 as any client speaks it.
 */
import { once } from 'node:events'
import { connect, type Socket } from 'node:net'
import { deferred, type Deferred } from '../../common/flow/deferred.js'

const HEAD_END = Buffer.from('\r\n\r\n')
const LENGTH = /\r\ncontent-length: *(\d+)/i

export interface Answer {
  readonly status: number
  /** Valid until the next request on the connection. */
  readonly body: Buffer
}

export interface LoadTarget {
  readonly url: string
  readonly token: string
}

export class LoadConnection implements Disposable {
  readonly #socket: Socket
  readonly #head: string
  #waiting: Deferred<Answer> | undefined
  #received: Buffer = Buffer.alloc(0)
  /** Length of the whole answer under way, once its head has come. */
  #expected = Infinity

  private constructor(socket: Socket, { url, token }: LoadTarget) {
    this.#socket = socket
    this.#head = `\r\nhost: ${new URL(url).host}\r\nauthorization: Bearer ${token}\r\n`
    socket.on('data', (piece) => this.#take(piece))
    socket.on('error', (error) => this.#fail(error))
    socket.on('close', () => this.#fail(new Error('the server has closed the connection')))
  }

  static async open(target: LoadTarget): Promise<LoadConnection> {
    const { hostname, port } = new URL(target.url)
    const socket = connect({ host: hostname, port: Number(port), noDelay: true })
    await once(socket, 'connect')
    return new LoadConnection(socket, target)
  }

  /** @param path already encoded @param requestId makes a change one that is kept and can be repeated, as the client's are */
  request(method: string, path: string, options: { readonly json?: unknown; readonly requestId?: string } = {}): Promise<Answer> {
    if (this.#waiting) throw new Error('one request at a time')
    const id = options.requestId === undefined ? '' : `x-request-id: ${options.requestId}\r\n`
    const body = options.json === undefined ? '' : JSON.stringify(options.json)
    const entity = body === '' ? '' : `content-type: application/json\r\ncontent-length: ${Buffer.byteLength(body)}\r\n`
    this.#waiting = deferred<Answer>()
    this.#socket.write(`${method} ${path} HTTP/1.1${this.#head}${id}${entity}\r\n${body}`)
    return this.#waiting.promise
  }

  #take(piece: Buffer): void {
    this.#received = this.#received.length === 0 ? piece : Buffer.concat([this.#received, piece])
    if (this.#expected === Infinity) {
      const end = this.#received.indexOf(HEAD_END)
      if (end === -1) return
      const length = LENGTH.exec(this.#received.toString('latin1', 0, end))?.[1]
      if (length === undefined) return this.#fail(new Error('an answer without a length'))
      this.#expected = end + HEAD_END.length + Number(length)
    }
    if (this.#received.length < this.#expected) return
    const waiting = this.#waiting
    const bodyStart = this.#received.indexOf(HEAD_END) + HEAD_END.length
    const answer = { status: Number(this.#received.toString('latin1', 9, 12)), body: this.#received.subarray(bodyStart) }
    this.#received = Buffer.alloc(0)
    this.#expected = Infinity
    this.#waiting = undefined
    waiting?.resolve(answer)
  }

  #fail(error: Error): void {
    this.#waiting?.reject(error)
    this.#waiting = undefined
  }

  [Symbol.dispose](): void {
    this.#socket.destroy()
  }
}

export interface Driven {
  readonly seconds: number
  /** One per operation. */
  readonly latenciesMs: number[]
}

/** Does `count` operations, the next on whichever connection is free. */
export async function drive(
  target: LoadTarget,
  connections: number,
  count: number,
  perform: (connection: LoadConnection, index: number) => Promise<void>,
): Promise<Driven> {
  const open = await Promise.all(Array.from({ length: connections }, () => LoadConnection.open(target)))
  const latenciesMs: number[] = []
  let next = 0
  const work = async (connection: LoadConnection): Promise<void> => {
    while (next < count) {
      const index = next++
      const startedMs = performance.now()
      await perform(connection, index)
      latenciesMs.push(performance.now() - startedMs)
    }
  }
  const startedMs = performance.now()
  try {
    await Promise.all(open.map(work))
    return { seconds: (performance.now() - startedMs) / 1000, latenciesMs }
  } finally {
    for (const connection of open) connection[Symbol.dispose]()
  }
}

/** @throws with what the server said when it is not a 200 */
export function parsed<T>(answer: Answer): T {
  if (answer.status !== 200) throw new Error(`the server answered ${answer.status}: ${answer.body.toString()}`)
  return JSON.parse(answer.body.toString()) as T
}
