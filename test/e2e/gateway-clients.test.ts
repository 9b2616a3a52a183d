/**
 * Clients that misbehave: killed in mid upload, slow, or stopped. Nothing of a broken upload is left, no client holds
 * another back, and the gateway's memory stays within its budget.
 */
import { afterAll, beforeAll, expect, test } from '@jest/globals'
import { createReadStream, statSync } from 'node:fs'
import { MiB } from '../../common/units.js'
import { randomFile, sha256, TestCluster, until } from '../support/cluster.js'
import { GatewayUser, rawExchange, residentBytes, type RunningCurl } from '../support/programs.js'

let cluster: TestCluster
let user: GatewayUser
let source: string
let sum: string
const SIZE_BYTES = 24 * MiB + 77

beforeAll(async () => {
  cluster = await TestCluster.start({ chunkservers: 3 })
  user = new GatewayUser(cluster)
  source = cluster.file('source')
  sum = await randomFile(source, SIZE_BYTES)
  await user.curl('-T', source, user.url('/c/x'))
})

afterAll(async () => {
  await cluster[Symbol.asyncDispose]()
})

const length = (file: string): number => statSync(file, { throwIfNoEntry: false })?.size ?? 0

async function untilUploading(count: number): Promise<void> {
  await until(`${count} uploads are open`, async () => (await user.openUploads()).length === count)
}

async function killAll(clients: readonly RunningCurl[]): Promise<void> {
  for (const { pid } of clients) process.kill(pid, 'SIGKILL')
  await Promise.all(clients.map(({ done }) => done))
}

test.each([
  ['PUT', (url: string) => user.beginCurl(['--limit-rate', '4m', '-T', source, url])],
  [
    'PUT without a length',
    (url: string) => user.beginCurl(['--limit-rate', '4m', '-T', '-', url], { input: createReadStream(source) }),
  ],
  ['form', (url: string) => user.beginCurl(['--limit-rate', '4m', '-F', `file=@${source}`, url])],
])('a %s that is killed in mid upload leaves nothing', async (_what, begin) => {
  const curl = begin(`${user.url('/c/killed')}?chunk-size=256KiB`)
  await until('chunks were stored', async () => {
    const [upload] = (await user.openUploads()) as { uploadedBytes: number }[]
    return (upload?.uploadedBytes ?? 0) > MiB
  })
  await killAll([curl])
  await user.untilNothingIsLeft('/c/killed')
})

test('a body that ends before its length leaves nothing', async () => {
  const { pathname } = new URL(user.url('/c/short'))
  const head = `PUT ${pathname} HTTP/1.1\r\nhost: x\r\n${user.authorization}\r\ncontent-length: 1000000\r\n\r\n`
  await rawExchange(cluster.ready.gateway, [head, Buffer.alloc(500_000)], true)
  await user.untilNothingIsLeft('/c/short')
  const form = [
    `POST ${pathname} HTTP/1.1\r\nhost: x\r\n${user.authorization}\r\n`,
    'content-type: multipart/form-data; boundary=b\r\nconnection: close\r\n',
    'transfer-encoding: chunked\r\n\r\n',
  ].join('')
  const part = '--b\r\ncontent-disposition: form-data; name="f"; filename="f"\r\n\r\nno end'
  const cut = await rawExchange(cluster.ready.gateway, [form, `${part.length.toString(16)}\r\n${part}\r\n0\r\n\r\n`])
  expect(cut).toMatch(/^HTTP\/1\.1 400 /)
  await user.untilNothingIsLeft('/c/short')
})

test('an upload whose sender leaves while it is being opened leaves nothing', async () => {
  const { pathname } = new URL(user.url('/c/fleeting'))
  const head = `PUT ${pathname} HTTP/1.1\r\nhost: x\r\n${user.authorization}\r\ncontent-length: 5\r\n\r\n`
  // What follows the body is no request: the connection is cut at once, while the master is being asked.
  const cuts = Array.from({ length: 20 }, () => rawExchange(cluster.ready.gateway, [`${head}hello there`], true))
  for (const answer of await Promise.all(cuts)) expect(answer).toMatch(/^HTTP\/1\.1 400 /)
  await user.untilNothingIsLeft('/c/fleeting')
})

test('forty uploads at once find memory and turns released', async () => {
  const small = cluster.file('small')
  const smallSum = await randomFile(small, 6 * MiB)
  const puts = Array.from({ length: 40 }, (_, n) =>
    user.beginCurl([...(n % 2 === 0 ? ['-T', small] : ['-F', `file=@${small}`]), user.url(`/forty/${n}`)]),
  )
  for (const { done } of puts) expect(await done).toMatchObject({ code: 0, status: 201, json: { sizeBytes: 6 * MiB } })
  for (const n of [0, 39]) {
    const target = cluster.file('forty-out')
    await user.curl('-o', target, user.url(`/forty/${n}`))
    expect(await sha256(target)).toBe(smallSum)
  }
})

test('slow clients hold no others back', async () => {
  const slow = Array.from({ length: 24 }, (_, n) =>
    user.beginCurl(['--limit-rate', '200k', '-T', source, user.url(`/slow/${n}`)]),
  )
  const readers = Array.from({ length: 24 }, () => user.beginCurl(['--limit-rate', '200k', '-o', '/dev/null', user.url('/c/x')]))
  let ended = 0
  for (const { done } of [...slow, ...readers]) void done.then(() => (ended += 1))
  await untilUploading(slow.length)
  const [put, form, got] = await Promise.all([
    user.curl('-T', source, user.url('/slow/fast')),
    user.curl('-F', `file=@${source}`, user.url('/slow/form')),
    user.curl('-o', cluster.file('slow-out'), user.url('/c/x')),
  ])
  expect([put.status, form.status, got.status]).toEqual([201, 201, 200])
  expect(await sha256(cluster.file('slow-out'))).toBe(sum)
  // Those who do without the gateway are not held back either: no chunkserver waits for a slow client of it.
  await cluster.ok('get', '/c/x', cluster.file('slow-cli'))
  expect(ended).toBe(0)
  await killAll([...slow, ...readers])
  await untilUploading(0)
})

test('clients that stop for longer than a chunkserver waits go on, and cost no memory meanwhile', async () => {
  const gateway = cluster.process('gateway').pid
  const before = residentBytes(gateway)
  const upload = user.beginCurl(['--limit-rate', '2m', '-T', source, user.url('/c/paused')])
  const targets = Array.from({ length: 30 }, (_, n) => cluster.file(`stopped-${n}`))
  const readers = targets.map((target) => user.beginCurl(['--limit-rate', '3m', '-o', target, user.url('/c/x')]))
  await until('all have begun', async () => targets.every((target) => length(target) > 0))
  await until('the upload has begun', async () => (await user.openUploads()).length === 1)
  const stopped = [upload, ...readers]
  for (const { pid } of stopped) process.kill(pid, 'SIGSTOP')
  const highest = { bytes: 0 }
  const startedMs = performance.now()
  await until('the longest stall time is over', async () => {
    highest.bytes = Math.max(highest.bytes, residentBytes(gateway))
    return performance.now() - startedMs > 12_000
  })
  // 128 MiB for uploads, 64 for downloads, and what the runtime needs: far below the 700 MiB that were asked for.
  expect(highest.bytes - Math.min(before, 120 * MiB)).toBeLessThan(300 * MiB)
  expect((await user.curl('-T', source, user.url('/c/meanwhile'))).status).toBe(201)
  await killAll(readers.slice(1))
  for (const { pid } of [upload, readers[0] as RunningCurl]) process.kill(pid, 'SIGCONT')
  expect(await upload.done).toMatchObject({ code: 0, status: 201 })
  expect((await (readers[0] as RunningCurl).done).code).toBe(0)
  expect(await sha256(targets[0] as string)).toBe(sum)
  await user.curl('-o', cluster.file('paused-out'), user.url('/c/paused'))
  expect(await sha256(cluster.file('paused-out'))).toBe(sum)
}, 120_000)
