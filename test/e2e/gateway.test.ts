/** Files go in and out of the gateway with curl and wget: every way to send one, odd names, conditions, errors. */
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals'
import { createHash } from 'node:crypto'
import { createReadStream, readFileSync, writeFileSync } from 'node:fs'
import { KiB, MiB } from '../../common/units.js'
import { randomFile, sha256, TestCluster } from '../support/cluster.js'
import { GatewayUser, rawExchange } from '../support/programs.js'

let cluster: TestCluster
let user: GatewayUser
let source: string
let sum: string
const SIZE_BYTES = 5 * MiB + 77

beforeAll(async () => {
  cluster = await TestCluster.start({ chunkservers: 3 })
  user = new GatewayUser(cluster)
  source = cluster.file('source')
  sum = await randomFile(source, SIZE_BYTES)
})

afterAll(async () => {
  await cluster[Symbol.asyncDispose]()
})

const sumOf = (bytes: Buffer): string => createHash('sha256').update(bytes).digest('hex')
const chunked = (path: string): string => `${user.url(path)}?chunk-size=256KiB`

async function expectContent(path: string, expected = sum): Promise<void> {
  const got = await user.curl(user.url(path))
  expect(got).toMatchObject({ code: 0, status: 200 })
  expect(got.headers['content-length']).toBe(String(got.body.length))
  expect(sumOf(got.body)).toBe(expected)
}

describe('sending', () => {
  test('curl -T file: 201 the first time, 200 for the next generation, with its entity tag', async () => {
    const first = await user.curl('-T', source, chunked('/put/known'))
    expect(first).toMatchObject({ code: 0, status: 201, json: { path: '/put/known', generation: 1, sizeBytes: SIZE_BYTES } })
    expect(first.json.checksum).toMatch(/^xxh64-tree:[0-9a-f]{16}$/)
    expect(first.heads).toContain('100 Continue')
    await expectContent('/put/known')
    const head = await user.curl('-I', user.url('/put/known'))
    expect(head.headers).toMatchObject({
      etag: first.headers['etag'],
      'content-length': String(SIZE_BYTES),
      'accept-ranges': 'bytes',
      'content-type': 'application/octet-stream',
    })
    expect(Math.abs(Date.parse(head.headers['last-modified'] ?? '') - Date.now())).toBeLessThan(120_000)
    expect(await user.curl('-T', source, user.url('/put/known'))).toMatchObject({ status: 200, json: { generation: 2 } })
    // What the gateway wrote, every other client reads.
    await cluster.ok('get', '/put/known', cluster.file('by-cli'))
    expect(await sha256(cluster.file('by-cli'))).toBe(sum)
  })

  test('curl -T -: chunked transfer encoding, of a length nobody knows', async () => {
    const put = await user.beginCurl(['-T', '-', chunked('/put/stream')], { input: createReadStream(source) }).done
    expect(put).toMatchObject({ code: 0, status: 201, json: { sizeBytes: SIZE_BYTES } })
    await expectContent('/put/stream')
  })

  test('without Expect, over HTTP/1.0, and with exactly one chunk', async () => {
    expect((await user.curl('-H', 'Expect:', '-T', source, user.url('/put/plain'))).status).toBe(201)
    await expectContent('/put/plain')
    expect((await user.curl('-0', '-T', source, user.url('/put/old'))).status).toBe(201)
    const old = await user.curl('-0', user.url('/put/old'))
    expect(old.headers['connection']).toBe('close')
    expect(sumOf(old.body)).toBe(sum)
    const one = cluster.file('one-chunk')
    const oneSum = await randomFile(one, 256 * KiB)
    expect((await user.curl('-T', one, chunked('/put/one'))).status).toBe(201)
    await expectContent('/put/one', oneSum)
  })

  test('an empty file, by PUT, by form and as an empty stream', async () => {
    const empty = cluster.file('empty')
    writeFileSync(empty, '')
    expect((await user.curl('-T', empty, user.url('/put/empty'))).json).toMatchObject({ sizeBytes: 0 })
    expect((await user.curl('-F', `file=@${empty}`, user.url('/put/empty-form'))).json).toMatchObject({ sizeBytes: 0 })
    const stream = user.beginCurl(['-T', '-', user.url('/put/empty-stream')], { input: Buffer.alloc(0) })
    expect((await stream.done).json).toMatchObject({ sizeBytes: 0 })
    for (const name of ['empty', 'empty-form', 'empty-stream'])
      expect(await user.curl(user.url(`/put/${name}`))).toMatchObject({ status: 200, headers: { 'content-length': '0' } })
    expect((await user.curl('-r', '0-', user.url('/put/empty'))).status).toBe(200)
  })

  test('several requests over one connection', async () => {
    const targets = [1, 2, 3].flatMap((n) => ['-T', source, user.url(`/keep/${n}`)])
    const put = await user.beginCurl([...targets, '-v', '-o', '/dev/null', '-o', '/dev/null', '-o', '/dev/null']).done
    expect(put.code).toBe(0)
    expect(put.stderr.match(/Re-using existing connection/g)).toHaveLength(2)
    for (const n of [1, 2, 3]) await expectContent(`/keep/${n}`)
  })
})

describe('forms', () => {
  test('curl -F to a bucket takes the name from the form, after the prefix', async () => {
    const posted = await user.curl('-F', `file=@${source};filename=dir/name.bin`, `${user.bucketUrl('form')}?prefix=a/b/`)
    expect(posted).toMatchObject({ status: 201, json: { files: [{ path: '/form/a/b/name.bin', sizeBytes: SIZE_BYTES }] } })
    await expectContent('/form/a/b/name.bin')
  })

  test('curl -F to a key, with fields before and after the file', async () => {
    const posted = await user.curl('-F', 'note=hello', '-F', `file=@${source}`, '-F', 'more=x', chunked('/form/key'))
    expect(posted).toMatchObject({ status: 201, json: { path: '/form/key', generation: 1, sizeBytes: SIZE_BYTES } })
    expect(posted.headers['etag']).toBe((await user.curl('-I', user.url('/form/key'))).headers['etag'])
    await expectContent('/form/key')
  })

  test('several files in one form', async () => {
    const files = await Promise.all(
      [1, 2, 3, 4].map(async (n) => ({
        file: cluster.file(`many-${n}`),
        sum: await randomFile(cluster.file(`many-${n}`), n * 700_001),
      })),
    )
    const posted = await user.curl(...files.flatMap(({ file }) => ['-F', `files=@${file}`]), user.bucketUrl('many'))
    expect(posted.status).toBe(201)
    expect(posted.json.files.map((file: { path: string }) => file.path)).toEqual([1, 2, 3, 4].map((n) => `/many/many-${n}`))
    for (const [index, file] of files.entries()) await expectContent(`/many/many-${index + 1}`, file.sum)
  })

  test('a form without a file, with two for one key, or that is none, is refused', async () => {
    const text = cluster.file('text')
    writeFileSync(text, 'x')
    for (const args of [
      ['-F', 'x=y', user.url('/form/none')],
      ['-F', 'x=y', user.bucketUrl('form')],
      ['-F', `a=@${text}`, '-F', `b=@${text}`, user.url('/form/none')],
      ['-d', '{"a":1}', '-H', 'content-type: application/json', user.url('/form/none')],
      ['-d', 'garbage', '-H', 'content-type: multipart/form-data; boundary=x', user.url('/form/none')],
    ]) {
      expect(await user.curl(...args)).toMatchObject({
        status: 400,
        json: { error: { code: 'INVALID_ARGUMENT', retryable: false } },
      })
    }
  })
})

describe('names', () => {
  test.each(['with space', '100%', 'a+b', 'ünï 😀 (1).bin', '%41', "quote'&?#=;,x", '.hidden', 'content'])('%s', async (name) => {
    expect((await user.curl('-T', source, user.url(`/names/put/${name}`))).json.path).toBe(`/names/put/${name}`)
    await expectContent(`/names/put/${name}`)
    const posted = await user.curl('-F', `file=@${source};filename="${name}"`, `${user.bucketUrl('names')}?prefix=form/`)
    expect(posted.json).toMatchObject({ files: [{ path: `/names/form/${name}` }] })
    await expectContent(`/names/form/${name}`)
  })

  test('a name in the form of RFC 5987, as older programs send it', async () => {
    const body = [
      '--b',
      'Content-Disposition: form-data; name="f"; filename*=utf-8\'\'%E2%82%AC%20rates.txt',
      '',
      'hello',
      '--b--',
      '',
    ].join('\r\n')
    const posted = await user.curl(
      '-H',
      'content-type: multipart/form-data; boundary=b',
      '--data-binary',
      body,
      user.bucketUrl('names'),
    )
    expect(posted.json).toMatchObject({ files: [{ path: '/names/€ rates.txt', sizeBytes: 5 }] })
  })
})

describe('conditions', () => {
  test('PUT If-None-Match: * writes once; the second is refused before its body is sent', async () => {
    const put = (...args: string[]) => user.curl('-H', 'If-None-Match: *', ...args, user.url('/cond/once'))
    expect((await put('-T', source)).status).toBe(201)
    const refused = await put('-T', source)
    expect(refused).toMatchObject({ code: 0, status: 412, sentBytes: 0, json: { error: { code: 'ALREADY_EXISTS' } } })
    expect(refused.heads).not.toContain('100 Continue')
    expect((await user.curl('-H', 'If-None-Match: *', '-T', source, user.url('/cond/once'))).headers['connection']).toBe('close')
    await expectContent('/cond/once')
  })

  test('a refusal arrives though the body is still being sent, which stops early', async () => {
    const large = cluster.file('large')
    await randomFile(large, 64 * MiB)
    for (const args of [
      ['-T', large],
      ['-0', '-T', large],
      ['-F', `file=@${large}`],
    ]) {
      const refused = await user.curl('-H', 'Expect:', '-H', 'If-None-Match: *', ...args, user.url('/cond/once'))
      expect(refused).toMatchObject({ code: 0, status: 412, json: { error: { code: 'ALREADY_EXISTS' } } })
      expect(refused.sentBytes).toBeLessThan(32 * MiB)
    }
  })

  test('If-Match replaces only the version it names', async () => {
    const first = await user.curl('-T', source, user.url('/cond/match'))
    const tag = first.headers['etag'] as string
    expect((await user.curl('-H', `If-Match: ${tag}`, '-T', source, user.url('/cond/match'))).json.generation).toBe(2)
    expect(await user.curl('-H', `If-Match: ${tag}`, '-T', source, user.url('/cond/match'))).toMatchObject({
      status: 412,
      json: { error: { code: 'PRECONDITION_FAILED' } },
    })
    expect((await user.curl('-H', `If-Match: ${tag}`, '-X', 'DELETE', user.url('/cond/match'))).status).toBe(412)
    expect((await user.curl('-H', `If-Match: ${tag}`, user.url('/cond/match'))).status).toBe(412)
    expect((await user.curl('-H', 'If-Match: *', '-T', source, user.url('/cond/not-there'))).status).toBe(412)
    expect((await user.curl('-H', 'If-Match: "foreign"', '-T', source, user.url('/cond/match'))).status).toBe(412)
  })

  test('reads: If-None-Match and If-Modified-Since answer 304, If-Unmodified-Since 412', async () => {
    await user.curl('-T', source, user.url('/cond/read'))
    const { etag, 'last-modified': modified } = (await user.curl('-I', user.url('/cond/read'))).headers as Record<string, string>
    const read = (...headers: string[]) => user.curl(...headers.flatMap((header) => ['-H', header]), user.url('/cond/read'))
    const same = await read(`If-None-Match: "other", W/${etag}`)
    expect(same).toMatchObject({ status: 304, headers: { etag } })
    expect(same.body).toHaveLength(0)
    expect((await read('If-None-Match: "other"')).status).toBe(200)
    expect((await read(`If-Modified-Since: ${modified}`)).status).toBe(304)
    expect((await read('If-Modified-Since: Sat, 01 Jan 2000 00:00:00 GMT')).status).toBe(200)
    // With an entity tag the date does not count.
    expect((await read('If-None-Match: "other"', `If-Modified-Since: ${modified}`)).status).toBe(200)
    expect((await read('If-Unmodified-Since: Sat, 01 Jan 2000 00:00:00 GMT')).status).toBe(412)
    expect((await read(`If-Unmodified-Since: ${modified}`)).status).toBe(200)
  })

  test('DELETE answers 204, then 404', async () => {
    await user.curl('-T', source, user.url('/cond/gone'))
    expect(await user.curl('-X', 'DELETE', user.url('/cond/gone'))).toMatchObject({ status: 204, body: Buffer.alloc(0) })
    for (const args of [['-X', 'DELETE'], [], ['-I']]) expect((await user.curl(...args, user.url('/cond/gone'))).status).toBe(404)
  })
})

describe('errors', () => {
  const refusal = (code: string) => ({
    error: { code, message: expect.any(String), retryable: false, requestId: expect.any(String) },
  })

  test('no token, and a wrong one', async () => {
    for (const headers of [[], ['-H', 'authorization: Bearer wrong'], ['-H', 'authorization: Basic eDp5']]) {
      for (const args of [[], ['-T', source], ['-F', `file=@${source}`], ['-X', 'DELETE']]) {
        const refused = await user.beginCurl([...headers, ...args, user.url('/err/x')], { anonymous: true }).done
        expect(refused).toMatchObject({ code: 0, status: 401, json: refusal('UNAUTHENTICATED') })
        expect(refused.headers['www-authenticate']).toBe('Bearer')
      }
    }
    expect(await user.openUploads()).toEqual([])
  })

  test.each(['/err/%zz', '/err/x%00', '/err//x', '/err/../x', '/err/a/./x', '/b%20d/x', `/err/${'x'.repeat(1100)}`])(
    'a bad path: %s',
    async (path) => {
      const url = `${cluster.ready.gateway}/v1/files${path}/content`
      for (const args of [[], ['-T', source], ['-X', 'DELETE']])
        expect(await user.curl('--path-as-is', ...args, url)).toMatchObject({ status: 400, json: refusal('INVALID_PATH') })
    },
  )

  test('what is not there, and what is not taken', async () => {
    await user.curl('-T', source, user.url('/err/there'))
    expect(await user.curl(user.url('/no-bucket/x'))).toMatchObject({ status: 404, json: refusal('FILE_NOT_FOUND') })
    expect(await user.curl(user.url('/err/none'))).toMatchObject({ status: 404, json: refusal('FILE_NOT_FOUND') })
    expect(await user.curl(`${cluster.ready.gateway}/nowhere`)).toMatchObject({ status: 404, json: refusal('ROUTE_NOT_FOUND') })
    expect(await user.curl('-X', 'PATCH', user.url('/err/there'))).toMatchObject({
      status: 405,
      headers: { allow: 'PUT, GET, HEAD, DELETE, POST' },
      json: refusal('METHOD_NOT_ALLOWED'),
    })
    expect(await user.curl(user.bucketUrl('err'))).toMatchObject({ status: 405, headers: { allow: 'POST' } })
  })

  test('options that are none', async () => {
    for (const query of [
      'replicas=x',
      'replicas=0',
      'replicas=1&replicas=2',
      'chunk-size=abc',
      'chunk-size=1',
      'chunk-size=1&chunk-size=2',
    ]) {
      const refused = await user.curl('-T', source, `${user.url('/err/options')}?${query}`)
      expect(refused).toMatchObject({ code: 0, status: 400, json: { error: { retryable: false } } })
    }
    expect((await user.curl('-H', 'Content-Range: bytes 0-9/20', '-T', source, user.url('/err/part'))).status).toBe(400)
    expect((await user.curl('-T', source, `${user.url('/err/two')}?replicas=2`)).status).toBe(201)
    expect((await cluster.ok('stat', '/err/two')).json.replicas).toBe(2)
  })

  test('a body that is longer than its length, and one that is no HTTP', async () => {
    const { pathname } = new URL(user.url('/err/long'))
    const head = `PUT ${pathname} HTTP/1.1\r\nhost: x\r\n${user.authorization}\r\n`
    const text = await rawExchange(cluster.ready.gateway, [`${head}content-length: 5\r\n\r\nhello there`], true)
    expect(text).toMatch(/^HTTP\/1\.1 400/)
    await user.untilNothingIsLeft('/err/long')
    expect(await rawExchange(cluster.ready.gateway, ['nonsense\r\n\r\n'])).toMatch(/^HTTP\/1\.1 400/)
  })
})

test('one request id finds a request in the answer and in the logs of gateway and master', async () => {
  await using verbose = await TestCluster.start({ chunkservers: 2, flags: ['--log-level', 'debug'] })
  const other = new GatewayUser(verbose)
  const id = 'e2e-request-4711'
  const put = await other.curl('-H', `x-request-id: ${id}`, '-T', source, `${other.url('/log/x')}?replicas=2`)
  expect(put).toMatchObject({ status: 201, headers: { 'x-request-id': id } })
  const missing = await other.curl('-H', `x-request-id: ${id}`, other.url('/log/none'))
  expect(missing).toMatchObject({ headers: { 'x-request-id': id }, json: { error: { requestId: id } } })
  expect((await other.curl(other.url('/log/x'))).headers['x-request-id']).toMatch(/^[0-9a-f]{32}$/)
  for (const role of ['gateway', 'master'])
    expect(readFileSync(`${verbose.directory}/logs/${role}.log`, 'utf8')).toContain(`"requestId":"${id}`)
})
