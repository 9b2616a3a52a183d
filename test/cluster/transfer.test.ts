/** Files go in and come out, by command line and REST: sizes at the edges, odd names, conditions, trees, streams. */
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals'
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { KiB, MiB } from '../../common/units.js'
import { randomFile, runCairn, sha256, TestCluster } from '../support/cluster.js'

let cluster: TestCluster

beforeAll(async () => {
  cluster = await TestCluster.start({ chunkservers: 3 })
})

afterAll(async () => {
  await cluster[Symbol.asyncDispose]()
})

const CHUNK = 256 * KiB

describe('sizes', () => {
  test.each([0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 3 * MiB + 5])('a file of %i bytes comes out as it went in', async (sizeBytes) => {
    const source = cluster.file(`in-${sizeBytes}`)
    const sum = await randomFile(source, sizeBytes)
    const put = await cluster.ok('put', source, `/sizes/${sizeBytes}`, '--chunk-size', '256KiB')
    expect(put.json).toEqual({
      path: `/sizes/${sizeBytes}`,
      generation: 1,
      sizeBytes,
      checksum: expect.stringMatching(/^xxh64-tree:[0-9a-f]{16}$/),
      seconds: expect.any(Number),
    })
    const target = cluster.file(`out-${sizeBytes}`)
    const got = await cluster.ok('get', `/sizes/${sizeBytes}`, target)
    expect(got.json).toMatchObject({ path: `/sizes/${sizeBytes}`, sizeBytes, checksum: put.json.checksum })
    expect(await sha256(target)).toBe(sum)
    const stat = (await cluster.ok('stat', `/sizes/${sizeBytes}`)).json
    expect(Object.keys(stat).sort()).toEqual([
      'checksum',
      'chunkSizeBytes',
      'chunks',
      'generation',
      'path',
      'replicas',
      'sizeBytes',
    ])
    expect(stat.chunks).toHaveLength(Math.ceil(sizeBytes / CHUNK))
    for (const chunk of stat.chunks) {
      expect(Object.keys(chunk).sort()).toEqual(['id', 'index', 'replicas', 'root', 'sizeBytes'])
      expect(new Set(chunk.replicas).size).toBe(3)
    }
  })

  test('three hundred chunks: more than a page of them', async () => {
    const source = cluster.file('many')
    const sum = await randomFile(source, 300 * 64 * KiB)
    await cluster.ok('put', source, '/sizes/many', '--chunk-size', '64KiB')
    expect((await cluster.ok('stat', '/sizes/many')).json.chunks).toHaveLength(300)
    await cluster.ok('get', '/sizes/many', cluster.file('many-out'))
    expect(await sha256(cluster.file('many-out'))).toBe(sum)
  })
})

describe('names', () => {
  const long = `/names/${'x'.repeat(200)}/${'ü'.repeat(100)}/${'y'.repeat(1024 - 410)}`
  test.each([
    '/names/with space',
    '/names/100%',
    '/names/a+b',
    '/names/ünï/😀.bin',
    '/names/%41',
    '/names/quote\'"&?#=;',
    '/names/.hidden/..x',
    long,
  ])('%s', async (name) => {
    expect(Buffer.byteLength(name)).toBeLessThanOrEqual(1024)
    const data = Buffer.from(`content of ${name}`)
    const put = await cluster.begin(['put', '-', name, '--json'], { input: data }).done
    expect(put).toMatchObject({ code: 0, json: { path: name } })
    expect((await cluster.begin(['cat', name]).done).stdout).toBe(data.toString())
    const url = `/v1/files${name.split('/').map(encodeURIComponent).join('/')}`
    expect((await cluster.rest('GET', url)).json.path).toBe(name)
    expect(await (await cluster.gateway(`${url}/content`)).text()).toBe(data.toString())
    await cluster.ok('rm', name)
    expect((await cluster.cli('stat', name)).code).toBe(3)
  })

  test.each([
    'names/x',
    '/names',
    '/names//x',
    '/names/../x',
    '/names/./x',
    '/names/x/',
    `/names/${'x'.repeat(1020)}`,
    '/na mes/x',
  ])('%s is refused as a path', async (name) => {
    const put = await cluster.begin(['put', '-', name, '--json'], { input: Buffer.from('x') }).done
    expect(put).toMatchObject({ code: 2, json: { error: { code: 'INVALID_PATH', retryable: false } } })
  })
})

test('overwriting raises the generation; conditions keep it', async () => {
  const put = (text: string, ...flags: string[]) =>
    cluster.begin(['put', '-', '/cond/x', '--json', ...flags], { input: Buffer.from(text) }).done
  expect((await put('one')).json.generation).toBe(1)
  expect((await put('two')).json.generation).toBe(2)
  expect(await put('three', '--if-absent')).toMatchObject({ code: 4, json: { error: { code: 'ALREADY_EXISTS' } } })
  expect((await cluster.begin(['cat', '/cond/x']).done).stdout).toBe('two')
  expect((await cluster.rest('DELETE', '/v1/files/cond/x', { headers: { 'if-match': '"1"' } })).status).toBe(412)
  const got = await cluster.rest('GET', '/v1/files/cond/x')
  expect(
    (await cluster.rest('GET', '/v1/files/cond/x', { headers: { 'if-none-match': got.headers.get('etag') as string } })).status,
  ).toBe(304)
  expect(
    (await cluster.rest('DELETE', '/v1/files/cond/x', { headers: { 'if-match': got.headers.get('etag') as string } })).status,
  ).toBe(200)
  expect((await cluster.ok('undelete', '/cond/x')).json.generation).toBe(3)
})

test('mv and cp keep the bytes, refuse to replace without --force, and exit 3 for what is not there', async () => {
  await cluster.begin(['put', '-', '/mv/a'], { input: Buffer.from('A') }).done
  await cluster.begin(['put', '-', '/mv/b'], { input: Buffer.from('B') }).done
  expect(await cluster.cli('mv', '/mv/a', '/mv/b')).toMatchObject({ code: 4, json: { error: { code: 'ALREADY_EXISTS' } } })
  expect((await cluster.cli('cp', '/mv/none', '/mv/c')).code).toBe(3)
  await cluster.ok('cp', '/mv/a', '/other/c')
  await cluster.ok('mv', '/mv/a', '/mv/b', '--force')
  expect((await cluster.begin(['cat', '/mv/b']).done).stdout).toBe('A')
  expect((await cluster.begin(['cat', '/other/c']).done).stdout).toBe('A')
  expect((await cluster.cli('stat', '/mv/a')).code).toBe(3)
})

test('ranges, by command line and by gateway', async () => {
  const source = cluster.file('ranges')
  await randomFile(source, 5 * MiB + 77)
  const data = readFileSync(source)
  await cluster.ok('put', source, '/r/x', '--chunk-size', '1MiB')
  for (const [text, from, to] of [
    ['0-0', 0, 1],
    ['1048575-1048577', 1048575, 1048578],
    ['-5', data.length - 5, data.length],
    ['3000000-', 3000000, data.length],
  ] as const) {
    const target = cluster.file('range-out')
    const got = await cluster.ok('get', '/r/x', target, '--range', text)
    expect(got.json.sizeBytes).toBe(to - from)
    expect(readFileSync(target).equals(data.subarray(from, to))).toBe(true)
    const response = await cluster.gateway('/v1/files/r/x/content', { headers: { range: `bytes=${text}` } })
    expect(response.status).toBe(206)
    expect(response.headers.get('content-range')).toBe(`bytes ${from}-${to - 1}/${data.length}`)
    expect(Buffer.from(await response.arrayBuffer()).equals(data.subarray(from, to))).toBe(true)
  }
  expect(await cluster.cli('get', '/r/x', cluster.file('range-out'), '--range', '99999999-')).toMatchObject({
    code: 2,
    json: { error: { code: 'INVALID_RANGE' } },
  })
  expect((await cluster.gateway('/v1/files/r/x/content', { headers: { range: 'bytes=99999999-' } })).status).toBe(416)
})

test('directories go in and out, and a second run skips what is there', async () => {
  const root = cluster.file('tree')
  mkdirSync(path.join(root, 'deep', 'er'), { recursive: true })
  for (const name of ['a', 'b c', 'deep/x', 'deep/er/ü']) writeFileSync(path.join(root, name), `content of ${name}`)
  expect((await cluster.ok('put', '-r', root, '/trees/t')).json).toMatchObject({ files: 4, skipped: 0 })
  expect((await cluster.ok('put', '-r', root, '/trees/t')).json).toMatchObject({ files: 4, skipped: 4 })
  const out = cluster.file('tree-out')
  await cluster.ok('get', '-r', '/trees/t', out)
  for (const name of ['a', 'b c', 'deep/x', 'deep/er/ü'])
    expect(readFileSync(path.join(out, name), 'utf8')).toBe(`content of ${name}`)
  const listed = (await cluster.ok('ls', '/trees/t')).stdout
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line) as { kind: string; path: string })
  expect(listed.map((entry) => entry.path)).toEqual(['/trees/t/a', '/trees/t/b c', '/trees/t/deep/'])
  expect((await cluster.ok('rm', '-r', '/trees/t/deep')).json).toMatchObject({ state: 'done', processed: 2 })
  expect((await cluster.cli('ls', '/trees/t/deep')).code).toBe(3)
})

test('status and df have the shapes that others build on', async () => {
  const status = (await cluster.ok('status')).json
  expect(Object.keys(status).sort()).toEqual(['chunks', 'jobs', 'repair', 'servers'])
  expect(Object.keys(status.servers[0]).sort()).toEqual(['chunks', 'freeBytes', 'id', 'state', 'url', 'usedBytes', 'zone'])
  expect(Object.keys(status.chunks).sort()).toEqual(['healthy', 'total', 'unavailable', 'underReplicated'])
  expect(status.repair).toHaveProperty('brake')
  expect(status.repair).toMatchObject({
    ...{ queued: 0, active: 0, bytesPerSecond: expect.any(Number), etaSeconds: null },
    speed: 'balanced',
    progress: { copiedChunks: 0, copiedBytes: 0, remainingBytes: 0 },
    classes: { lastCopy: 0, belowGoal: 0, waiting: 0, misplaced: 0, leaving: 0, surplus: 0 },
    failing: 0,
    checkingServers: 0,
  })
  expect(status.servers.map((server: { id: string }) => server.id).sort()).toEqual(
    cluster.ready.processes
      .filter((one) => one.role === 'chunkserver')
      .map((one) => one.id)
      .sort(),
  )
  expect((await cluster.ok('df')).json).toMatchObject({ totalBytes: expect.any(Number), liveBytes: expect.any(Number) })
})

test('where a chunk lies can be told, file by file', async () => {
  await cluster.begin(['put', '-', '/loc/x'], { input: Buffer.from('hello') }).done
  const chunk = (await cluster.ok('stat', '/loc/x')).json.chunks[0]
  const places = (await cluster.ok('chunk', 'locate', chunk.id)).json as {
    server: string
    dir: string
    file: string
    offset: number
    lengthBytes: number
  }[]
  expect(places.map((place) => place.server).sort()).toEqual([...chunk.replicas].sort())
  for (const place of places) {
    expect(place.dir).toBe(cluster.server(place.server).dir)
    expect(
      readFileSync(place.file)
        .subarray(place.offset, place.offset + place.lengthBytes)
        .toString(),
    ).toBe('hello')
  }
})

test('a wrong token, no token, and a master that is not there: each its own error', async () => {
  expect(await runCairn(['ls', '--json'], { ...cluster.env, CAIRN_TOKEN: 'wrong' }).done).toMatchObject({
    code: 1,
    json: { error: { code: 'UNAUTHENTICATED', retryable: false } },
  })
  expect(await runCairn(['ls', '--json'], { CAIRN_MASTER: cluster.ready.master, CAIRN_TOKEN: '' }).done).toMatchObject({
    code: 1,
    json: { error: { code: 'UNAUTHENTICATED' } },
  })
  expect(await runCairn(['ls', '--json', '--master', 'http://127.0.0.1:1'], cluster.env).done).toMatchObject({
    code: 5,
    json: { error: { code: 'MASTER_UNREACHABLE', retryable: true } },
  })
  expect(await runCairn(['frobnicate', '--json'], cluster.env).done).toMatchObject({
    code: 2,
    json: { error: { code: 'USAGE' } },
  })
  expect(await cluster.cli('put', '/no/such/file', '/b/x')).toMatchObject({
    code: 3,
    json: { error: { code: 'LOCAL_FILE_NOT_FOUND' } },
  })
  expect(await cluster.cli('get', '/b/none', cluster.file('x'))).toMatchObject({
    code: 3,
    json: { error: { code: 'FILE_NOT_FOUND', requestId: expect.any(String) } },
  })
})

test('every server answers its checks and exposes metrics', async () => {
  for (const { url, role } of cluster.ready.processes) {
    for (const check of ['/livez', '/readyz']) expect((await fetch(url + check)).status).toBe(200)
    expect(await (await fetch(`${url}/metrics`)).text()).toContain(`cairn_${role}_`)
  }
  expect((await (await fetch(`${cluster.ready.master}/v1/openapi.json`)).json()) as object).toMatchObject({ openapi: '3.1.0' })
})

test('a repeated request is done once, and another one under its id is refused', async () => {
  for (const name of ['x', 'y']) await cluster.begin(['put', '-', `/once/${name}`], { input: Buffer.from('x') }).done
  const headers = { 'x-request-id': 'once-1' }
  const first = await cluster.rest('DELETE', '/v1/files/once/x', { headers })
  expect(first.status).toBe(200)
  expect(await cluster.rest('DELETE', '/v1/files/once/x', { headers })).toMatchObject({ status: 200, json: first.json })
  expect(await cluster.rest('DELETE', '/v1/files/once/y', { headers })).toMatchObject({
    status: 409,
    json: { error: { code: 'REQUEST_ID_REUSED', requestId: 'once-1' } },
  })
})
