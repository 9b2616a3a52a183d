import net from 'node:net'
import { Duplex } from 'node:stream'
import { afterEach, describe, expect, test } from '@jest/globals'
import { deferred } from '../../../../common/flow/deferred.js'
import { SocketStream } from '../../../../common/rpc/http/socket-stream.js'
import { KiB, MiB } from '../../../../common/units.js'
import { dataOf } from '../../../contract/chunk-store.suite.js'

/** A connection without the handle that `onread` needs, as TLS or another runtime would give: only 'data' events are left. */
class EventsOnly extends Duplex {
  readonly #socket: net.Socket

  constructor(socket: net.Socket) {
    super({ allowHalfOpen: true })
    this.#socket = socket
    socket.on('data', (data) => void (this.push(data) || socket.pause()))
    socket.on('end', () => this.push(null))
    socket.on('error', (error) => this.destroy(error))
    socket.on('close', () => this.destroy())
  }

  setNoDelay(): this {
    return this
  }

  override _read(): void {
    this.#socket.resume()
  }

  override _write(bytes: Uint8Array, _encoding: string, done: (error?: Error | null) => void): void {
    this.#socket.write(bytes, done)
  }

  override _final(done: () => void): void {
    this.#socket.end(done)
  }

  override _destroy(error: Error | null, done: (error: Error | null) => void): void {
    this.#socket.destroy()
    done(error)
  }
}

const ways: readonly [string, (socket: net.Socket) => SocketStream][] = [
  ['onread', (socket) => SocketStream.accept(socket)],
  ['events', (socket) => SocketStream.accept(new EventsOnly(socket) as unknown as net.Socket)],
]

describe.each(ways)('a socket read by %s', (_way, accept) => {
  const cleanups: (() => unknown)[] = []

  afterEach(async () => {
    for (const undo of cleanups.splice(0).reverse()) await undo()
  })

  async function connected(): Promise<{ stream: SocketStream; peer: net.Socket }> {
    const accepted = deferred<SocketStream>()
    const server = net.createServer({ pauseOnConnect: true, allowHalfOpen: true }, (socket) => accepted.resolve(accept(socket)))
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
    const peer = net.connect({ port: (server.address() as net.AddressInfo).port, host: '127.0.0.1', allowHalfOpen: true })
    peer.on('error', () => undefined)
    const stream = await accepted.promise
    cleanups.push(() => {
      peer.destroy()
      stream.destroy(new Error('test over'))
      server.close()
    })
    return { stream, peer }
  }

  test.each([1, 100, 20 * KiB, 100 * KiB, MiB, 3 * MiB + 1])(
    'fills targets of %i bytes with what comes, in order',
    async (size) => {
      const { stream, peer } = await connected()
      const data = dataOf(5 * MiB + 7)
      const take = size === 1 ? 5000 : data.length
      peer.end(data)
      const out = new Uint8Array(take)
      for (let at = 0; at < take;) at += await stream.readInto(out.subarray(at, Math.min(at + size, take)))
      expect(Buffer.from(out).equals(data.subarray(0, take))).toBe(true)
      if (take === data.length) expect(await stream.readInto(new Uint8Array(10))).toBe(0)
    },
  )

  test('a target that the other side ends within is filled as far as it came', async () => {
    const { stream, peer } = await connected()
    peer.end('abc')
    const target = new Uint8Array(64 * KiB)
    expect(await stream.readInto(target)).toBe(3)
    expect(Buffer.from(target.subarray(0, 3)).toString()).toBe('abc')
    expect(await stream.readInto(target)).toBe(0)
  })

  test('a target of nothing needs nothing', async () => {
    const { stream } = await connected()
    expect(await stream.readInto(new Uint8Array(0))).toBe(0)
  })

  test('a head ends where it ends, and what follows is read next', async () => {
    const { stream, peer } = await connected()
    peer.write('GET / HTTP/1.1\r\n')
    const head = stream.readHead()
    setTimeout(() => peer.end('a: b\r\n\r\nbodyGET 2\r\n\r\n'), 20)
    expect(Buffer.from((await head) ?? []).toString()).toBe('GET / HTTP/1.1\r\na: b\r\n\r\n')
    const body = new Uint8Array(4)
    await stream.readInto(body)
    expect(Buffer.from(body).toString()).toBe('body')
    expect(Buffer.from((await stream.readHead()) ?? []).toString()).toBe('GET 2\r\n\r\n')
    expect(await stream.readHead()).toBeUndefined()
  })

  test('nobody reads: the peer is held back', async () => {
    const { stream, peer } = await connected()
    peer.write('a\r\n\r\n')
    await stream.readHead()
    const data = new Uint8Array(64 * MiB)
    peer.end(data)
    for (let last = -1; last !== peer.writableLength || last === 0; last = peer.writableLength) {
      await new Promise((resolve) => setTimeout(resolve, 100))
    }
    expect(peer.writableLength).toBeGreaterThan(0)
    const target = new Uint8Array(MiB)
    let total = 0
    for (let count = 1; count > 0; total += count) count = await stream.readInto(target)
    expect(total).toBe(data.length)
  })

  test('a reset fails the pending read with CONNECTION_FAILED, and destroy with its reason', async () => {
    const first = await connected()
    const reading = first.stream.readInto(new Uint8Array(MiB))
    first.peer.resetAndDestroy()
    await expect(reading).rejects.toMatchObject({ code: 'CONNECTION_FAILED', data: { systemCode: 'ECONNRESET' } })
    const second = await connected()
    const reason = new Error('enough')
    const pending = second.stream.readInto(new Uint8Array(MiB))
    second.stream.destroy(reason)
    await expect(pending).rejects.toBe(reason)
    await expect(second.stream.write(new Uint8Array(1))).rejects.toBe(reason)
    await expect(second.stream.readInto(new Uint8Array(1))).rejects.toBe(reason)
  })

  test('watched while nobody reads, an end is noticed; bytes are kept for the next read', async () => {
    const { stream, peer } = await connected()
    peer.write('head\r\n\r\n')
    await stream.readHead()
    stream.watch()
    const ended = new Promise<void>((resolve) => stream.socket.once('end', () => resolve()))
    peer.end()
    await ended
    expect(stream.destroyed).toBe(true)
    const other = await connected()
    other.peer.write('head\r\n\r\n')
    await other.stream.readHead()
    other.stream.watch()
    other.peer.write('early')
    while (!other.stream.hasUnread) await new Promise((resolve) => setTimeout(resolve, 5))
    const target = new Uint8Array(5)
    await other.stream.readInto(target)
    expect(Buffer.from(target).toString()).toBe('early')
  })

  test('progress changes while a large write drains', async () => {
    const { stream, peer } = await connected()
    peer.pause()
    const writing = stream.write(new Uint8Array(32 * MiB))
    const before = stream.progress
    peer.once('data', () => undefined)
    peer.resume()
    await writing
    expect(stream.progress).not.toBe(before)
  })
})
