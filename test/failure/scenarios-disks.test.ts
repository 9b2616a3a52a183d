/** Scenarios of the failure suite about damaged copies and disks that fail, fill up or slow down. See docs/design/failure-suite.md. */
import { rmSync } from 'node:fs'
import path from 'node:path'
import { expect, test } from '@jest/globals'
import { startCluster, type Cluster, type TestMember } from '../../testing/index.js'
import { KiB, MiB } from '../../common/units.js'
import { ClientLoad } from '../support/client-load.js'
import { untilState, writeFile } from '../support/scenario.js'

const CHUNK = { chunkSizeBytes: 128 * KiB }
const DAMAGES = ['flip-bit', 'truncate', 'zero', 'swap', 'delete'] as const

test('scenario (e): bits flip, files are cut, zeroed, swapped and deleted under readers; none reads a wrong byte, all heals', async () => {
  await using cluster = await startCluster({ chunkservers: 4 })
  await using load = ClientLoad.start(cluster.client)
  const file = await writeFile(cluster, '/a/x', 4 * MiB, CHUNK)
  for (let round = 0; round < 15; round += 1) {
    const damage = DAMAGES[round % DAMAGES.length] as (typeof DAMAGES)[number]
    // One copy of each chunk at the most; a swap takes one of another chunk with it.
    await cluster.corrupt('/a/x', { damage, chunk: 2 * round })
    await file.verify()
  }
  await load.progress(20)
  // What nobody reads is found when the servers look through their disks.
  for (const member of cluster.chunkservers) {
    await cluster.restart(member)
    await cluster.healthy()
  }
  await file.verify()
  expect(await load.finish()).toEqual([])
  expect(load.failures).toEqual([])
})

test('scenario (e): the whole chunk directory of a running server is deleted; it is noticed and filled again', async () => {
  await using cluster = await startCluster({ chunkservers: 4 })
  await using load = ClientLoad.start(cluster.client)
  const file = await writeFile(cluster, '/a/x', 2 * MiB, CHUNK)
  const [victim] = cluster.chunkservers as [TestMember]
  rmSync(path.join(victim.directories[0] as string, 'chunks'), { recursive: true })
  await file.verify()
  await load.progress(20)
  await cluster.restart(victim)
  await cluster.healthy()
  await file.verify()
  expect(await load.finish()).toEqual([])
  expect(load.failures).toEqual([])
})

test('scenario (f): a disk that gives EIO costs its copies, never the server or a wrong byte', async () => {
  await using cluster = await startCluster({ chunkservers: 4, disks: 2 })
  await using load = ClientLoad.start(cluster.client)
  const file = await writeFile(cluster, '/a/x', 2 * MiB, CHUNK)
  const [victim] = cluster.chunkservers as [TestMember]
  await cluster.failDisk(victim, { disk: 1 })
  await file.verify()
  await load.progress(30)
  await untilState(cluster, victim, 'serving')
  await untilNoCopyBelow(cluster, victim, victim.directories[1] as string)
  await cluster.healDisk(victim)
  await cluster.restart(victim)
  await cluster.healthy()
  await file.verify()
  expect(await load.finish()).toEqual([])
  expect(load.failures).toEqual([])
})

test('scenario (f): a disk that runs out of space without warning, in mid-write, costs no upload', async () => {
  await using cluster = await startCluster({ chunkservers: 4 })
  await using load = ClientLoad.start(cluster.client)
  const [victim] = cluster.chunkservers as [TestMember]
  const file = await writeFile(cluster, '/a/x', 8 * MiB, {
    ...CHUNK,
    at: { bytes: 2 * MiB, run: () => cluster.fillDisk(victim, { silently: true }) },
  })
  await load.progress(20)
  await cluster.freeDisk(victim)
  await cluster.restart(victim)
  await cluster.healthy()
  await file.verify()
  expect(await load.finish()).toEqual([])
  expect(load.failures).toEqual([])
})

test('scenario (g): a disk that takes 200 ms for everything slows nobody down for long: new chunks go elsewhere', async () => {
  await using cluster = await startCluster({ chunkservers: 5 })
  await using load = ClientLoad.start(cluster.client)
  await load.progress(30)
  const [victim] = cluster.chunkservers as [TestMember]
  await cluster.slowDisk(victim)
  let count = 0
  await cluster.until('five files in a row are written elsewhere', async () => {
    for (let index = 0; index < 5; index += 1) {
      const path = `/a/${(count += 1)}`
      await writeFile(cluster, path, 512 * KiB, CHUNK)
      if ((await cluster.copies(path)).some(({ server }) => server === victim)) return false
    }
    return true
  })
  await cluster.healDisk(victim)
  await cluster.healthy()
  expect(await load.finish()).toEqual([])
  expect(load.failures).toEqual([])
})

test('scenario (q): the target of a repair is full; another one is found, and nothing blocks behind it', async () => {
  await using cluster = await startCluster({ chunkservers: 5 })
  await using load = ClientLoad.start(cluster.client)
  const file = await writeFile(cluster, '/a/x', 4 * MiB, CHUNK)
  const [full, victim] = cluster.chunkservers as [TestMember, TestMember]
  await cluster.fillDisk(full, { silently: true })
  await cluster.kill(victim)
  await untilState(cluster, victim, 'dead')
  await cluster.until('every chunk has its copies', async () => {
    const { chunks } = await cluster.status()
    return chunks.healthy === chunks.total
  })
  await file.verify()
  await cluster.freeDisk(full)
  await cluster.restart(full)
  await cluster.healthy()
  expect(await load.finish()).toEqual([])
  expect(load.failures).toEqual([])
})

async function untilNoCopyBelow(cluster: Cluster, member: TestMember, directory: string): Promise<void> {
  await cluster.until('its copies are made again elsewhere', async () => {
    const copies = await cluster.copies('/a/x')
    const perChunk = new Map<string, number>()
    for (const { chunkId, server, file } of copies)
      if (server !== member || !file.startsWith(directory)) perChunk.set(chunkId, (perChunk.get(chunkId) ?? 0) + 1)
    return [...perChunk.values()].every((count) => count >= 3)
  })
}
