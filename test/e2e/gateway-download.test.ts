/** Ranges and resumed downloads, as curl and wget ask for them. */
import { afterAll, beforeAll, expect, test } from '@jest/globals'
import { mkdirSync, readFileSync, statSync, truncateSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { MiB } from '../../common/units.js'
import { randomFile, sha256, TestCluster, until } from '../support/cluster.js'
import { GatewayUser } from '../support/programs.js'

let cluster: TestCluster
let user: GatewayUser
let source: string
let sum: string
let data: Buffer

beforeAll(async () => {
  cluster = await TestCluster.start({ chunkservers: 3 })
  user = new GatewayUser(cluster)
  source = cluster.file('source')
  sum = await randomFile(source, 24 * MiB + 77)
  data = readFileSync(source)
  await user.curl('-T', source, `${user.url('/r/x')}?chunk-size=1536KiB`)
})

afterAll(async () => {
  await cluster[Symbol.asyncDispose]()
})

const size = 24 * MiB + 77

test.each([
  ['0-0', 0, 1],
  ['0-', 0, size],
  ['1-1048576', 1, 1048577],
  ['1572863-1572865', 1572863, 1572866],
  ['5000000-15000000', 5000000, 15000001],
  [`${size - 1}-`, size - 1, size],
  ['-5', size - 5, size],
  ['-99999999', 0, size],
  [`${size - 10}-99999999999`, size - 10, size],
])('curl -r %s', async (range, start, end) => {
  const got = await user.curl('-r', range, user.url('/r/x'))
  expect(got).toMatchObject({
    code: 0,
    status: 206,
    headers: {
      'content-range': `bytes ${start}-${end - 1}/${size}`,
      'content-length': String(end - start),
      'accept-ranges': 'bytes',
    },
  })
  expect(got.body.equals(data.subarray(start, end))).toBe(true)
})

test.each([`${size}-`, `${size}-${size + 5}`, '99999999999-', '-0'])('curl -r %s lies outside the file', async (range) => {
  const got = await user.curl('-r', range, user.url('/r/x'))
  expect(got).toMatchObject({
    status: 416,
    headers: { 'content-range': `bytes */${size}`, 'content-type': 'application/json; charset=utf-8' },
    json: { error: { code: 'INVALID_RANGE', retryable: false } },
  })
})

// RFC 9110, 14.2: a server may ignore Range; it must for what it does not understand and for methods other than GET.
test.each(['bytes=0-4,10-14', 'bytes=5-2', 'bytes=a-b', 'bytes=-', 'lines=0-4', 'bytes'])(
  'Range: %s is answered with the whole file',
  async (range) => {
    const got = await user.curl('-H', `Range: ${range}`, user.url('/r/x'))
    expect(got).toMatchObject({ status: 200, headers: { 'content-length': String(size) } })
    expect(got.headers['content-range']).toBeUndefined()
    expect(got.body.equals(data)).toBe(true)
  },
)

test('HEAD tells of the whole file, Range or not', async () => {
  for (const args of [[], ['-r', '0-4']])
    expect(await user.curl('-I', ...args, user.url('/r/x'))).toMatchObject({
      status: 200,
      headers: { 'content-length': String(size) },
    })
})

test('If-Range gives the range of the same version, and all of another', async () => {
  await user.curl('-T', source, user.url('/r/versions'))
  const { etag, 'last-modified': modified } = (await user.curl('-I', user.url('/r/versions'))).headers
  const read = (condition: string | undefined) =>
    user.curl('-r', '10-19', '-H', `If-Range: ${condition}`, user.url('/r/versions'))
  expect(await read(etag)).toMatchObject({ status: 206, body: data.subarray(10, 20) })
  expect(await read(modified)).toMatchObject({ status: 206, body: data.subarray(10, 20) })
  expect((await read('Sat, 01 Jan 2000 00:00:00 GMT')).status).toBe(200)
  const other = cluster.file('other-version')
  writeFileSync(other, 'something else')
  await user.curl('-T', other, user.url('/r/versions'))
  expect(await read(etag)).toMatchObject({ status: 200, body: Buffer.from('something else') })
})

test('curl -C - goes on where the local file ends, and finds a whole one whole', async () => {
  const target = cluster.file('resumed')
  writeFileSync(target, data)
  truncateSync(target, 9_999_999)
  const resumed = await user.curl('-C', '-', '-o', target, user.url('/r/x'))
  expect(resumed).toMatchObject({ code: 0, status: 206, headers: { 'content-length': String(size - 9_999_999) } })
  expect(await sha256(target)).toBe(sum)
  expect((await user.curl('-C', '-', '-o', target, user.url('/r/x'))).code).toBe(0)
  expect(await sha256(target)).toBe(sum)
})

test('wget -c goes on after the first wget was killed', async () => {
  const directory = cluster.file('wget')
  mkdirSync(directory)
  const target = path.join(directory, 'content')
  const first = user.beginWget(['--limit-rate=4m', user.url('/r/x')], directory)
  const length = (): number => statSync(target, { throwIfNoEntry: false })?.size ?? 0
  await until('wget has some of the file', async () => length() > 2 * MiB)
  process.kill(first.pid, 'SIGKILL')
  expect((await first.done).signal).toBe('SIGKILL')
  const before = length()
  expect(before).toBeLessThan(size)
  const second = await user.beginWget(['-c', '-S', user.url('/r/x')], directory).done
  expect(second.code).toBe(0)
  expect(second.stderr).toContain('206 Partial Content')
  expect(second.stderr).toContain(`bytes ${before}-`)
  expect(await sha256(target)).toBe(sum)
  expect((await user.beginWget(['-c', user.url('/r/x')], directory).done).code).toBe(0)
})
