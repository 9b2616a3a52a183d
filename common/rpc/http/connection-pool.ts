/** Idle connections per origin, kept for reuse. Bounds how many stay idle, not how many are in use: callers do that. */
import { CairnError } from '../../errors/cairn-error.js'
import { findLocalSocket } from './local-socket.js'
import { SocketStream } from './socket-stream.js'

/** Shorter than any server of ours keeps an idle connection. */
const IDLE_MS_MAX = 30_000
const IDLE_PER_ORIGIN_MAX = 32

interface Idle {
  readonly stream: SocketStream
  readonly timer: NodeJS.Timeout
  readonly offClose: () => void
}

export class ConnectionPool {
  readonly #idle = new Map<string, Idle[]>()
  #closed = false

  /** A connection to `origin` (`http://host:port`): the one used last, or a new one. */
  async take(origin: string, signal?: AbortSignal): Promise<{ stream: SocketStream; reused: boolean }> {
    for (let idle = this.#idle.get(origin)?.pop(); idle; idle = this.#idle.get(origin)?.pop()) {
      clearTimeout(idle.timer)
      idle.offClose()
      // What came while it was idle answers no question of ours, and must not be taken for the answer to the next.
      if (idle.stream.hasUnread || idle.stream.destroyed) {
        idle.stream.destroy(new CairnError('PROTOCOL_ERROR', 'unasked bytes on the connection'))
        continue
      }
      idle.stream.socket.ref()
      return { stream: idle.stream, reused: true }
    }
    const url = new URL(origin)
    if (url.protocol !== 'http:') throw new CairnError('PROTOCOL_ERROR', `"${origin}" is not an http:// address.`)
    const host = url.hostname.startsWith('[') ? url.hostname.slice(1, -1) : url.hostname
    return { stream: await connect(host, Number(url.port || 80), signal), reused: false }
  }

  giveBack(origin: string, stream: SocketStream): void {
    if (stream.destroyed) return
    // Bytes that nobody asked for: the other side is out of step, so its next answer could be taken for another's.
    if (stream.hasUnread) return stream.destroy(new CairnError('PROTOCOL_ERROR', 'unasked bytes on the connection'))
    const list = this.#idle.get(origin) ?? []
    if (this.#closed || list.length >= IDLE_PER_ORIGIN_MAX)
      return stream.destroy(new CairnError('CONNECTION_FAILED', 'not needed'))
    const drop = (): void => {
      const index = list.findIndex((idle) => idle.stream === stream)
      if (index >= 0) list.splice(index, 1)
      clearTimeout(timer)
      stream.destroy(new CairnError('CONNECTION_FAILED', 'The connection was idle for too long.'))
    }
    const timer = setTimeout(drop, IDLE_MS_MAX).unref()
    list.push({ stream, timer, offClose: stream.onClose(drop) })
    this.#idle.set(origin, list)
    // An idle connection must not keep a finished program running; one in use does.
    stream.socket.unref()
    // Reading goes on, so that the other side's end is noticed while idle.
    stream.watch()
  }

  /** Closes the idle connections of an origin, after one of them turned out to be dead. */
  dropIdle(origin: string): void {
    const list = this.#idle.get(origin) ?? []
    for (const idle of list.splice(0)) {
      clearTimeout(idle.timer)
      idle.offClose()
      idle.stream.destroy(new CairnError('CONNECTION_FAILED', 'A connection of the same age was closed.'))
    }
  }

  close(): void {
    this.#closed = true
    for (const origin of this.#idle.keys()) this.dropIdle(origin)
  }
}

/** By the shorter way if the server has one. */
async function connect(host: string, port: number, signal?: AbortSignal): Promise<SocketStream> {
  const path = findLocalSocket(host, port)
  if (path !== undefined) {
    try {
      return await SocketStream.connect({ path }, signal)
    } catch (error) {
      // It may be left from a server that was killed.
      if (signal?.aborted) throw error
    }
  }
  return SocketStream.connect({ host, port }, signal)
}
