/** Uploads and downloads while processes die. Real processes, SIGKILL, real files; every byte checked at the end. */
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals'
import { KiB, MiB } from '../../common/units.js'
import { QUICK_TIMERS, randomFile, sha256, TestCluster, until, type RunningCommand } from '../support/cluster.js'

const SIZE = 192 * MiB

const uploadsTo = async (cluster: TestCluster, path: string): Promise<{ uploadId: string; uploadedBytes: number }[]> => {
  const { json } = await cluster.rest('GET', '/v1/uploads')
  return (json.uploads as { path: string; uploadId: string; uploadedBytes: number }[]).filter((upload) => upload.path === path)
}

/** Resolves once the open upload of a path has at least so many bytes, and it is still going on. */
async function uploaded(cluster: TestCluster, command: RunningCommand, atLeastBytes: number, path = '/b/x'): Promise<void> {
  await until('the upload is under way', async () => {
    if (command.child.exitCode !== null) throw new Error(`the upload ended too early: ${JSON.stringify(await command.done)}`)
    return (await uploadsTo(cluster, path)).some((upload) => upload.uploadedBytes >= atLeastBytes)
  })
}

describe('a chunkserver is killed', () => {
  test('in mid-upload: the upload goes on, the file is whole, its copies are rebuilt elsewhere', async () => {
    await using cluster = await TestCluster.start({ chunkservers: 4, flags: [...QUICK_TIMERS, '--no-restart'] })
    const sum = await randomFile(cluster.file('in'), SIZE)
    const put = cluster.begin(['put', cluster.file('in'), '/b/x', '--chunk-size', '4MiB', '--json'])
    await uploaded(cluster, put, 16 * MiB)
    cluster.kill(cluster.process('chunkserver', 1))
    expect(await put.done).toMatchObject({ code: 0, json: { sizeBytes: SIZE } })
    await cluster.ok('get', '/b/x', cluster.file('out'))
    expect(await sha256(cluster.file('out'))).toBe(sum)
    await cluster.untilHealthy(SIZE / (4 * MiB))
    const dead = cluster.process('chunkserver', 1).id
    for (const chunk of (await cluster.ok('stat', '/b/x')).json.chunks as { replicas: string[] }[]) {
      expect(chunk.replicas).toHaveLength(3)
      expect(chunk.replicas).not.toContain(dead)
    }
  })

  test('with the smallest cluster: two copies are enough to go on, and the third comes when the server is back', async () => {
    await using cluster = await TestCluster.start({ chunkservers: 3, flags: QUICK_TIMERS })
    await randomFile(cluster.file('in'), SIZE)
    const put = cluster.begin(['put', cluster.file('in'), '/b/x', '--chunk-size', '4MiB', '--json'])
    await uploaded(cluster, put, 16 * MiB)
    cluster.kill(cluster.process('chunkserver', 2))
    expect((await put.done).code).toBe(0)
    await cluster.untilHealthy(SIZE / (4 * MiB))
  })

  test('in mid-download: the reader notices nothing', async () => {
    await using cluster = await TestCluster.start({ chunkservers: 3, flags: [...QUICK_TIMERS, '--no-restart'] })
    const sum = await randomFile(cluster.file('in'), SIZE)
    await cluster.ok('put', cluster.file('in'), '/b/x', '--chunk-size', '4MiB')
    const cat = cluster.begin(['cat', '/b/x'])
    const { createHash } = await import('node:crypto')
    const hash = createHash('sha256')
    let read = 0
    cat.child.stdout?.removeAllListeners('data')
    cat.child.stdout?.on('data', (piece: Buffer) => {
      hash.update(piece)
      if (read < 32 * MiB && read + piece.length >= 32 * MiB) cluster.kill(cluster.process('chunkserver', 0))
      read += piece.length
    })
    expect((await cat.done).code).toBe(0)
    expect(read).toBe(SIZE)
    expect(hash.digest('hex')).toBe(sum)
  })

  test('and hangs instead of dying (SIGSTOP): the upload goes round it', async () => {
    await using cluster = await TestCluster.start({ chunkservers: 4, flags: QUICK_TIMERS })
    const sum = await randomFile(cluster.file('in'), SIZE)
    const put = cluster.begin(['put', cluster.file('in'), '/b/x', '--chunk-size', '4MiB', '--json'])
    await uploaded(cluster, put, 16 * MiB)
    const hung = cluster.process('chunkserver', 3)
    cluster.kill(hung, 'SIGSTOP')
    expect((await put.done).code).toBe(0)
    cluster.kill(hung, 'SIGCONT')
    await cluster.ok('get', '/b/x', cluster.file('out'))
    expect(await sha256(cluster.file('out'))).toBe(sum)
    await cluster.untilHealthy(SIZE / (4 * MiB))
  })
})

describe('the client is killed', () => {
  let cluster: TestCluster

  beforeAll(async () => {
    cluster = await TestCluster.start({ chunkservers: 3 })
  })

  afterAll(async () => {
    await cluster[Symbol.asyncDispose]()
  })

  test('in mid-upload: the same command goes on where it stopped', async () => {
    const sum = await randomFile(cluster.file('resumed'), SIZE)
    const args = ['put', cluster.file('resumed'), '/b/resumed', '--chunk-size', '4MiB', '--json']
    const first = cluster.begin(args)
    await uploaded(cluster, first, 48 * MiB, '/b/resumed')
    first.child.kill('SIGKILL')
    await first.done
    expect(await uploadsTo(cluster, '/b/resumed')).toHaveLength(1)
    const bytesBefore = await bytesReceived(cluster)
    expect(await cluster.begin(args).done).toMatchObject({ code: 0, json: { generation: 1, sizeBytes: SIZE } })
    // What was there was not sent again: a little more than the rest went over the wire.
    expect((await bytesReceived(cluster)) - bytesBefore).toBeLessThanOrEqual(3 * (SIZE - 48 * MiB + 32 * MiB))
    expect(await uploadsTo(cluster, '/b/resumed')).toEqual([])
    await cluster.ok('get', '/b/resumed', cluster.file('resumed-out'))
    expect(await sha256(cluster.file('resumed-out'))).toBe(sum)
  })

  test('in mid-upload, and the file changes before the next run: nothing old gets into it', async () => {
    await randomFile(cluster.file('changed'), SIZE)
    const args = ['put', cluster.file('changed'), '/b/changed', '--chunk-size', '4MiB', '--json']
    const first = cluster.begin(args)
    await uploaded(cluster, first, 48 * MiB, '/b/changed')
    first.child.kill('SIGKILL')
    await first.done
    const { open } = await import('node:fs/promises')
    const file = await open(cluster.file('changed'), 'r+')
    // Between the samples of the fingerprint, in a chunk that was sent: only the roots can tell.
    await file.write(Buffer.from('changed'), 0, 7, 6 * MiB + 12_345)
    await file.close()
    const sum = await sha256(cluster.file('changed'))
    expect((await cluster.begin(args).done).code).toBe(0)
    await cluster.ok('get', '/b/changed', cluster.file('changed-out'))
    expect(await sha256(cluster.file('changed-out'))).toBe(sum)
  })

  test('in mid-download: the same command fetches only what is missing', async () => {
    const sum = await randomFile(cluster.file('fetched'), SIZE)
    await cluster.ok('put', cluster.file('fetched'), '/b/fetched', '--chunk-size', '4MiB')
    const args = ['get', '/b/fetched', cluster.file('fetched-out'), '--json']
    const first = cluster.begin([...args, '--concurrency', '1'])
    const { readdirSync, statSync } = await import('node:fs')
    const partial = (): string | undefined => readdirSync(cluster.scratch).find((name) => name.startsWith('.fetched-out.'))
    await until('a good part has arrived', async () => {
      const name = partial()
      return name !== undefined && statSync(cluster.file(name)).size >= 40 * MiB
    })
    first.child.kill('SIGKILL')
    await first.done
    expect(partial()).toBeDefined()
    const sentBefore = await bytesSent(cluster)
    expect((await cluster.begin(args).done).code).toBe(0)
    expect((await bytesSent(cluster)) - sentBefore).toBeLessThanOrEqual(SIZE - 30 * MiB)
    expect(partial()).toBeUndefined()
    expect(await sha256(cluster.file('fetched-out'))).toBe(sum)
  })

  test('by Ctrl-C: it says so, exits 1, and leaves a session to go on with', async () => {
    await randomFile(cluster.file('stopped'), SIZE)
    const args = ['put', cluster.file('stopped'), '/b/stopped', '--chunk-size', '4MiB', '--json']
    const first = cluster.begin(args)
    await uploaded(cluster, first, 16 * MiB, '/b/stopped')
    first.child.kill('SIGINT')
    expect(await first.done).toMatchObject({ code: 1, json: { error: { code: 'ABORTED' } } })
    expect(await uploadsTo(cluster, '/b/stopped')).toHaveLength(1)
    expect((await cluster.begin(args).done).code).toBe(0)
  })
})

test('the master is killed in mid-upload: the upload waits for it and goes on', async () => {
  await using cluster = await TestCluster.start({ chunkservers: 3 })
  const sum = await randomFile(cluster.file('in'), SIZE)
  const put = cluster.begin(['put', cluster.file('in'), '/b/x', '--chunk-size', '4MiB', '--json'])
  await uploaded(cluster, put, 32 * MiB)
  cluster.kill(cluster.process('master'))
  expect(await put.done).toMatchObject({ code: 0, json: { generation: 1, sizeBytes: SIZE } })
  await cluster.ok('get', '/b/x', cluster.file('out'))
  expect(await sha256(cluster.file('out'))).toBe(sum)
  await cluster.untilHealthy()
})

test('everything is killed in mid-upload: after a new start the same command goes on', async () => {
  const cluster = await TestCluster.start({ chunkservers: 3 })
  cluster.keepDirectory = true
  const sum = await randomFile(cluster.file('in'), SIZE)
  const first = cluster.begin(['put', cluster.file('in'), '/b/x', '--chunk-size', '4MiB', '--json'])
  await uploaded(cluster, first, 32 * MiB)
  first.child.kill('SIGKILL')
  await cluster.stop('SIGKILL')
  await using again = await TestCluster.start({ directory: cluster.directory })
  expect(again.ready.token).toBe(cluster.ready.token)
  expect(
    again.ready.processes
      .map((one) => [one.role, one.id])
      .filter(([role]) => role !== 'gateway')
      .sort(),
  ).toEqual(
    cluster.ready.processes
      .map((one) => [one.role, one.id])
      .filter(([role]) => role !== 'gateway')
      .sort(),
  )
  expect((await again.begin(['put', cluster.file('in'), '/b/x', '--chunk-size', '4MiB', '--json']).done).code).toBe(0)
  await again.ok('get', '/b/x', again.file('out'))
  expect(await sha256(again.file('out'))).toBe(sum)
  const { rmSync } = await import('node:fs')
  await again.stop()
  rmSync(cluster.scratch, { recursive: true })
})

test('two uploads to one path at once: both succeed, and the file is one of them, whole', async () => {
  await using cluster = await TestCluster.start({ chunkservers: 3 })
  const size = 32 * MiB
  const sums = [await randomFile(cluster.file('one'), size), await randomFile(cluster.file('two'), size)]
  const puts = ['one', 'two'].map((name) => cluster.begin(['put', cluster.file(name), '/b/x', '--chunk-size', '1MiB', '--json']))
  const results = await Promise.all(puts.map((put) => put.done))
  expect(results.map((result) => result.code)).toEqual([0, 0])
  expect(results.map((result) => result.json.generation as number).sort()).toEqual([1, 2])
  await cluster.ok('get', '/b/x', cluster.file('out'))
  const winner = results.findIndex((result) => result.json.generation === 2)
  expect(await sha256(cluster.file('out'))).toBe(sums[winner])
})

test('with too few servers nothing is acknowledged, and the error says why', async () => {
  await using cluster = await TestCluster.start({ chunkservers: 3, flags: [...QUICK_TIMERS, '--no-restart'] })
  cluster.kill(cluster.process('chunkserver', 0))
  cluster.kill(cluster.process('chunkserver', 1))
  await randomFile(cluster.file('in'), 256 * KiB)
  const put = await cluster.cli('put', cluster.file('in'), '/b/x')
  expect(put).toMatchObject({ code: 5, json: { error: { code: 'NOT_ENOUGH_SERVERS', retryable: true } } })
  expect((await cluster.cli('stat', '/b/x')).code).toBe(3)
})

async function sumMetric(cluster: TestCluster, direction: string): Promise<number> {
  let sum = 0
  for (const { role, url } of cluster.ready.processes) {
    if (role !== 'chunkserver') continue
    const text = await (await fetch(`${url}/metrics`)).text()
    sum += Number(new RegExp(`cairn_chunkserver_bytes_total\\{direction="${direction}"\\} (\\d+)`).exec(text)?.[1] ?? 0)
  }
  return sum
}

const bytesReceived = (cluster: TestCluster): Promise<number> => sumMetric(cluster, 'in')
const bytesSent = (cluster: TestCluster): Promise<number> => sumMetric(cluster, 'out')
