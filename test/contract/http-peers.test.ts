/** The HTTP transport against peers that are not ours: raw sockets that send what no Cairn process would. */
import net from 'node:net'
import { afterEach, describe, expect, test } from '@jest/globals'
import { readAll } from '../../common/rpc/byte-pipe.js'
import { HEAD_BYTES_MAX } from '../../common/rpc/http/head.js'
import { HttpTransport } from '../../common/rpc/http/http-transport.js'
import type { Exchange, ExchangeRequest, RequestHandler } from '../../common/rpc/transport.js'
import { KiB, MiB } from '../../common/units.js'
import { dataOf } from './chunk-store.suite.js'
import { echo, failsWith, PATIENT_MS, receive, streamOf, until } from './transport-fixture.js'

const cleanups: (() => unknown)[] = []

afterEach(async () => {
  for (const undo of cleanups.splice(0).reverse()) await undo()
})

function newTransport(): HttpTransport {
  const transport = new HttpTransport()
  cleanups.push(() => transport.close())
  return transport
}

/** A server of ours. */
async function listen(handler: RequestHandler): Promise<{ url: string; port: number }> {
  const listener = await newTransport().listen({ host: '127.0.0.1', port: 0 }, handler)
  cleanups.push(() => listener.close())
  return { url: listener.url, port: Number(new URL(listener.url).port) }
}

/** A server that does as it pleases with each connection. */
async function rawServer(onConnection: (socket: net.Socket, count: number) => void): Promise<string> {
  const sockets = new Set<net.Socket>()
  const server = net.createServer((socket) => {
    sockets.add(socket.on('error', () => undefined))
    onConnection(socket, sockets.size)
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  cleanups.push(() => {
    for (const socket of sockets) socket.destroy()
    server.close()
  })
  return `http://127.0.0.1:${(server.address() as net.AddressInfo).port}`
}

interface RawClient {
  readonly socket: net.Socket
  readonly received: () => string
  readonly ended: () => boolean
}

function rawClient(port: number, options: { readonly allowHalfOpen?: boolean } = {}): RawClient {
  let received = ''
  let ended = false
  const socket = net.connect({ port, host: '127.0.0.1', ...options })
  socket.on('data', (data) => (received += data.toString('latin1')))
  socket.on('error', () => undefined)
  socket.on('end', () => (ended = true)).on('close', () => (ended = true))
  cleanups.push(() => socket.destroy())
  return { socket, received: () => received, ended: () => ended }
}

function exchange(url: string, options: Partial<ExchangeRequest> = {}, transport = newTransport()): Exchange {
  return transport.exchange({ method: 'GET', url, contentLength: 0, stallTimeoutMs: PATIENT_MS, ...options })
}

const answers = (text: string) => (socket: net.Socket) => void socket.once('data', () => socket.end(text, 'latin1'))

describe('a client of ours, with a server that', () => {
  const OVERLONG = `HTTP/1.1 200 OK\r\nx: ${'a'.repeat(HEAD_BYTES_MAX)}\r\ncontent-length: 0\r\n\r\n`
  test.each([
    ['sends garbage', 'SSH-2.0-OpenSSH_9.6\r\n\r\n', 'PROTOCOL_ERROR'],
    ['sends garbage without an end', 'garbage', 'CONNECTION_FAILED'],
    ['closes without a word', '', 'CONNECTION_FAILED'],
    ['closes within its head', 'HTTP/1.1 200 OK\r\ncontent-le', 'CONNECTION_FAILED'],
    ['sends too large a head', OVERLONG, 'PROTOCOL_ERROR'],
    ['sends two lengths', 'HTTP/1.1 200 OK\r\ncontent-length: 3\r\ncontent-length: 4\r\n\r\nabcd', 'PROTOCOL_ERROR'],
    ['sends a negative length', 'HTTP/1.1 200 OK\r\ncontent-length: -3\r\n\r\nabc', 'PROTOCOL_ERROR'],
    ['sends no length', 'HTTP/1.1 200 OK\r\n\r\nabc', 'PROTOCOL_ERROR'],
    ['sends chunks', 'HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n', 'PROTOCOL_ERROR'],
    ['speaks another version', 'HTTP/2 200\r\ncontent-length: 0\r\n\r\n', 'PROTOCOL_ERROR'],
    ['folds its headers', 'HTTP/1.1 200 OK\r\nx: a\r\n b\r\ncontent-length: 0\r\n\r\n', 'PROTOCOL_ERROR'],
    ['hides a line end in a header', 'HTTP/1.1 200 OK\r\nx: a\ncontent-length: 9\r\ncontent-length: 0\r\n\r\n', 'PROTOCOL_ERROR'],
  ])('%s', async (_what, text, code) => {
    const url = await rawServer(answers(text))
    await expect(exchange(url).response).rejects.toEqual(failsWith(code))
  })

  test('sends fewer bytes than it announced', async () => {
    const url = await rawServer(answers('HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nabc'))
    await expect(receive(await exchange(url).response)).rejects.toEqual(failsWith('CONNECTION_FAILED'))
  })

  test('sends more than it announced: the rest is not taken for the next answer', async () => {
    const url = await rawServer((socket, count) => {
      const good = `HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\n${count}`
      socket.on('data', () => socket.write(count === 1 ? `${good}HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\nX` : good))
    })
    const transport = newTransport()
    for (const expected of ['1', '2', '2']) {
      const body = await receive(await exchange(url, {}, transport).response)
      expect(Buffer.from(body).toString()).toBe(expected)
    }
  })

  test('sends an answer that nobody asked for while idle: it is not taken for the next one', async () => {
    const sockets: net.Socket[] = []
    const url = await rawServer((socket, count) => {
      sockets.push(socket)
      socket.on('data', () => socket.write(`HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\n${count}`))
    })
    const transport = newTransport()
    await receive(await exchange(url, {}, transport).response)
    await new Promise<void>((resolve) => sockets[0]?.write('HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\nX', () => resolve()))
    await new Promise((resolve) => setTimeout(resolve, 50))
    expect(Buffer.from(await receive(await exchange(url, {}, transport).response)).toString()).toBe('2')
  })

  test('closed the idle connection meanwhile: the request goes out on a new one', async () => {
    const url = await rawServer((socket, count) => {
      let requests = 0
      socket.on('data', () => {
        requests += 1
        // The first connection dies at its second request, before a byte of the answer.
        if (count === 1 && requests === 2) socket.destroy()
        else socket.write(`HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\n${count}`)
      })
    })
    const transport = newTransport()
    for (const expected of ['1', '2']) {
      const body = await receive(await exchange(url, {}, transport).response)
      expect(Buffer.from(body).toString()).toBe(expected)
    }
  })

  test('dies after its go-ahead on a reused connection: a failure at once, or a new connection, never a stall', async () => {
    let bodies = 0
    const url = await rawServer((socket, count) => {
      let requests = 0
      socket.on('data', (data) => {
        requests += 1
        if (count === 1 && requests === 2) socket.end('HTTP/1.1 100 Continue\r\n\r\n')
        else if (data.includes('expect: 100')) socket.write('HTTP/1.1 100 Continue\r\n\r\n')
        else {
          bodies += 1
          socket.write('HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n')
        }
      })
    })
    const transport = newTransport()
    await exchange(url, {}, transport).response
    const upload = exchange(url, { method: 'PUT', contentLength: 3, expectContinue: true }, transport)
    await upload.ready
    await new Promise((resolve) => setTimeout(resolve, 50))
    const outcome = await upload.write(new Uint8Array(3)).then(
      () => upload.response.then((response) => response.status),
      (error: unknown) => error,
    )
    expect([200, failsWith('CONNECTION_FAILED')]).toContainEqual(outcome)
    expect(bodies).toBe(outcome === 200 ? 2 : 1)
  })

  test('takes a large piece slowly but steadily: that is no stall', async () => {
    const total = 64 * MiB
    const url = await rawServer((socket) => {
      let received = 0
      socket.on('data', (data: Buffer) => {
        received += data.length
        socket.pause()
        setTimeout(() => socket.resume(), 2)
        if (received >= total) socket.end('HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n')
      })
    })
    const upload = exchange(url, { method: 'PUT', contentLength: total, stallTimeoutMs: 1000 })
    await upload.write(new Uint8Array(total))
    expect((await upload.response).status).toBe(200)
  })

  test('says nothing to a call, or something else than HTTP, is told apart', async () => {
    const call = (url: string) => newTransport().call({ method: 'GET', url, timeoutMs: PATIENT_MS })
    await expect(call(await rawServer(answers('SSH-2.0\r\n\r\n')))).rejects.toEqual(failsWith('PROTOCOL_ERROR'))
    await expect(call(await rawServer(answers('')))).rejects.toEqual(failsWith('CONNECTION_FAILED'))
    const short = 'HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nabc'
    await expect(call(await rawServer(answers(short)))).rejects.toEqual(failsWith('CONNECTION_FAILED'))
  })

  test.each([
    ['a header value with a line end', { headers: { x: 'a\r\nb: c' } }],
    ['a header value whose eight low bits are a line end', { headers: { x: 'a\u010d\u010ab: c' } }],
    ['a header name with a space', { headers: { 'x y': 'a' } }],
  ])('never sees %s', async (_what, options) => {
    const url = await rawServer(() => undefined)
    await expect(exchange(url, options).response).rejects.toEqual(failsWith('PROTOCOL_ERROR'))
    await expect(exchange(`${url}/a b\r\nc: d`).response).rejects.toEqual(failsWith('PROTOCOL_ERROR'))
  })
})

describe('a server of ours, with a client that', () => {
  const request = (text: string): string => text.replaceAll('\n', '\r\n')

  test.each([
    ['sends garbage', 'garbage\n\n', '400'],
    ['asks for no path', 'GET http://x/ HTTP/1.1\n\n', '400'],
    ['sends chunks', 'PUT / HTTP/1.1\ntransfer-encoding: chunked\n\n0\n\n', '411'],
    ['sends two lengths', 'PUT / HTTP/1.1\ncontent-length: 1\ncontent-length: 2\n\nab', '400'],
    ['sends a length that is no number', 'PUT / HTTP/1.1\ncontent-length: 1e3\n\n', '400'],
    ['has a space before its colon', 'PUT / HTTP/1.1\ncontent-length : 5\n\n', '400'],
  ])('%s, gets an answer that says so, and the connection ends', async (_what, text, status) => {
    let served = 0
    const { port } = await listen(async () => {
      served += 1
      return { status: 200 }
    })
    const client = rawClient(port)
    client.socket.write(request(text))
    await until('the end', client.ended)
    expect(client.received()).toMatch(new RegExp(`^HTTP/1.1 ${status} `))
    expect(served).toBe(0)
  })

  test.each([1, HEAD_BYTES_MAX])('sends a head that never ends, in pieces of %i bytes at first, is cut off', async (bytes) => {
    const { port } = await listen(echo)
    const client = rawClient(port)
    client.socket.write(`GET / HTTP/1.1\r\nx: ${'a'.repeat(bytes)}`)
    client.socket.write('b'.repeat(2 * HEAD_BYTES_MAX))
    await until('the end', client.ended)
  })

  test('leaves within its head or its body, disturbs no other', async () => {
    const outcomes: unknown[] = []
    const { url, port } = await listen(async (incoming) => {
      const read = readAll(incoming.body, incoming.contentLength)
      await read.catch((error: unknown) => outcomes.push(error))
      return streamOf(await read)
    })
    rawClient(port).socket.end('GET / HT')
    rawClient(port).socket.end('PUT / HTTP/1.1\r\ncontent-length: 10\r\n\r\nabc')
    await until('the handler fails', () => outcomes.length === 1)
    expect(outcomes[0]).toEqual(failsWith('CONNECTION_FAILED'))
    expect((await exchange(url).response).status).toBe(200)
  })

  test('sends several requests at once gets the answers in order', async () => {
    const { port } = await listen(async (incoming) => {
      if (incoming.path === '/1') await new Promise((resolve) => setTimeout(resolve, 30))
      const body = await readAll(incoming.body, incoming.contentLength)
      return { status: 200, body: Buffer.concat([Buffer.from(incoming.path), body]) }
    })
    const client = rawClient(port)
    client.socket.write(
      'PUT /1 HTTP/1.1\r\ncontent-length: 2\r\n\r\nabGET /2 HTTP/1.1\r\n\r\nPUT /3 HTTP/1.1\r\ncontent-length: 1\r\n\r\nc',
    )
    await until('three answers', () => client.received().endsWith('/3c'))
    const answersSeen = client.received().split('HTTP/1.1 200 OK').slice(1)
    expect(answersSeen.map((answer) => answer.split('\r\n\r\n')[1])).toEqual(['/1ab', '/2', '/3c'])
  })

  test('sends its head byte by byte is served', async () => {
    const { port } = await listen(echo)
    const client = rawClient(port)
    client.socket.setNoDelay(true)
    for (const byte of 'PUT / HTTP/1.1\r\ncontent-length: 3\r\n\r\nabc') {
      client.socket.write(byte)
      await new Promise((resolve) => setImmediate(resolve))
    }
    await until('the answer', () => client.received().endsWith('\r\n\r\nabc'))
  })

  test('keeps its end open after the last answer is let go of all the same', async () => {
    const { port } = await listen(async () => ({ status: 200 }))
    const client = rawClient(port, { allowHalfOpen: true })
    let closed = false
    client.socket.on('error', () => (closed = true))
    client.socket.write('GET / HTTP/1.1\r\nconnection: close\r\n\r\n')
    await until('the end of the answer', client.ended)
    // A socket that the server still holds takes bytes for ever; one it has closed answers them with a reset.
    const poke = setInterval(() => client.socket.write('x'), 20)
    cleanups.push(() => clearInterval(poke))
    await until('the reset', () => closed)
  })

  test('did not ask for a go-ahead is not sent one', async () => {
    const { port } = await listen(async (incoming) => {
      incoming.interim(100)
      return echo(incoming)
    })
    const client = rawClient(port)
    client.socket.write('PUT / HTTP/1.1\r\ncontent-length: 1\r\n\r\na')
    await until('the answer', () => client.received().endsWith('a'))
    expect(client.received()).toMatch(/^HTTP\/1.1 200/)
  })

  test('asks for 304 or 204 gets no body that could be taken for the next answer', async () => {
    const { port } = await listen(async (incoming) => ({ status: Number(incoming.path.slice(1)), body: Buffer.from('body') }))
    const client = rawClient(port)
    client.socket.write('GET /304 HTTP/1.1\r\n\r\nGET /204 HTTP/1.1\r\n\r\nGET /200 HTTP/1.1\r\n\r\n')
    await until('all answers', () => client.received().endsWith('body'))
    expect(client.received().match(/body/g)).toHaveLength(1)
  })

  test('reuses its connection after an error answer', async () => {
    const ports = new Set<string>()
    const { url } = await listen(async (incoming) => {
      ports.add(incoming.headers['x-n'] ?? '')
      if (incoming.path === '/bad') throw new Error('accident')
      return echo(incoming)
    })
    const transport = newTransport()
    const body = dataOf(64 * KiB)
    for (let round = 0; round < 4; round += 1) {
      expect((await receive(await exchange(`${url}/bad`, {}, transport).response)).length).toBeGreaterThan(0)
      const upload = exchange(url, { method: 'PUT', contentLength: body.length }, transport)
      await upload.write(body)
      expect(Buffer.from(await receive(await upload.response)).equals(body)).toBe(true)
    }
  })
})
