/** What every {@link MetadataStore} must do about operators' wishes, failure domains and space. Run by metadata-store.test.ts. */
import { afterEach, beforeEach, describe, expect, test } from '@jest/globals'
import type { ChunkId } from '../../common/ids.js'
import type { ServerState } from '../../common/protocol/cluster.js'
import { NO_PRECONDITION } from '../../common/protocol/precondition.js'
import { storedChunkBytes } from '../../common/protocol/stored-size.js'
import type { MetadataStore } from '../../master/store/metadata-store.js'
import type { ServerIntent } from '../../master/store/operations/servers.js'
import { HealthClass } from '../../master/store/schema.js'
import { DEFAULTS, root, StoreFixture, type StoreUnderTest, type TestServer } from './metadata-store-fixture.js'

export function metadataServersSuite(name: string, open: () => Promise<StoreUnderTest>): void {
  describe(`MetadataStore, servers' life and space: ${name}`, () => {
    let fixture: StoreFixture
    let store: MetadataStore
    let servers: TestServer[]

    beforeEach(async () => {
      fixture = await StoreFixture.open(open)
      store = fixture.store
      servers = fixture.servers
    })

    afterEach(async () => {
      await fixture.under.close()
    })

    const no = (index: number): number => (servers[index] as TestServer).serverNo
    const intend = (index: number, intent: ServerIntent, state: ServerState) =>
      store.intendServer({ serverNo: no(index), intent, state, untilMs: null, chunks: 0 })
    const classes = async () => (await store.chunkHealth({})).classes

    test('copies on a server that is being drained count as live, and are to be made elsewhere before they go', async () => {
      const { chunks } = await fixture.upload('/b/k', [5])
      const id = chunks[0]?.chunkId as ChunkId
      await intend(0, 'drain', 'draining')
      expect(await store.chunkHealth({})).toMatchObject({ healthy: 1, classes: { leaving: 1 }, repairable: 1 })
      expect(await store.trimReplica({ chunkId: id, serverNo: no(0) })).toBe(false)
      await store.addReplica(fixture.receiptOf(servers[3] as TestServer, id, 5, root(1)))
      expect(await classes()).toMatchObject({ leaving: 0, surplus: 1 })
      expect(await store.trimReplica({ chunkId: id, serverNo: no(1) })).toBe(false)
      expect(await store.isDrained({ serverNo: no(0) })).toBe(false)
      expect(await store.trimReplica({ chunkId: id, serverNo: no(0) })).toBe(true)
      // It may still be given back: only when the server has told that it is gone is the server empty.
      expect(await store.isDrained({ serverNo: no(0) })).toBe(false)
      await store.applyChanges({ serverNo: no(0), changes: [{ kind: 'removed', sequence: fixture.sequence++, chunkId: id }] })
      expect(await store.isDrained({ serverNo: no(0) })).toBe(true)
      expect(await store.chunkHealth({})).toMatchObject({ healthy: 1, classes: { surplus: 0 } })
    })

    test('a wish is kept while the server is silent, and dead, and back', async () => {
      await intend(0, 'drain', 'draining')
      await store.setServerStates({ changes: [{ serverNo: no(0), state: 'dead' }] })
      const { serverId, diskId } = servers[0] as TestServer
      const back = await store.registerServer({
        serverId,
        freshId: 'ff'.repeat(16),
        freshReceiptKey: { keyId: 'k', secret: 'ab'.repeat(32) },
        instanceId: 'another',
        url: 'http://cs:0',
        zone: 'z',
        rack: 'r',
        host: 'h',
        disks: [{ diskId, path: '/d0', state: 'ok', totalBytes: 1, freeBytes: 1, usedBytes: 0, chunkCount: 0 }],
        seen: { epoch: 0, position: 0 },
      })
      expect(back).toMatchObject({ state: 'starting', intent: 'drain' })
    })

    test('a decision about a server that has become something else meanwhile is void', async () => {
      const serverNo = no(0)
      expect(await store.setServerStates({ changes: [{ serverNo, state: 'dead', from: 'serving' }] })).toEqual([serverNo])
      expect(await store.setServerStates({ changes: [{ serverNo, state: 'serving', from: 'suspect' }] })).toEqual([])
      expect((await store.listServers({}))[0]).toMatchObject({ state: 'dead' })
    })

    test('a removed server is forgotten with all it held, and may not come back', async () => {
      await fixture.upload('/b/k', [5])
      await intend(0, 'removed', 'decommissioned')
      while (await store.forgetRemoved({ limit: 1 }));
      expect(await store.chunkHealth({})).toMatchObject({ classes: { belowGoal: 1 } })
      expect(await store.surveyServer({ serverNo: no(0), after: '', limit: 10 })).toMatchObject({ chunks: 0, next: null })
      const { serverId, diskId } = servers[0] as TestServer
      const back = store.registerServer({
        serverId,
        freshId: 'ff'.repeat(16),
        freshReceiptKey: { keyId: 'k', secret: 'ab'.repeat(32) },
        instanceId: 'another',
        url: 'http://cs:0',
        zone: 'z',
        rack: 'r',
        host: 'h',
        disks: [{ diskId, path: '/d0', state: 'ok', totalBytes: 1, freeBytes: 1, usedBytes: 0, chunkCount: 0 }],
        seen: { epoch: 0, position: 0 },
      })
      await expect(back).rejects.toMatchObject({ code: 'SERVER_REMOVED' })
    })

    test('what a server holds is surveyed page by page', async () => {
      await fixture.upload('/b/three', [5, 7])
      await fixture.upload('/b/two', [11], 2)
      await store.setServerStates({
        changes: [
          { serverNo: no(1), state: 'dead' },
          { serverNo: no(2), state: 'dead' },
        ],
      })
      const first = await store.surveyServer({ serverNo: no(0), after: '', limit: 2 })
      const second = await store.surveyServer({ serverNo: no(0), after: first.next as string, limit: 2 })
      expect(second.next).toBeNull()
      expect(first.chunks + second.chunks).toBe(3)
      expect(first.bytes + second.bytes).toBe(23)
      expect(first.sole + second.sole).toBe(3)
      expect(first.neededBytes + second.neededBytes).toBe(23)
    })

    test('a chunk is misplaced once there are more zones than its copies use, and no longer when one lies there', async () => {
      const { chunks } = await fixture.upload('/b/k', [5])
      const id = chunks[0]?.chunkId as ChunkId
      expect(await classes()).toMatchObject({ misplaced: 0 })
      const far = await fixture.addServer(9, { zone: 'far' })
      while (await store.sweepServers({ limit: 10 }));
      expect(await store.chunkHealth({})).toMatchObject({ healthy: 1, classes: { misplaced: 1 } })
      await store.addReplica(fixture.receiptOf(far, id, 5, root(1)))
      expect(await classes()).toMatchObject({ misplaced: 0, surplus: 1 })
      expect(await store.trimReplica({ chunkId: id, serverNo: no(0) })).toBe(true)
      expect(await store.chunkHealth({})).toMatchObject({ healthy: 1, classes: { misplaced: 0, surplus: 0 } })
    })

    test('a chunk that repair has tried in vain is listed with the reason, and so is one without a live copy', async () => {
      const { chunks } = await fixture.upload('/b/k', [5])
      const id = chunks[0]?.chunkId as ChunkId
      await store.setServerStates({ changes: [{ serverNo: no(0), state: 'dead' }] })
      const deferral = { chunkId: id, nextMs: 0, error: 'no server has room for another copy', failed: true }
      for (let attempt = 0; attempt < 3; attempt += 1) {
        expect(await store.listFailing({ after: '', limit: 10 })).toEqual([])
        await store.deferRepairs({ deferrals: [deferral] })
      }
      expect(await store.listFailing({ after: '', limit: 10 })).toMatchObject([
        { id, attempts: 3, lastError: deferral.error, liveCopies: 2, wantedCopies: 3, healthClass: HealthClass.belowGoal },
      ])
      const all = [1, 2].map((index) => ({ serverNo: no(index), state: 'dead' as const }))
      await store.setServerStates({ changes: all })
      expect(await store.listFailing({ after: '', limit: 10 })).toMatchObject([{ id, healthClass: HealthClass.unavailable }])
      expect(await store.listFailing({ after: id, limit: 10 })).toEqual([])
    })

    test('the speed of repair is remembered', async () => {
      expect(await store.getRepairSpeed({})).toBe('balanced')
      await store.setRepairSpeed({ speed: 'fast' })
      expect(await store.getRepairSpeed({})).toBe('fast')
    })

    test("space is the file's, then the trash's, then nobody's, whatever shares it", async () => {
      const stored = 3 * (storedChunkBytes(5) + storedChunkBytes(7))
      const space = async () => {
        const { storedFileBytes: files, storedTrashBytes: trash, storedDraftBytes: drafts } = await store.spaceUse({})
        return { files: files / stored, trash: trash / stored, drafts: drafts / stored }
      }
      await fixture.upload('/b/k', [5, 7])
      expect(await space()).toEqual({ files: 1, trash: 0, drafts: 0 })
      await store.copyFile({ from: '/b/k', to: '/b/copy', precondition: NO_PRECONDITION, bucketDefaults: DEFAULTS })
      await store.deleteFile({ path: '/b/k', purge: false, precondition: NO_PRECONDITION })
      expect(await space()).toEqual({ files: 1, trash: 0, drafts: 0 })
      await store.deleteFile({ path: '/b/copy', purge: false, precondition: NO_PRECONDITION })
      expect(await space()).toEqual({ files: 0, trash: 1, drafts: 0 })
      await store.undeleteFile({ path: '/b/k' })
      expect(await space()).toEqual({ files: 1, trash: 0, drafts: 0 })
      await store.deleteFile({ path: '/b/k', purge: true, precondition: NO_PRECONDITION })
      expect(await space()).toEqual({ files: 0, trash: 1, drafts: 0 })
      fixture.under.advance?.(4 * 86_400_000)
      if (fixture.under.advance) {
        expect(await store.purgeTrash({ limit: 10 })).toBe(1)
        expect(await space()).toEqual({ files: 0, trash: 0, drafts: 0 })
      }
    })
  })
}
