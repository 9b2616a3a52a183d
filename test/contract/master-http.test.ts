/** Ordinary requests reach the master's routes straight from Node's HTTP server, all others by way of Express: nobody can tell which. */
import { afterAll, beforeAll, expect, test } from '@jest/globals'
import http from 'node:http'
import type { AddressInfo } from 'node:net'
import { gzipSync } from 'node:zlib'
import { VirtualClock } from '../../common/clock/virtual-clock.js'
import { silentLogger } from '../../common/observe/logger.js'
import { SeededRandom } from '../../common/random/seeded-random.js'
import { Master, masterRoutes, openMemoryStore } from '../../master/index.js'
import { masterApp } from '../../master/api/express-app.js'
import { masterListener } from '../../master/api/listener.js'

const TOKEN = 'a-token'

interface Asked {
  readonly method?: string
  readonly path: string
  readonly headers?: Readonly<Record<string, string>>
  readonly body?: string | Buffer
  /** In pieces, without a length. */
  readonly chunked?: boolean
}

class Server {
  readonly #server: http.Server
  readonly #master: Master

  private constructor(server: http.Server, master: Master) {
    this.#server = server
    this.#master = master
  }

  /** Equal seeds and a clock that stands still: two servers that are asked the same have the same to say. */
  static async start(listenerOf: (master: Master) => http.RequestListener): Promise<Server> {
    const clock = new VirtualClock()
    const store = await openMemoryStore(clock, new SeededRandom(1))
    const tokens = [{ name: 'root', token: TOKEN, scopes: ['admin'] }]
    const master = await Master.open({ clock, random: new SeededRandom(2), log: silentLogger, store, tokens })
    const server = http.createServer(listenerOf(master))
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
    return new Server(server, master)
  }

  ask({ method = 'GET', path, headers = {}, body, chunked = false }: Asked): Promise<unknown> {
    const { port } = this.#server.address() as AddressInfo
    const length = body === undefined || chunked ? {} : { 'content-length': Buffer.byteLength(body) }
    const sent = { authorization: `Bearer ${TOKEN}`, 'x-request-id': 'r', ...length, ...headers }
    return new Promise((resolve, reject) => {
      const request = http.request({ host: '127.0.0.1', port, method, path, headers: sent, agent: false }, (response) => {
        let text = ''
        response.on('data', (piece: Buffer) => (text += piece.toString()))
        response.on('end', () => {
          const { date: _date, ...rest } = response.headers
          resolve({ status: response.statusCode, headers: rest, text })
        })
      })
      request.on('error', reject)
      if (chunked) request.write(body)
      request.end(chunked ? undefined : body)
    })
  }

  async close(): Promise<void> {
    await new Promise((resolve) => this.#server.close(resolve))
    await this.#master.close()
  }
}

let bare: Server
let express: Server

beforeAll(async () => {
  bare = await Server.start(masterListener)
  express = await Server.start((master) => masterApp(master, masterRoutes(master)) as http.RequestListener)
})

afterAll(async () => {
  await bare.close()
  await express.close()
})

const JSON_TYPE = { 'content-type': 'application/json' }
const opening = JSON.stringify({
  path: '/b/ü/file',
  sizeBytes: 0,
  fingerprint: null,
  owner: 'me',
  adoption: { kind: 'none' },
})
const upload = (headers: Record<string, string>, more: Partial<Asked> = {}): Asked => ({
  method: 'POST',
  path: '/v1/uploads',
  headers,
  body: opening,
  ...more,
})

const batch = (requests: readonly object[]): Asked => ({
  method: 'POST',
  path: '/v1/batch',
  headers: JSON_TYPE,
  body: JSON.stringify({ requests }),
})

const ASKED: readonly Asked[] = [
  // Ordinary.
  { path: '/v1/files/b/no/such%20file' },
  { path: '/v1/files/b/f', headers: { authorization: 'Bearer wrong' } },
  { path: '/v1/listings?prefix=/b/&limit=10' },
  { path: '/v1/listings?prefix=%2Fb%2F&delimiter=%2F' },
  { path: '/v1/listings?prefix=/b/&limit=0' },
  { path: '/v1/listings?prefix=/b/&prefix=/c/' },
  { path: '/v1/listings?prefix=%zz' },
  { path: '/v1/listings?' },
  { path: '/v1/buckets/b' },
  { path: '/v1/buckets', headers: { 'x-request-id': 'bad id\u00e9' } },
  upload(JSON_TYPE, { headers: { ...JSON_TYPE, 'x-request-id': 'one' } }),
  upload(JSON_TYPE, { headers: { ...JSON_TYPE, 'x-request-id': 'one' } }),
  upload({ 'content-type': 'Application/JSON; charset=UTF-8', 'x-request-id': 'two' }),
  upload(JSON_TYPE, { headers: { ...JSON_TYPE, 'if-none-match': 'nonsense', 'x-request-id': 'three' } }),
  { path: '/v1/uploads' },
  { method: 'PUT', path: '/v1/buckets/c%2Fd', headers: JSON_TYPE, body: '{}' },
  { method: 'PUT', path: '/v1/buckets/c', headers: { ...JSON_TYPE, 'x-request-id': 'four' }, body: '{"replicas":2}' },
  { method: 'DELETE', path: '/v1/files/b/f?purge=true', headers: { 'x-request-id': 'five' } },
  { method: 'DELETE', path: '/v1/files/b/f?purge=maybe' },
  { method: 'POST', path: '/v1/metadata/accept', headers: { 'content-length': '0' } },
  batch([{ endpoint: 'getFile', params: { bucket: 'b', key: 'no/such file' } }]),
  batch([
    { endpoint: 'openUpload', requestId: 'six', body: JSON.parse(opening) as unknown },
    { endpoint: 'getFile', params: {} },
  ]),
  batch([{ endpoint: 'openUpload', requestId: 'six', body: JSON.parse(opening) as unknown }]),
  batch([{ endpoint: 'deleteFile' }]),
  batch([]),
  {
    ...batch([{ endpoint: 'getFile', params: { bucket: 'b', key: 'f' } }]),
    headers: { ...JSON_TYPE, authorization: 'Bearer wrong' },
  },
  // Not so ordinary.
  { path: '/' },
  { path: '/nowhere?a=b' },
  { path: '/v1/files/b' },
  { path: '/v1/files/b/' },
  { path: '/v1/files/b/f/' },
  { path: '/v1/files/b//f' },
  { path: '/v1/files//f' },
  { path: '/v1/files/b/../f' },
  { path: '/v1/files/b/%2e%2e/f' },
  { path: '/v1/files/b/%E0%A4' },
  { path: '/v1/files/%zz/f' },
  { path: '/v1/buckets/b/' },
  { path: '/V1/Buckets/b' },
  { path: '/v1/buckets/b#fragment' },
  { path: 'http://elsewhere/v1/buckets/b' },
  { path: '//v1/buckets/b' },
  { method: 'HEAD', path: '/v1/files/b/f' },
  { method: 'HEAD', path: '/livez' },
  { method: 'OPTIONS', path: '/v1/uploads' },
  { method: 'PATCH', path: '/v1/uploads', headers: JSON_TYPE, body: '{}' },
  { method: 'POST', path: '/livez' },
  { path: '/livez' },
  { path: '/livez?x' },
  { path: '/readyz' },
  { path: '/readyz/' },
  // Bodies.
  upload(JSON_TYPE, { body: '{"path":' }),
  upload(JSON_TYPE, { body: '"text"' }),
  upload(JSON_TYPE, { body: '\uFEFF{}' }),
  upload(JSON_TYPE, { body: Buffer.from([0x7b, 0x22, 0xff, 0x22, 0x3a, 0x31, 0x7d]) }),
  upload(JSON_TYPE, { body: '' }),
  upload({}, { body: '' }),
  upload({}),
  upload({ 'content-type': 'text/plain' }),
  upload({ 'content-type': 'application/json; charset=latin1' }),
  upload({ 'content-type': 'application/vnd.api+json' }),
  upload({ ...JSON_TYPE, 'x-request-id': 'six' }, { chunked: true }),
  upload({ ...JSON_TYPE, 'content-encoding': 'gzip', 'x-request-id': 'seven' }, { body: gzipSync(opening) }),
  upload({ ...JSON_TYPE, 'content-encoding': 'gzip' }),
  upload(JSON_TYPE, { body: `"${'x'.repeat(16 * 1024 * 1024)}"` }),
  { path: '/v1/buckets/b', headers: JSON_TYPE, body: '{}' },
]

test.each(ASKED.map((asked, index) => ({ name: `${index}: ${asked.method ?? 'GET'} ${asked.path}`, asked })))(
  '$name is answered as Express answers it',
  async ({ asked }) => {
    expect(await bare.ask(asked)).toEqual(await express.ask(asked))
  },
)

test('the OpenAPI document and the metrics are served', async () => {
  expect(await bare.ask({ path: '/v1/openapi.json' })).toEqual(await express.ask({ path: '/v1/openapi.json' }))
  expect(await bare.ask({ path: '/metrics' })).toMatchObject({
    status: 200,
    headers: { 'content-type': expect.stringContaining('text/plain') },
    text: expect.stringContaining('cairn_master_requests_total{endpoint="listFiles",status="200"}'),
  })
})
