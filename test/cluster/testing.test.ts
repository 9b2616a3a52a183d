/** What `startCluster` promises to those who test against it: each fault does what its name says, and ends when it is healed. */
import { existsSync } from 'node:fs'
import { Readable } from 'node:stream'
import { randomBytes } from 'node:crypto'
import { describe, expect, test } from '@jest/globals'
import { SystemClock } from '../../common/clock/system-clock.js'
import { MiB } from '../../common/units.js'
import { startCluster, type ChunkCopy, type Cluster, type TestMember } from '../../testing/index.js'
import { runCairn } from '../support/cluster.js'

const content = randomBytes(3 * MiB)

async function put(cluster: Cluster, path: string): Promise<void> {
  await cluster.client.uploadStream(Readable.from([content]), path, { chunkSizeBytes: MiB })
}

async function expectContent(cluster: Cluster, path: string): Promise<void> {
  const pieces: Buffer[] = []
  for await (const piece of cluster.client.download(await cluster.client.stat(path))) pieces.push(Buffer.from(piece))
  expect(Buffer.concat(pieces).equals(content)).toBe(true)
}

const stateOf = async (cluster: Cluster, member: TestMember): Promise<string | undefined> =>
  (await cluster.status()).servers.find(({ id }) => id === member.id)?.state

const untilState = (cluster: Cluster, member: TestMember, state: string): Promise<void> =>
  cluster.until(`${member.name} is ${state}`, async () => (await stateOf(cluster, member)) === state)

/** What the server answers to a request of ours; undefined when nothing comes. */
async function answer(url: string, withinMs: number): Promise<number | undefined> {
  const abort = new AbortController()
  const timer = new SystemClock().setTimer(withinMs, () => abort.abort())
  try {
    return (await fetch(`${url}/livez`, { signal: abort.signal })).status
  } catch {
    return undefined
  } finally {
    timer.cancel()
  }
}

/** Long enough for an answer on a busy machine; a silence is awaited for less. */
const ANSWER_MS = 20_000
const SILENCE_MS = 300

test('a cluster has the zones, disks and gateway that were asked for, serves the command line, and leaves nothing behind', async () => {
  const cluster = await startCluster({ chunkservers: 4, zones: 2, disks: 2, gateway: true })
  expect(cluster.chunkservers.map(({ zone }) => zone)).toEqual(['zone-1', 'zone-2', 'zone-1', 'zone-2'])
  expect((await cluster.status()).servers.map(({ zone }) => zone).sort()).toEqual(['zone-1', 'zone-1', 'zone-2', 'zone-2'])
  for (const { directories } of cluster.chunkservers) expect(directories).toHaveLength(2)
  await put(cluster, '/b/x')
  const got = await fetch(`${cluster.gateway.url}/v1/files/b/x/content`, {
    headers: { authorization: `Bearer ${cluster.token}` },
  })
  expect(Buffer.from(await got.arrayBuffer()).equals(content)).toBe(true)
  expect(await runCairn(['stat', '/b/x', '--json'], cluster.env).done).toMatchObject({ code: 0, json: { sizeBytes: 3 * MiB } })
  expect(cluster.master.log()).toContain('master is serving')
  await cluster.stop()
  expect(existsSync(cluster.directory)).toBe(false)
  expect([cluster.master, cluster.gateway, ...cluster.chunkservers].some(({ running }) => running)).toBe(false)
})

test('processes are killed, paused and started again, and healthy() waits until the master knows', async () => {
  await using cluster = await startCluster({ chunkservers: 4 })
  await put(cluster, '/b/x')
  const [first, second] = cluster.chunkservers as [TestMember, TestMember]
  await cluster.kill(first)
  await cluster.healthy()
  expect(await stateOf(cluster, first)).toBe('dead')
  await cluster.restart(first.id)
  await cluster.pause(second)
  await cluster.healthy()
  expect(await stateOf(cluster, first)).toBe('serving')
  expect(await stateOf(cluster, second)).toBe('dead')
  await cluster.resume(second)
  await cluster.kill('master')
  await cluster.restart('master')
  await cluster.healthy()
  await expectContent(cluster, '/b/x')
})

describe('a partition', () => {
  test('from the master makes a server dead while clients still reach it; healed, it serves again', async () => {
    await using cluster = await startCluster({ chunkservers: 3 })
    const [first] = cluster.chunkservers as [TestMember]
    await cluster.partition(first, cluster.master)
    await untilState(cluster, first, 'dead')
    expect(await answer(first.url, ANSWER_MS)).toBe(200)
    await cluster.heal(first)
    await cluster.healthy()
  })

  test('from clients is felt by clients and not by the others; refusing, it resets', async () => {
    await using cluster = await startCluster({ chunkservers: 3 })
    const [first] = cluster.chunkservers as [TestMember]
    await cluster.partition(first, 'clients')
    expect(await answer(first.url, SILENCE_MS)).toBeUndefined()
    await cluster.heal()
    expect(await answer(first.url, ANSWER_MS)).toBe(200)
    await cluster.partition(first, 'clients', { mode: 'refuse' })
    await expect(fetch(`${first.url}/livez`)).rejects.toThrow()
    expect(await stateOf(cluster, first)).toBe('serving')
  })

  test('of one direction lets a request through and its answer not', async () => {
    await using cluster = await startCluster({ chunkservers: 1 })
    const [first] = cluster.chunkservers as [TestMember]
    await cluster.partition(first, 'clients', { direction: 'out' })
    expect(await answer(first.url, SILENCE_MS)).toBeUndefined()
    await cluster.heal()
    await cluster.partition(first, cluster.master, { direction: 'in' })
    // Its heartbeats arrive, so it is not dead; the answers do not, so it beats ever more slowly.
    await untilState(cluster, first, 'suspect')
    await cluster.heal()
    await untilState(cluster, first, 'serving')
  })

  test('between two servers leaves each of them to the others', async () => {
    await using cluster = await startCluster({ chunkservers: 3 })
    const [first, second] = cluster.chunkservers as [TestMember, TestMember]
    await cluster.partition(first, second, { mode: 'refuse' })
    await put(cluster, '/b/x')
    await expectContent(cluster, '/b/x')
    for (const { state } of (await cluster.status()).servers) expect(state).toBe('serving')
    await cluster.heal()
    await cluster.healthy()
  })
})

test('damaged copies are not read, and heal, whatever was done to them', async () => {
  await using cluster = await startCluster({ chunkservers: 4 })
  const [server] = cluster.chunkservers as [TestMember]
  const kinds = ['flip-bit', 'truncate', 'zero', 'swap', 'delete'] as const
  for (const damage of kinds) await put(cluster, `/b/${damage}`)
  const damaged: ChunkCopy[] = []
  for (const damage of kinds) {
    const held = (await cluster.copies(`/b/${damage}`)).filter((one) => one.server === server)
    // Swapping takes two.
    const copy = held[0]
    if (!copy || (damage === 'swap' && held.length < 2)) continue
    const done = await cluster.corrupt(`/b/${damage}`, { chunk: copy.index, server, damage })
    expect(done.file).toBe(copy.file)
    damaged.push(done)
  }
  expect(damaged.length).toBeGreaterThan(0)
  for (const damage of kinds) await expectContent(cluster, `/b/${damage}`)
  await cluster.restart(server)
  await cluster.healthy()
  for (const damage of kinds) await expectContent(cluster, `/b/${damage}`)
})

describe('disks', () => {
  test('that are full take nothing, and do when they are freed', async () => {
    await using cluster = await startCluster({ chunkservers: 3 })
    const [first] = cluster.chunkservers as [TestMember]
    await cluster.fillDisk(first)
    await put(cluster, '/b/x')
    for (const { server } of await cluster.copies('/b/x')) expect(server).not.toBe(first)
    expect((await cluster.status()).chunks.healthy).toBe(0)
    await cluster.freeDisk(first)
    await cluster.healthy()
    await expectContent(cluster, '/b/x')
  })

  test('that fail cost their chunks, which are made again elsewhere, and are taken again after a restart', async () => {
    await using cluster = await startCluster({ chunkservers: 4, disks: 2 })
    await put(cluster, '/b/x')
    const { server } = (await cluster.copies('/b/x'))[0] as { server: TestMember }
    await cluster.failDisk(server)
    await expectContent(cluster, '/b/x')
    await cluster.healDisk(server)
    await cluster.restart(server)
    await cluster.healthy()
  })
})

test('a process with a wrong clock runs with it', async () => {
  await using cluster = await startCluster({ chunkservers: 3 })
  const [first] = cluster.chunkservers as [TestMember]
  await cluster.restart(first, { clockSkewMs: -3_600_000 })
  const times = first
    .log()
    .trim()
    .split('\n')
    .map((line) => Date.parse((JSON.parse(line) as { time: string }).time))
  expect(Math.max(...times) - (times.at(-1) as number)).toBeGreaterThan(3_000_000)
  await put(cluster, '/b/x')
  await expectContent(cluster, '/b/x')
})
