/** Scenarios of the failure suite about the order of repair, and servers that leave in order. See docs/design/failure-suite.md. */
import { expect, test } from '@jest/globals'
import { startCluster, type Cluster, type TestMember } from '../../testing/index.js'
import { KiB, MiB } from '../../common/units.js'
import { ClientLoad } from '../support/client-load.js'
import { runCairn, type CommandResult } from '../support/cluster.js'
import { chunkFiles, stateOf, untilState, writeFile } from '../support/scenario.js'

const CHUNKS = 320

test('scenario (b): two servers are killed at once; every chunk has a second copy before any gets its third', async () => {
  await using cluster = await startCluster({ chunkservers: 5 })
  const file = await writeFile(cluster, '/a/x', (CHUNKS / 16) * MiB, { chunkSizeBytes: 64 * KiB })
  await using load = ClientLoad.start(cluster.client, { workers: 1, thinkMs: 50 })
  const killed = cluster.chunkservers.slice(0, 2)
  const survivors = cluster.chunkservers.slice(2)
  const before = await copiesOn(cluster, survivors)
  const single = indexesWith(before, 1)
  const double = indexesWith(before, 2)
  expect(Math.min(single.length, double.length)).toBeGreaterThan(20)
  await Promise.all(killed.map((member) => cluster.kill(member)))
  let samples = 0
  const outOfTurn: string[] = []
  await cluster.until('every chunk has its copies', async () => {
    const now = await copiesOn(cluster, survivors)
    const waiting = single.filter((index) => (now[index] ?? 0) < 2).length
    const served = double.filter((index) => (now[index] ?? 0) > 2).length
    if (waiting > 0 && served > 0) outOfTurn.push(`${served} chunks had a third copy while ${waiting} had but one`)
    samples += 1
    return now.every((count) => count === 3)
  })
  expect(outOfTurn).toEqual([])
  expect(samples).toBeGreaterThan(3)
  await cluster.healthy()
  await file.verify()
  expect(await load.finish()).toEqual([])
  expect(load.failures).toEqual([])
})

test('scenario (m): a server is drained under load and leaves with nothing; the master dying on the way changes nothing', async () => {
  await using cluster = await startCluster({ chunkservers: 5, timers: { garbageGraceMs: 1_000 } })
  await using load = ClientLoad.start(cluster.client, { workers: 2, thinkMs: 50, filesPerWorker: 4 })
  const file = await writeFile(cluster, '/a/x', 2 * MiB, { chunkSizeBytes: 128 * KiB })
  const [leaving] = cluster.chunkservers as [TestMember]
  expect(await server(cluster, 'drain', leaving.id)).toMatchObject({ code: 0, json: { done: false } })
  expect(await stateOf(cluster, leaving)).toBe('serving')
  expect(await server(cluster, 'drain', leaving.id, '--yes')).toMatchObject({ code: 0, json: { done: true } })
  await cluster.restart('master', { signal: 'SIGKILL' })
  const during = await writeFile(cluster, '/a/during', MiB)
  for (const copy of await cluster.copies('/a/during')) expect(copy.server).not.toBe(leaving)
  await untilState(cluster, leaving, 'decommissioned', { withinMs: 240_000 })
  await cluster.kill(leaving)
  expect(await server(cluster, 'remove', leaving.id, '--yes')).toMatchObject({ code: 0, json: { done: true } })
  await file.verify()
  await during.verify()
  expect(await load.finish()).toEqual([])
  expect(load.failures).toEqual([])
  expect(await stateOf(cluster, leaving)).toBeUndefined()
  const { chunks } = await cluster.status()
  expect(chunks).toMatchObject({ healthy: chunks.total, unavailable: 0 })
}, 300_000)

test('scenario (m): a server in maintenance may be away beyond the dead time without a chunk being rebuilt', async () => {
  await using cluster = await startCluster({ chunkservers: 4 })
  await using load = ClientLoad.start(cluster.client)
  const file = await writeFile(cluster, '/a/x', 2 * MiB, { chunkSizeBytes: 128 * KiB })
  const [away] = cluster.chunkservers as [TestMember]
  const held = new Set(chunkFiles(away))
  const heldOfFile = (await cluster.copies('/a/x')).filter((copy) => copy.server === away)
  expect(heldOfFile.length).toBeGreaterThan(0)
  expect(await server(cluster, 'maintenance', away.id, '--for', '10m', '--yes')).toMatchObject({ code: 0 })
  await cluster.kill(away, 'SIGTERM')
  // Another one dies and is rebuilt: by then the time after which a silent server is dead is over for the first too.
  const [, other] = cluster.chunkservers as [TestMember, TestMember]
  await cluster.kill(other)
  await untilState(cluster, other, 'dead')
  expect(await stateOf(cluster, away)).toBe('maintenance')
  await file.verify()
  await cluster.restart(other)
  await cluster.restart(away)
  await untilState(cluster, away, 'serving')
  await cluster.healthy()
  expect(chunkFiles(away).some((id) => held.has(id))).toBe(true)
  await file.verify()
  expect(await load.finish()).toEqual([])
  expect(load.failures).toEqual([])
})

const server = (cluster: Cluster, ...args: string[]): Promise<CommandResult> =>
  runCairn(['server', ...args, '--json'], cluster.env).done

const indexesWith = (counts: readonly number[], wanted: number): number[] =>
  counts.flatMap((count, index) => (count === wanted ? [index] : []))

/** Copies per chunk on these servers, as one answer of the master has them. */
async function copiesOn(cluster: Cluster, servers: readonly TestMember[]): Promise<number[]> {
  const { manifestId } = await cluster.client.stat('/a/x')
  const query = { from: 0, limit: CHUNKS }
  const { chunks } = await cluster.client.api.call('listManifestChunks', { params: { manifestId }, query })
  const ids = new Set(servers.map(({ id }) => id))
  return chunks.map(({ replicas }) => replicas.filter((id) => ids.has(id)).length)
}
