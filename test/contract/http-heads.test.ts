/** Heads that no sound peer sends: they must neither pass nor leave anything held. */
import { expect, test } from '@jest/globals'
import net from 'node:net'
import { listenHttp } from '../../common/rpc/http/http-server.js'
import type { Listener, OutgoingResponse } from '../../common/rpc/transport.js'

/** Sends raw bytes. @returns all that comes back */
function ask(listener: Listener, text: string): Promise<string> {
  const { hostname, port } = new URL(listener.url)
  return new Promise((resolve, reject) => {
    const socket = net.connect(Number(port), hostname, () => socket.end(text, 'latin1'))
    let answer = ''
    socket.on('data', (data) => (answer += data.toString('latin1')))
    socket.on('error', reject)
    socket.on('close', () => resolve(answer))
  })
}

test.each(['\n', '\0', '\r'])('a header value with a control character (%j) is refused', async (control) => {
  let served = 0
  await using listener = await listenHttp({ host: '127.0.0.1', port: 0 }, async () => {
    served += 1
    return { status: 200 }
  })
  const answer = await ask(listener, `GET /x HTTP/1.1\r\nhost: h\r\nx-request-id: a${control}b: c\r\n\r\n`)
  expect(answer).toMatch(/^HTTP\/1\.1 400 /)
  expect(served).toBe(0)
})

test('a body whose head cannot be sent is let go of', async () => {
  let discarded = 0
  const response: OutgoingResponse = {
    status: 200,
    headers: { 'x-bad': 'a\nb' },
    body: {
      contentLength: 5,
      produce: () => Promise.reject(new Error('nobody can want this')),
      discard: async () => void (discarded += 1),
    },
  }
  await using listener = await listenHttp({ host: '127.0.0.1', port: 0 }, async () => response)
  expect(await ask(listener, 'GET /x HTTP/1.1\r\nhost: h\r\n\r\n')).toBe('')
  expect(discarded).toBe(1)
})
