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
  /** Of the body, as the head states it: also where none follows. */
  readonly lengthBytes: number
  /** Valid until the next request on the connection. */
  readonly body: Buffer
}

export interface LoadTarget {
  readonly url: string
  readonly token: string
}

/** Where nobody in particular may ask. */
export interface OpenTarget {
  readonly url: string
  readonly token?: undefined
}

export interface RequestOptions {
  readonly json?: unknown
  /** Sent as it is, in the place of `json`. */
  readonly content?: Uint8Array
  /** Makes a change one that is kept and can be repeated, as the client's are. */
  readonly requestId?: string
}

export class LoadConnection implements Disposable {
  readonly #socket: Socket
  readonly #head: string
  #waiting: Deferred<Answer> | undefined
  #received: Buffer = Buffer.alloc(0)
  /** Length of the whole answer under way, once its head has come. */
  #expected = Infinity
  #lengthBytes = 0
  /** No body will follow the head, whatever it says. */
  #bodiless = false

  private constructor(socket: Socket, { url, token }: LoadTarget | OpenTarget) {
    this.#socket = socket
    const authorization = token === undefined ? '' : `authorization: Bearer ${token}\r\n`
    this.#head = `\r\nhost: ${new URL(url).host}\r\n${authorization}`
    socket.on('data', (piece) => this.#take(piece))
    socket.on('error', (error) => this.#fail(error))
    socket.on('close', () => this.#fail(new Error('the server has closed the connection')))
  }

  static async open(target: LoadTarget | OpenTarget): Promise<LoadConnection> {
    const { hostname, port } = new URL(target.url)
    const socket = connect({ host: hostname, port: Number(port), noDelay: true })
    await once(socket, 'connect')
    return new LoadConnection(socket, target)
  }

  /** @param path already encoded */
  request(method: string, path: string, options: RequestOptions = {}): Promise<Answer> {
    if (this.#waiting) throw new Error('one request at a time')
    const id = options.requestId === undefined ? '' : `x-request-id: ${options.requestId}\r\n`
    const json = options.json === undefined ? '' : JSON.stringify(options.json)
    const lengthBytes = options.content?.length ?? Buffer.byteLength(json)
    const type = json === '' ? '' : 'content-type: application/json\r\n'
    const entity = json === '' && !options.content ? '' : `${type}content-length: ${lengthBytes}\r\n`
    this.#waiting = deferred<Answer>()
    this.#bodiless = method === 'HEAD'
    const head = `${method} ${path} HTTP/1.1${this.#head}${id}${entity}\r\n`
    // In one piece: a second one would be a packet of its own.
    this.#socket.write(options.content ? Buffer.concat([Buffer.from(head), options.content]) : head + json)
    return this.#waiting.promise
  }

  #take(piece: Buffer): void {
    this.#received = this.#received.length === 0 ? piece : Buffer.concat([this.#received, piece])
    if (this.#expected === Infinity) {
      const end = this.#received.indexOf(HEAD_END)
      if (end === -1) return
      const length = LENGTH.exec(this.#received.toString('latin1', 0, end))?.[1]
      if (length === undefined) return this.#fail(new Error('an answer without a length'))
      this.#lengthBytes = Number(length)
      this.#expected = end + HEAD_END.length + (this.#bodiless ? 0 : this.#lengthBytes)
    }
    if (this.#received.length < this.#expected) return
    const waiting = this.#waiting
    const bodyStart = this.#received.indexOf(HEAD_END) + HEAD_END.length
    const status = Number(this.#received.toString('latin1', 9, 12))
    const answer = { status, lengthBytes: this.#lengthBytes, body: this.#received.subarray(bodyStart) }
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
