/** Scenarios of the failure suite about networks, zones and clocks. See docs/design/failure-suite.md. */
import { expect, test } from '@jest/globals'
import { startCluster, type Cluster, type TestMember } from '../../testing/index.js'
import { parseFilePath } from '../../common/path-name.js'
import { ClientLoad } from '../support/client-load.js'
import { KiB, MiB } from '../../common/units.js'
import { stateOf, untilState, writeFile } from '../support/scenario.js'

const TEN_MINUTES_MS = 600_000

test('scenario (h): the master sees a server and clients do not; they read and write elsewhere', async () => {
  await using cluster = await startCluster({ chunkservers: 4 })
  await using load = ClientLoad.start(cluster.client)
  await load.progress(20)
  const [victim] = cluster.chunkservers as [TestMember]
  await cluster.partition(victim, 'clients')
  const file = await writeFile(cluster, '/a/x', 2 * MiB)
  await file.verify()
  await load.progress(10)
  expect(await stateOf(cluster, victim)).toBe('serving')
  await cluster.heal()
  await cluster.healthy()
  await file.verify()
  expect(await load.finish()).toEqual([])
  expect(load.failures).toEqual([])
})

test('scenario (h): clients see a server and the master does not; it is declared dead, refuses writes, and comes back', async () => {
  await using cluster = await startCluster({ chunkservers: 4 })
  await using load = ClientLoad.start(cluster.client)
  await load.progress(20)
  const [victim] = cluster.chunkservers as [TestMember]
  const stale = await allocation(cluster, victim)
  await cluster.partition(victim, cluster.master)
  await untilState(cluster, victim, 'dead')
  const file = await writeFile(cluster, '/a/x', 2 * MiB)
  // Who still holds a capability from before is refused: others have rebuilt what the server held.
  const refused = await fetch(stale.url, { method: 'PUT', headers: stale.headers, body: Buffer.alloc(64 * KiB + 8) })
  expect(await refused.json()).toMatchObject({ error: { code: 'FENCED' } })
  await load.progress(10)
  const after = await writeFile(cluster, '/a/y', MiB)
  for (const { server } of await cluster.copies('/a/y')) expect(server).not.toBe(victim)
  await cluster.heal()
  await untilState(cluster, victim, 'serving')
  await cluster.healthy()
  await file.verify()
  await after.verify()
  expect(await load.finish()).toEqual([])
  expect(load.failures).toEqual([])
})

/** The address of a chunk of 64 KiB that may be written to a server, and what such a write must carry. */
async function allocation(cluster: Cluster, server: TestMember): Promise<{ url: string; headers: Record<string, string> }> {
  const { api } = cluster.client
  const lengthBytes = 64 * KiB
  const body = {
    path: parseFilePath('/a/stale'),
    sizeBytes: null,
    fingerprint: null,
    owner: 'test',
    adoption: { kind: 'none' } as const,
  }
  const { uploadId, writerEpoch } = await api.call('openUpload', { body })
  const wanted = Array.from({ length: 16 }, (_, index) => ({ index, lengthBytes }))
  const { chunks } = await api.call('allocateChunks', { params: { uploadId }, body: { writerEpoch, chunks: wanted, avoid: [] } })
  const chunk = chunks.find(({ targets }) => targets.some(({ serverId }) => serverId === server.id))
  if (!chunk) throw new Error('no chunk was allocated to the server')
  return { url: `${server.url}/v1/chunks/${chunk.chunkId}`, headers: { 'x-cairn-capability': chunk.capability } }
}

test('scenario (h): two servers cannot reach one another; chains go round that, and repairs find another way', async () => {
  await using cluster = await startCluster({ chunkservers: 4 })
  await using load = ClientLoad.start(cluster.client)
  const [first, second, third] = cluster.chunkservers as [TestMember, TestMember, TestMember]
  await cluster.partition(first, second, { mode: 'refuse' })
  const file = await writeFile(cluster, '/a/x', 2 * MiB)
  await cluster.kill(third)
  await untilState(cluster, third, 'dead')
  await load.progress(20)
  await cluster.heal()
  await cluster.restart(third)
  await cluster.healthy()
  await file.verify()
  expect(await load.finish()).toEqual([])
  expect(load.failures).toEqual([])
})

test('scenario (j): clocks that are ten minutes off, both ways, change nothing', async () => {
  await using cluster = await startCluster({ chunkservers: 4, timers: { garbageGraceMs: 60_000 } })
  await using load = ClientLoad.start(cluster.client)
  const [first, second] = cluster.chunkservers as [TestMember, TestMember]
  const before = await writeFile(cluster, '/a/before', MiB)
  await cluster.restart(first, { clockSkewMs: TEN_MINUTES_MS })
  await cluster.restart(second, { clockSkewMs: -TEN_MINUTES_MS })
  await cluster.healthy()
  const during = await writeFile(cluster, '/a/during', MiB)
  const servers = new Set((await cluster.copies('/a/during')).map(({ server }) => server))
  expect(servers.size).toBe(3)
  await load.progress(20)
  for (const clockSkewMs of [TEN_MINUTES_MS, -TEN_MINUTES_MS]) {
    await cluster.restart('master', { clockSkewMs })
    await cluster.healthy()
    await load.progress(10)
  }
  await before.verify()
  await during.verify()
  expect(await load.finish()).toEqual([])
  expect(load.failures).toEqual([])
})

test('scenario (l): a whole zone is lost; everything stays readable and writable, and is spread again when it returns', async () => {
  await using cluster = await startCluster({ chunkservers: 6, zones: 3 })
  await using load = ClientLoad.start(cluster.client)
  await load.progress(20)
  const file = await writeFile(cluster, '/a/x', 2 * MiB)
  const zoneOne = cluster.chunkservers.filter(({ zone }) => zone === 'zone-1')
  expect(zoneOne).toHaveLength(2)
  await Promise.all(zoneOne.map((member) => cluster.kill(member)))
  await file.verify()
  const during = await writeFile(cluster, '/a/during', 2 * MiB)
  const zones = new Set((await cluster.copies('/a/during')).map(({ server }) => server.zone))
  expect([...zones].sort()).toEqual(['zone-2', 'zone-3'])
  await cluster.healthy()
  for (const member of zoneOne) await cluster.restart(member)
  await cluster.healthy()
  await during.verify()
  expect(await load.finish()).toEqual([])
  expect(load.failures).toEqual([])
})

test('scenario (p): many servers vanish at once; repair brakes and says so, and goes on when they are back', async () => {
  await using cluster = await startCluster({ chunkservers: 7 })
  await using load = ClientLoad.start(cluster.client)
  await load.progress(30)
  const gone = cluster.chunkservers.slice(0, 3)
  for (const member of gone) await cluster.partition(member)
  await cluster.until('repair is held back', async () => (await cluster.status()).repair.brake !== null)
  for (const member of gone) await untilState(cluster, member, 'dead')
  expect((await cluster.status()).repair.brake).not.toBeNull()
  await cluster.heal()
  await cluster.healthy()
  expect(await load.finish()).toEqual([])
  // All three copies of a chunk may have been away; that is said, with a code.
  const codes = new Set(load.failures.map(({ code }) => code))
  for (const code of codes) expect(['CHUNK_UNAVAILABLE', 'NOT_ENOUGH_SERVERS']).toContain(code)
})
