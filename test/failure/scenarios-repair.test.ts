/** Scenarios of the failure suite about the order of repair. See docs/design/failure-suite.md. */
import { expect, test } from '@jest/globals'
import { startCluster, type Cluster, type TestMember } from '../../testing/index.js'
import { KiB, MiB } from '../../common/units.js'
import { ClientLoad } from '../support/client-load.js'
import { writeFile } from '../support/scenario.js'

const CHUNKS = 320

test('scenario (b): two servers are killed at once; every chunk has a second copy before any gets its third', async () => {
  await using cluster = await startCluster({ chunkservers: 5 })
  const file = await writeFile(cluster, '/a/x', (CHUNKS / 16) * MiB, { chunkSizeBytes: 64 * KiB })
  const load = ClientLoad.start(cluster.client, { workers: 1, thinkMs: 50 })
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
