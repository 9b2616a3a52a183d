/** Deletions that are decided, asked for or carried out late, when the reasons for them do not hold any more. */
import { expect, test } from '@jest/globals'
import { DAY_MS, MINUTE_MS, SECOND_MS } from '../../common/units.js'
import { ReplicaState } from '../../master/store/schema.js'
import { DATA, delivered, extraCopy, lost, OneFile, putChunk, SteppedUpload } from './one-file.js'

/** A file with a fourth copy, which has just been given up; deletions are asked for only every ten minutes. */
async function withTrimmedCopy(seed: number, settings: object = {}): Promise<{ file: OneFile; trimmed: number }> {
  const file = await OneFile.start({
    seed,
    chunkservers: 4,
    settings: { garbageIntervalMs: 10 * MINUTE_MS, ...settings },
  })
  const { cluster } = file
  const away = file.holders()[0] as number
  cluster.kill(away)
  await cluster.clock.until(async () => (await file.states()).size === 4, 5 * MINUTE_MS)
  await cluster.startServer(away)
  let trimmed = -1
  await cluster.clock.until(async () => {
    const states = await file.states()
    trimmed = cluster.servers.findIndex((_server, index) => states.get(file.serverNo(index)) === ReplicaState.surplus)
    return trimmed >= 0
  }, 5 * MINUTE_MS)
  return { file, trimmed }
}

test('a trim that wakes up late, when the other copies have died, gives its copy back instead of deleting it', async () => {
  const { file, trimmed } = await withTrimmedCopy(101)
  await using _ = file
  const { cluster } = file
  expect(file.holders()).toHaveLength(4)
  for (const index of [0, 1, 2, 3]) if (index !== trimmed) cluster.kill(index)
  await cluster.clock.advance(25 * MINUTE_MS)
  expect(file.holders()).toEqual([trimmed])
  await file.expectWhole()
  expect((await file.states()).get(file.serverNo(trimmed))).toBe(ReplicaState.good)
  // And it is the source from which the others are made again.
  for (const index of [0, 1, 2, 3]) {
    if (index === trimmed) continue
    file.server(index).disk.crash()
    await file.server(index).disk.removeTree('/data')
    await cluster.startServer(index)
  }
  await cluster.untilHealthy(5 * MINUTE_MS)
  await file.expectWhole()
})

test('a delete command that waited for its server while the other copies died never leaves', async () => {
  const { file, trimmed } = await withTrimmedCopy(102)
  await using _ = file
  const { cluster } = file
  // Only its own server can be reached now; the command may have been queued long before its next heartbeat.
  for (const index of [0, 1, 2, 3]) if (index !== trimmed) cluster.kill(index)
  await cluster.clock.until(
    async () => (await cluster.store.listServers({})).filter(({ state }) => state !== 'serving').length === 3,
    MINUTE_MS,
  )
  const metadata = await cluster.store.readPosition({})
  const serverNo = file.serverNo(trimmed)
  const handed = await cluster.store.handOutDeletions({ serverNo, chunkIds: [file.chunkId] })
  expect(handed).toEqual([])
  const expiresMs = cluster.store.now() + MINUTE_MS
  cluster.master.cluster.send(serverNo, { kind: 'delete', chunkIds: [file.chunkId], incarnation: 1, metadata, expiresMs })
  await cluster.clock.advance(10 * SECOND_MS)
  expect(file.holders()).toEqual([trimmed])
  await file.expectWhole()
})

test('a surplus copy whose deletion was never asked for is given back at once when the others are gone', async () => {
  const { file, trimmed } = await withTrimmedCopy(105)
  await using _ = file
  const { cluster } = file
  const serverNo = file.serverNo(trimmed)
  for (const index of [0, 1, 2, 3]) if (index !== trimmed) cluster.kill(index)
  await cluster.clock.advance(10 * SECOND_MS)
  expect(await cluster.store.giveBackSurplus({ before: cluster.store.now() - 2 * MINUTE_MS, limit: 10 })).toBe(1)
  expect((await file.states()).get(serverNo)).toBe(ReplicaState.good)
  await file.expectWhole()
})

test('a surplus copy is given back only when no command for it can be on its way any more', async () => {
  const { file, trimmed } = await withTrimmedCopy(103, { garbageIntervalMs: SECOND_MS })
  await using _ = file
  const { cluster } = file
  // Its server hears nothing from now on, so the command is handed out and lost.
  const serverNo = file.serverNo(trimmed)
  const node = file.server(trimmed).node
  cluster.network.fate = (from, to) => (from === 'master' && to === node ? lost : delivered)
  expect(await cluster.store.handOutDeletions({ serverNo, chunkIds: [file.chunkId] })).toEqual([file.chunkId])
  for (const index of [0, 1, 2, 3]) if (index !== trimmed) cluster.kill(index)
  await cluster.clock.advance(70 * SECOND_MS)
  expect((await file.states()).get(serverNo)).toBe(ReplicaState.surplus)
  await cluster.clock.advance(70 * SECOND_MS)
  expect((await file.states()).get(serverNo)).toBe(ReplicaState.good)
})

test('a write token that is used again after its copy was trimmed makes no copy that counts while it is being deleted', async () => {
  await using file = await OneFile.start({ seed: 104, chunkservers: 5, settings: { garbageIntervalMs: 5 * SECOND_MS } })
  const { cluster } = file
  const upload = await SteppedUpload.open(cluster, '/b/other')
  await upload.put()
  await upload.report()
  await upload.commit()
  const { chunkId, targets } = upload.chunk
  const replayed = targets[0]
  const serverNo = cluster.master.cluster.recordOf(replayed?.serverId as never)?.serverNo as number
  const index = cluster.servers.findIndex((_server, at) => file.serverId(at) === replayed?.serverId)
  const store = file.server(index).running?.store
  // Another server gets a copy too many, and the first one's is given up.
  await cluster.store.addReplica(await extraCopy(file, upload))
  expect(await cluster.store.trimReplica({ chunkId, serverNo })).toBe(true)
  // The old token again, while the copy still is there: it stays on its way out.
  await putChunk(cluster, upload.chunk, targets.slice(0, 1), DATA)
  await cluster.clock.advance(100)
  expect((await file.states(chunkId)).get(serverNo)).toBe(ReplicaState.surplus)
  await cluster.clock.until(() => store?.find(chunkId) === undefined, MINUTE_MS)
  // And once more when it has gone: a whole new copy, which counts when the server tells of it and is one too many again.
  await putChunk(cluster, upload.chunk, targets.slice(0, 1), DATA)
  await cluster.clock.advance(2 * MINUTE_MS)
  expect(file.holders(chunkId)).toHaveLength(3)
  const counted = [...(await file.states(chunkId))].filter(([, state]) => state === ReplicaState.good).map(([no]) => no)
  expect(counted.sort()).toEqual(
    file
      .holders(chunkId)
      .map((at) => file.serverNo(at))
      .sort(),
  )
  await file.expectWhole('/b/other')
})

test('a delete command that was on its way while its copy went and came anew leaves the new one alone', async () => {
  await using file = await OneFile.start({ seed: 105, chunkservers: 4, settings: { garbageIntervalMs: DAY_MS } })
  const { cluster } = file
  const upload = await SteppedUpload.open(cluster, '/b/other')
  await upload.put()
  await upload.report()
  await upload.commit()
  const { chunkId, targets } = upload.chunk
  const index = cluster.servers.findIndex((_server, at) => file.serverId(at) === targets[0]?.serverId)
  const serverNo = file.serverNo(index)
  await cluster.clock.advance(2 * SECOND_MS)
  await cluster.store.addReplica(await extraCopy(file, upload))
  expect(await cluster.store.trimReplica({ chunkId, serverNo })).toBe(true)
  const metadata = await cluster.store.readPosition({})
  const expiresMs = cluster.store.now() + MINUTE_MS
  cluster.master.cluster.send(serverNo, { kind: 'delete', chunkIds: [chunkId], incarnation: 1, metadata, expiresMs })
  // The answer that carries the command takes its time. Meanwhile the copy goes and a new one comes, neither told yet.
  const { node } = file.server(index)
  cluster.network.fate = (from, to) => (from === 'master' && to === node ? { kind: 'delivered', delayMs: 4_000 } : delivered)
  await cluster.clock.advance(1_500)
  await file.server(index).running?.store.remove(chunkId)
  await putChunk(cluster, upload.chunk, targets.slice(0, 1), DATA)
  cluster.network.fate = () => delivered
  await cluster.clock.advance(5 * SECOND_MS)
  expect(file.holders(chunkId)).toContain(index)
})
