/** Scenarios of the failure suite about chunkservers that die, hang and return. See docs/design/failure-suite.md. */
import { existsSync, readdirSync, rmSync } from 'node:fs'
import path from 'node:path'
import { expect, test } from '@jest/globals'
import { startCluster, type TestMember } from '../../testing/index.js'
import { ClientLoad } from '../support/client-load.js'
import { chunkFiles, stateOf, untilState, writeFile } from '../support/scenario.js'
import { KiB, MiB } from '../../common/units.js'

test('scenario (a): a server is killed in mid-upload; the upload goes on and every copy is made again elsewhere', async () => {
  await using cluster = await startCluster({ chunkservers: 4 })
  await using load = ClientLoad.start(cluster.client)
  const [victim] = cluster.chunkservers as [TestMember]
  const file = await writeFile(cluster, '/a/large', 24 * MiB, {
    chunkSizeBytes: MiB,
    at: { bytes: 4 * MiB, run: () => cluster.kill(victim) },
  })
  await load.progress(30)
  await cluster.healthy()
  for (const { server } of await cluster.copies('/a/large')) expect(server).not.toBe(victim)
  await file.verify()
  expect(await load.finish()).toEqual([])
  expect(load.failures).toEqual([])
})

test('scenario (c): a server that hangs for a moment is not declared dead; one that hangs for long is, and finds itself fenced', async () => {
  await using cluster = await startCluster({ chunkservers: 4, timers: { deadAfterMs: 12_000 } })
  await using load = ClientLoad.start(cluster.client)
  await load.progress(30)
  const [victim] = cluster.chunkservers as [TestMember]
  const states = new Set<string | undefined>()
  await cluster.pause(victim)
  await cluster.until('it is suspect', async () => {
    states.add(await stateOf(cluster, victim))
    return states.has('suspect')
  })
  await cluster.resume(victim)
  await cluster.until('it serves again', async () => {
    states.add(await stateOf(cluster, victim))
    return (await stateOf(cluster, victim)) === 'serving'
  })
  expect(states).not.toContain('dead')
  await load.progress(30)

  await cluster.pause(victim)
  await untilState(cluster, victim, 'dead')
  await cluster.healthy()
  await cluster.resume(victim)
  await cluster.healthy()
  expect(victim.log()).toContain('registered with the master')
  expect(await load.finish()).toEqual([])
})

test('scenario (i): a server returns with old data: what was deleted stays deleted, and surplus copies go', async () => {
  await using cluster = await startCluster({ chunkservers: 4, timers: { garbageGraceMs: 1_000 } })
  await using load = ClientLoad.start(cluster.client)
  const doomed = await writeFile(cluster, '/a/doomed', 2 * MiB, { chunkSizeBytes: 128 * KiB })
  const kept = await writeFile(cluster, '/a/kept', 2 * MiB, { chunkSizeBytes: 128 * KiB })
  const doomedIds = new Set((await cluster.copies('/a/doomed')).map(({ chunkId }) => chunkId))
  const [victim] = cluster.chunkservers as [TestMember]
  await cluster.kill(victim)
  await cluster.client.delete(doomed.path, { purge: true })
  await cluster.healthy()
  await cluster.restart(victim)
  await cluster.healthy()
  await cluster.until('its old copies of deleted chunks are gone', () => !chunkFiles(victim).some((id) => doomedIds.has(id)))
  await cluster.until('there are no more copies than wanted', async () => {
    const ids = new Set((await cluster.copies('/a/kept')).map(({ chunkId }) => chunkId))
    const held = cluster.chunkservers.flatMap(chunkFiles).filter((id) => ids.has(id))
    return held.length === 3 * ids.size
  })
  await expect(cluster.client.stat('/a/doomed')).rejects.toMatchObject({ code: 'FILE_NOT_FOUND' })
  await kept.verify()
  expect(await load.finish()).toEqual([])
})

test.each(['without its chunks', 'with an empty directory'])(
  'scenario (i): a server returns %s, and is filled again',
  async (how) => {
    await using cluster = await startCluster({ chunkservers: 4 })
    await using load = ClientLoad.start(cluster.client)
    const file = await writeFile(cluster, '/a/x', 2 * MiB, { chunkSizeBytes: 128 * KiB })
    await load.progress(20)
    const [victim] = cluster.chunkservers as [TestMember]
    const { id } = victim
    const [directory] = victim.directories as [string]
    await cluster.kill(victim)
    if (how === 'with an empty directory') rmSync(directory, { recursive: true })
    else for (const name of readdirSync(path.join(directory, 'chunks'))) emptied(path.join(directory, 'chunks', name))
    await cluster.restart(victim)
    // Without its identity it is a new server, and the old one is dead.
    if (how === 'with an empty directory') expect(victim.id).not.toBe(id)
    else expect(victim.id).toBe(id)
    await cluster.healthy()
    await file.verify()
    expect(existsSync(directory)).toBe(true)
    expect(await load.finish()).toEqual([])
  },
)

function emptied(directory: string): void {
  for (const name of readdirSync(directory)) rmSync(path.join(directory, name))
}
