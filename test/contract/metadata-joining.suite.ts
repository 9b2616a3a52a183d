/** What the metadata makes of what servers say of themselves: part of the suite for every {@link MetadataStore}. */
import { afterEach, beforeEach, describe, expect, test } from '@jest/globals'
import { newId, type DiskId } from '../../common/ids.js'
import type { MetadataStore } from '../../master/store/metadata-store.js'
import { chunkId, random, StoreFixture, type StoreUnderTest } from './metadata-store-fixture.js'

export function metadataJoiningSuite(name: string, open: () => Promise<StoreUnderTest>): void {
  describe(`MetadataStore, joining: ${name}`, () => {
    let fixture: StoreFixture
    let store: MetadataStore
    beforeEach(async () => {
      fixture = await StoreFixture.open(open)
      store = fixture.store
    })
    afterEach(() => fixture.under.close())

    const joining = (changes: { host?: string; instanceId?: string } = {}) => ({
      serverId: null,
      freshReceiptKey: { keyId: 'k', secret: 'ab'.repeat(32) },
      instanceId: 'first',
      url: 'http://new:1',
      zone: 'z',
      rack: 'r',
      host: 'new',
      disks: [{ diskId, path: '/data', state: 'ok' as const, totalBytes: 1, freeBytes: 1, usedBytes: 0, chunkCount: 0 }],
      seen: { epoch: 0, position: 0 },
      ...changes,
    })
    const diskId = newId<DiskId>(random)
    const join = (changes: { host?: string; instanceId?: string } = {}) =>
      store.registerServer({ ...joining(changes), freshId: newId(random) })

    test('a server whose first registration was never answered joins as who it then became', async () => {
      const first = await join()
      expect(await join()).toMatchObject({ serverId: first.serverId, incarnation: first.incarnation })
      expect(await join({ instanceId: 'restarted' })).toMatchObject({
        serverId: first.serverId,
        incarnation: first.incarnation + 1,
      })
      await expect(join({ host: 'elsewhere' })).rejects.toMatchObject({ code: 'SERVER_ID_CONFLICT' })
    })

    test('a bad copy of a chunk that nobody knows is deleted in the end, however little was heard of it before', async () => {
      const [server] = fixture.servers
      const stray = chunkId()
      const serverNo = server?.serverNo as number
      await store.applyChanges({ serverNo, changes: [{ kind: 'corrupt', sequence: 5, chunkId: stray }] })
      expect(await store.condemnOrphans({ before: store.now() + 1, limit: 10 })).toBe(1)
      expect(await store.listDeletions({ limitPerServer: 10 })).toEqual([{ serverNo, chunkIds: [stray] }])
    })
  })
}
