/** Where chunks are allocated, with the real master and store in memory and chunkservers that only ever register. */
import { afterEach, beforeEach, describe, expect, test } from '@jest/globals'
import { openCapability } from '../../../../common/auth/capability.js'
import { VirtualClock } from '../../../../common/clock/virtual-clock.js'
import { newId, type ChunkId, type DiskId, type ServerId, type UploadId } from '../../../../common/ids.js'
import { silentLogger } from '../../../../common/observe/logger.js'
import { PROTOCOL_VERSION } from '../../../../common/protocol/cluster.js'
import { SeededRandom } from '../../../../common/random/seeded-random.js'
import { GiB, MiB } from '../../../../common/units.js'
import { freeBytesOf } from '../../../../master/cluster/server-view.js'
import { Master, openMemoryStore } from '../../../../master/index.js'
import { newUpload } from '../../../contract/metadata-store-fixture.js'

const random = new SeededRandom(2)
const wish = (index: number, changes: object = {}) => ({ index, lengthBytes: 64 * MiB, ...changes })

describe('allocation of chunks', () => {
  let master: Master
  let session: { uploadId: UploadId; writerEpoch: number }

  beforeEach(async () => {
    const clock = new VirtualClock()
    const store = await openMemoryStore(clock, new SeededRandom(1))
    master = await Master.open({ clock, random: new SeededRandom(1), log: silentLogger, store })
    session = await store.openUpload(newUpload('/b/k', master.context.settings.bucketDefaults))
  })

  afterEach(async () => {
    await master.close()
  })

  async function join(zone: string, freeBytes = 10 * GiB): Promise<ServerId> {
    const { serverId } = await master.cluster.register({
      protocolVersion: PROTOCOL_VERSION,
      serverId: null,
      clusterId: null,
      instanceId: newId<ChunkId>(random),
      url: `http://${zone}:1`,
      zone,
      rack: 'r',
      host: zone,
      disks: [
        { diskId: newId<DiskId>(random), path: '/d', state: 'ok', totalBytes: freeBytes, freeBytes, usedBytes: 0, chunkCount: 0 },
      ],
      seen: { epoch: 0, position: 0 },
    })
    return serverId
  }

  const allocate = (chunks: readonly ReturnType<typeof wish>[], changes: { avoid?: ServerId[]; zone?: string } = {}) =>
    master.uploads.allocate({ ...session, chunks, avoid: [], zone: undefined, ...changes })

  test('each chunk gets as many targets in different zones as copies are wanted, and a capability for just those', async () => {
    for (const zone of ['a', 'b', 'c', 'd']) await join(zone)
    const chunks = await allocate(Array.from({ length: 16 }, (_, index) => wish(index)))
    const zones = new Set<string>()
    for (const { chunkId, targets, capability } of chunks) {
      expect(new Set(targets.map((target) => target.zone)).size).toBe(3)
      for (const target of targets) zones.add(target.zone)
      const keys = master.context.capabilityKeys
      const opened = openCapability(capability, { kind: 'write', chunkId, keys, nowMs: master.context.store.now() })
      expect(opened.targets.map(([id]) => id)).toEqual(targets.map((target) => target.serverId))
    }
    expect(zones).toEqual(new Set(['a', 'b', 'c', 'd']))
    expect(new Set(chunks.map((chunk) => chunk.chunkId)).size).toBe(16)
  })

  test('fewer servers than copies will do, fewer than minReplicas will not, and the error says why', async () => {
    await expect(allocate([wish(0)])).rejects.toMatchObject({
      code: 'NOT_ENOUGH_SERVERS',
      message: expect.stringContaining('no others have registered'),
    })
    await join('a')
    await expect(allocate([wish(0)])).rejects.toMatchObject({ code: 'NOT_ENOUGH_SERVERS' })
    await join('b')
    expect((await allocate([wish(0)]))[0]?.targets).toHaveLength(2)
  })

  test('an opening that asks for its first chunk is one request when repeated, also when there is room only the second time', async () => {
    const opening = { ...newUpload('/b/small', master.context.settings.bucketDefaults), request: { id: 'one', digest: 'd' } }
    const ahead = { chunks: [wish(0)], zone: undefined }
    const first = await master.uploads.open(opening, ahead)
    expect(first.chunks).toBeUndefined()
    for (const zone of ['a', 'b', 'c']) await join(zone)
    expect(await master.uploads.open(opening, ahead)).toEqual(first)
    const other = { ...opening, request: { id: 'two', digest: 'd' } }
    expect((await master.uploads.open(other, ahead)).chunks).toHaveLength(1)
  })

  test('servers that are there but full are another matter than servers that are away', async () => {
    await join('a')
    await join('b', MiB)
    await join('c', MiB)
    await expect(allocate([wish(0)])).rejects.toMatchObject({ code: 'DISK_FULL', data: { 'no-space': 2 } })
  })

  test('servers that failed the client are avoided while others will do, and used when not', async () => {
    const [one, two, three, four] = [await join('a'), await join('b'), await join('c'), await join('d')]
    const avoided = await allocate([wish(0)], { avoid: [one, two] })
    expect(avoided[0]?.targets.map((target) => target.serverId).sort()).toEqual([three, four].sort())
    const all = await allocate([wish(1)], { avoid: [one, two, three] })
    expect(all[0]?.targets).toHaveLength(3)
  })

  test('a chunk that has copies is given further servers, and none twice', async () => {
    const [one, two, three] = [await join('a'), await join('b'), await join('c')]
    const [chunk] = await allocate([wish(0)])
    const [more] = await allocate([wish(0, { chunkId: chunk?.chunkId, have: [one, two] })])
    expect(more?.chunkId).toBe(chunk?.chunkId)
    expect(more?.targets.map((target) => target.serverId)).toEqual([three])
  })

  test('the first hop is near the client', async () => {
    for (const zone of ['a', 'b', 'c']) await join(zone)
    for (let index = 0; index < 10; index += 1)
      expect((await allocate([wish(index)], { zone: 'c' }))[0]?.targets[0]?.zone).toBe('c')
  })

  test('space that has been promised is not promised again before a heartbeat shows it', async () => {
    for (const zone of ['a', 'b', 'c']) await join(zone, 200 * MiB)
    for (let index = 0; index < 3; index += 1) await allocate([wish(index)])
    await expect(allocate([wish(3)])).rejects.toMatchObject({ code: 'DISK_FULL' })
    expect(master.cluster.views.all().map(freeBytesOf)).toEqual([8 * MiB, 8 * MiB, 8 * MiB])
  })
})
