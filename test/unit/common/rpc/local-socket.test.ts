/** The shorter way between processes of one machine: taken where there is one, and never missed where there is none. */
import net from 'node:net'
import { chmodSync, existsSync, statSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { expect, test } from '@jest/globals'
import { ConnectionPool } from '../../../../common/rpc/http/connection-pool.js'
import { listenHttp } from '../../../../common/rpc/http/http-server.js'
import { findLocalSocket, localSocketPath } from '../../../../common/rpc/http/local-socket.js'
import type { OutgoingResponse } from '../../../../common/rpc/transport.js'

const HOST = '127.0.0.1'
const EMPTY: OutgoingResponse = { status: 200, headers: {}, body: new Uint8Array(0) }
const serve = (port = 0): ReturnType<typeof listenHttp> => listenHttp({ host: HOST, port }, async () => EMPTY)

/** By which way a connection to an origin goes. */
async function wayTo(origin: string): Promise<'local' | 'tcp'> {
  const pool = new ConnectionPool()
  const { stream } = await pool.take(origin)
  const way = stream.socket.remoteAddress === undefined ? 'local' : 'tcp'
  stream.destroy(new Error('enough'))
  pool.close()
  return way
}

const portOf = (url: string): number => Number(new URL(url).port)

test('a server on 127.0.0.1 is reached by its socket, which goes with it', async () => {
  const server = await serve()
  const file = findLocalSocket(HOST, portOf(server.url)) as string
  expect(await wayTo(server.url)).toBe('local')
  await server.close()
  expect(existsSync(file)).toBe(false)
  await expect(wayTo(server.url)).rejects.toMatchObject({ code: 'CONNECTION_FAILED' })
})

test('nobody else may enter the folder, also when it was left open', async () => {
  await using server = await serve()
  const folder = path.dirname(findLocalSocket(HOST, portOf(server.url)) as string)
  expect(statSync(folder).mode & 0o777).toBe(0o700)
  expect(statSync(path.dirname(folder)).mode & 0o777).toBe(0o700)
})

test('what a killed server has left is no obstacle: TCP serves, and the next server takes the name', async () => {
  const plain = net.createServer((socket) => socket.end())
  await new Promise<void>((resolve) => plain.listen(0, HOST, resolve))
  const { port } = plain.address() as net.AddressInfo
  const file = localSocketPath(HOST, port) as string
  writeFileSync(file, '')
  expect(await wayTo(`http://${HOST}:${port}`)).toBe('tcp')
  await new Promise((resolve) => plain.close(resolve))
  await using server = await serve(port)
  expect(await wayTo(server.url)).toBe('local')
})

test('a socket that cannot be entered is passed by', async () => {
  await using server = await serve()
  const file = findLocalSocket(HOST, portOf(server.url)) as string
  chmodSync(file, 0)
  // The administrator may enter everything.
  expect(await wayTo(server.url)).toBe(process.getuid?.() === 0 ? 'local' : 'tcp')
})

test('other addresses have none: they may be those of a proxy or of another machine', () => {
  for (const host of ['127.0.0.2', '::1', 'localhost', '10.0.0.1', '0.0.0.0']) expect(localSocketPath(host, 9000)).toBeUndefined()
})
