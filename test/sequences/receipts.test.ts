/** Receipts and reports that are overtaken by events: a receipt is history, a report is as old as its sequence. */
import { expect, test } from '@jest/globals'
import type { DiskId } from '../../common/ids.js'
import { SECOND_MS } from '../../common/units.js'
import { ReplicaState } from '../../master/store/schema.js'
import { DATA, delivered, OneFile, putChunk, SteppedUpload } from './one-file.js'

/** No repair, so that what is missing stays missing. */
const NO_REPAIR = { repairStartDelayMs: 1e9 }

async function steppedUpload(seed: number, chunkservers = 3): Promise<{ file: OneFile; upload: SteppedUpload }> {
  const file = await OneFile.start({ seed, chunkservers, settings: NO_REPAIR })
  return { file, upload: await SteppedUpload.open(file.cluster, '/b/other') }
}

const indexOf = (file: OneFile, serverId: string | undefined): number =>
  file.cluster.servers.findIndex((_server, index) => file.serverId(index) === serverId)

test('a receipt from a server that was wiped before the commit does not count: not on a disk that is new', async () => {
  const { file, upload } = await steppedUpload(201)
  await using _ = file
  const { cluster } = file
  await upload.put(upload.chunk.targets.slice(0, 2))
  const index = indexOf(file, upload.chunk.targets[1]?.serverId)
  cluster.kill(index)
  await file.server(index).disk.removeTree('/data')
  await cluster.clock.advance(10 * SECOND_MS)
  await cluster.startServer(index)
  await expect(upload.report()).rejects.toMatchObject({ code: 'NOT_ENOUGH_REPLICAS' })
})

test('a receipt from a server whose chunks were wiped does not count, though server and disk still are who they were', async () => {
  const { file, upload } = await steppedUpload(202)
  await using _ = file
  const { cluster } = file
  await upload.put(upload.chunk.targets.slice(0, 2))
  const index = indexOf(file, upload.chunk.targets[1]?.serverId)
  cluster.kill(index)
  await file.server(index).disk.removeTree('/data/chunks')
  await cluster.startServer(index)
  await cluster.clock.advance(SECOND_MS)
  await expect(upload.report()).rejects.toMatchObject({ code: 'NOT_ENOUGH_REPLICAS' })
})

test('a receipt that its server has taken back since does not count', async () => {
  const { file, upload } = await steppedUpload(203)
  await using _ = file
  const { cluster } = file
  const { chunkId, targets } = upload.chunk
  await upload.put(targets.slice(0, 2))
  await cluster.clock.advance(2 * SECOND_MS)
  const index = indexOf(file, targets[1]?.serverId)
  // The file vanishes; the server notices, and tells the master.
  await file.server(index).disk.remove(file.server(index).running?.store.locate(chunkId)?.file as string)
  await cluster.clock.advance(20 * SECOND_MS)
  expect(file.holders(chunkId)).toHaveLength(1)
  await expect(upload.report()).rejects.toMatchObject({ code: 'NOT_ENOUGH_REPLICAS' })
  // Sent again it counts again.
  await upload.put([targets[1] as (typeof targets)[0]])
  await upload.report()
  expect(await upload.commit()).toMatchObject({ path: '/b/other', generation: 1 })
})

test('repeating a report after a copy has gone does not bring the copy back', async () => {
  const { file, upload } = await steppedUpload(204)
  await using _ = file
  const { cluster } = file
  const { chunkId, targets } = upload.chunk
  await upload.put()
  await upload.report()
  await cluster.clock.advance(2 * SECOND_MS)
  const index = indexOf(file, targets[1]?.serverId)
  await file.server(index).disk.remove(file.server(index).running?.store.locate(chunkId)?.file as string)
  await cluster.clock.advance(20 * SECOND_MS)
  await upload.report()
  expect((await file.states(chunkId)).has(file.serverNo(index))).toBe(false)
})

test('a copy that the master forgot counts by an old receipt once its server has been asked', async () => {
  const { file, upload } = await steppedUpload(205)
  await using _ = file
  const { cluster } = file
  const { targets } = upload.chunk
  const one = await upload.put(targets.slice(0, 1))
  const two = await upload.put(targets.slice(1, 2))
  const three = await upload.put(targets.slice(2, 3))
  await cluster.clock.advance(2 * SECOND_MS)
  // The first report drops what was heard of and not vouched for; servers die, and the old receipt is all there is.
  await upload.report([...one.receipts, ...two.receipts])
  cluster.kill(indexOf(file, targets[1]?.serverId))
  await cluster.clock.advance(10 * SECOND_MS)
  const again = (): Promise<unknown> => upload.report([...one.receipts, ...three.receipts])
  await again().catch(() => undefined)
  await cluster.clock.advance(3 * SECOND_MS)
  await again()
  expect(await upload.commit()).toMatchObject({ generation: 1 })
})

test('a report taken before a receipt and delivered after it removes nothing', async () => {
  const { file, upload } = await steppedUpload(206)
  await using _ = file
  const { cluster } = file
  const index = indexOf(file, upload.chunk.targets[0]?.serverId)
  const { node, running } = file.server(index)
  const { chunkId } = upload.chunk
  const shard = Number.parseInt(chunkId.slice(0, 2), 16)
  const body = { incarnation: 1, shard, asOfSequence: running?.store.sequence as number, copies: [] }
  // Heartbeats wait too: the report is the latest that the master hears.
  cluster.network.fate = (from, to) => (from === node && to === 'master' ? { kind: 'delivered', delayMs: 3_000 } : delivered)
  await cluster.clock.advance(100)
  await upload.put()
  await upload.report()
  const late = cluster.client.api.call('reportShard', { params: { serverId: file.serverId(index) }, body })
  expect(await cluster.run(late)).toMatchObject({ removed: 0 })
  expect((await file.states(chunkId)).get(file.serverNo(index))).toBe(ReplicaState.good)
  expect(await upload.commit()).toMatchObject({ generation: 1 })
})

test('a repeated PUT whose copy is removed under it is to be sent again: the source has not changed', async () => {
  const { file, upload } = await steppedUpload(207)
  await using _ = file
  const { chunkId, targets } = upload.chunk
  await upload.put(targets.slice(0, 1))
  const store = file.server(indexOf(file, targets[0]?.serverId)).running?.store
  const repeated = await store?.create({
    chunkId,
    uploadId: upload.session.uploadId,
    chunkIndex: 0,
    metadataEpoch: 1,
    lengthBytes: DATA.length,
  })
  await store?.remove(chunkId)
  await expect(repeated?.commit(new BigUint64Array(1))).rejects.toMatchObject({ code: 'CHUNK_NOT_FOUND' })
  await putChunk(file.cluster, upload.chunk, targets.slice(0, 1), DATA)
  expect(file.holders(chunkId)).toHaveLength(1)
})

test('a receipt that its server has not signed does not count', async () => {
  const { file, upload } = await steppedUpload(208)
  await using _ = file
  const { targets } = upload.chunk
  const { receipts } = await upload.put(targets.slice(0, 1))
  const [real] = receipts as [(typeof receipts)[0]]
  const target = targets[1] as (typeof targets)[0]
  const { diskId } = file.server(indexOf(file, target.serverId)).running?.store.disks()[0] as { diskId: DiskId }
  await expect(upload.report([real, { ...real, serverId: target.serverId, diskId }])).rejects.toMatchObject({
    code: 'NOT_ENOUGH_REPLICAS',
  })
})

test('a commit does not count what a server that came back had before, until it has told what it still holds', async () => {
  const { file, upload } = await steppedUpload(209)
  await using _ = file
  const { cluster } = file
  await upload.put(upload.chunk.targets.slice(0, 2))
  await upload.report()
  const index = indexOf(file, upload.chunk.targets[1]?.serverId)
  cluster.kill(index)
  await file.server(index).disk.removeTree('/data/chunks')
  // It takes its time to list what it holds; until then nothing is known of it.
  const { node } = file.server(index)
  let calls = 0
  cluster.network.fate = (from, to) =>
    from === node && to === 'master' && (calls += 1) > 2 ? { kind: 'delivered', delayMs: 3_000 } : delivered
  await cluster.startServer(index)
  await expect(upload.commit()).rejects.toMatchObject({ code: 'NOT_ENOUGH_REPLICAS' })
  await cluster.clock.advance(10 * SECOND_MS)
  await expect(upload.commit()).rejects.toMatchObject({ code: 'NOT_ENOUGH_REPLICAS' })
  expect((await cluster.status()).servers.map(({ state }) => state)).toEqual(['serving', 'serving', 'serving'])
})
