/** What every {@link MetadataStore} must do about leases, and about writes that are made under one. */
import { afterEach, beforeEach, describe, expect, test } from '@jest/globals'
import { NO_PRECONDITION } from '../../common/protocol/precondition.js'
import { leasedStore } from '../../master/store/leased-store.js'
import type { MetadataStore } from '../../master/store/metadata-store.js'
import { DEFAULTS, StoreFixture, type StoreUnderTest } from './metadata-store-fixture.js'

const TTL_MS = 300

export function metadataLeasesSuite(name: string, open: () => Promise<StoreUnderTest>): void {
  describe(`MetadataStore, leases: ${name}`, () => {
    let fixture: StoreFixture
    let store: MetadataStore

    beforeEach(async () => {
      fixture = await StoreFixture.open(open)
      store = fixture.store
    })
    afterEach(async () => {
      await fixture.under.close()
    })

    const take = (holder: string, ttlMs = 3_600_000) => store.takeLease({ name: 'l', holder, address: `at ${holder}`, ttlMs })

    /** Waits, or moves the clock on, until the lease is free, and takes it. */
    async function takeOver(holder: string) {
      fixture.under.advance?.(TTL_MS)
      for (;;) {
        const state = await take(holder)
        if (state.held) return state
        await new Promise((resolve) => setTimeout(resolve, 20))
      }
    }

    test('one has it at a time; who holds it prolongs it in the same term', async () => {
      expect(await take('a')).toMatchObject({ held: true, term: 1, holder: 'a' })
      expect(await take('b')).toMatchObject({ held: false, term: 1, holder: 'a', address: 'at a' })
      const before = (await take('a', TTL_MS)).expiresMs
      const after = await take('a')
      expect(after).toMatchObject({ held: true, term: 1 })
      expect(after.expiresMs).toBeGreaterThan(before)
      expect(await store.takeLease({ name: 'other', holder: 'b', address: '', ttlMs: TTL_MS })).toMatchObject({
        held: true,
        term: 1,
      })
    })

    test('when its time is over another may take it, in a higher term; who comes back late does not', async () => {
      await take('a', TTL_MS)
      expect(await takeOver('b')).toMatchObject({ held: true, term: 2, holder: 'b' })
      expect(await take('a')).toMatchObject({ held: false, term: 2, holder: 'b' })
    })

    test('a holder that was started again has it at once, in a higher term, and its earlier life writes nothing more', async () => {
      const { term } = await take('a')
      const again = await store.takeLease({ name: 'l', holder: 'a', address: '', ttlMs: 3_600_000, anew: true })
      expect(again).toMatchObject({ held: true, term: term + 1 })
      const earlier = leasedStore(store, { name: 'l', term })
      await expect(earlier.putBucket({ name: 'b', changes: {}, defaults: DEFAULTS })).rejects.toMatchObject({
        code: 'NOT_ACTIVE',
      })
      expect(await store.takeLease({ name: 'l', holder: 'b', address: '', ttlMs: 1, anew: true })).toMatchObject({ held: false })
    })

    test('when it was given up another may take it at once', async () => {
      const { term } = await take('a')
      expect(await store.releaseLease({ name: 'l', holder: 'b', term })).toBe(false)
      expect(await store.releaseLease({ name: 'l', holder: 'a', term })).toBe(true)
      expect(await take('b')).toMatchObject({ held: true, term: 2 })
      expect(await store.releaseLease({ name: 'l', holder: 'a', term })).toBe(false)
    })

    test('a write under a lease that has gone on to another changes nothing, and its repetition elsewhere is carried out', async () => {
      const { term } = await take('a', TTL_MS)
      const asleep = leasedStore(store, { name: 'l', term })
      await asleep.putBucket({ name: 'b', changes: {}, defaults: DEFAULTS })
      const next = await takeOver('b')
      const awake = leasedStore(store, { name: 'l', term: next.term })
      const request = { id: 'late', digest: 'd' }
      const change = { name: 'b', changes: { trashDays: 9 }, defaults: DEFAULTS, request }
      await expect(asleep.putBucket(change)).rejects.toMatchObject({ code: 'NOT_ACTIVE', retryable: true })
      expect(await store.getBucket({ name: 'b' })).toMatchObject({ trashDays: DEFAULTS.trashDays })
      expect(await awake.putBucket(change)).toMatchObject({ trashDays: 9 })
    })

    test('every write of a master that has lost its lease is refused, whatever it is', async () => {
      const { file, chunks } = await fixture.upload('/b/k', [5])
      const lost = leasedStore(store, { name: 'l', term: 1 })
      await take('a', TTL_MS)
      await takeOver('b')
      const chunkId = chunks[0]?.chunkId ?? ''
      const late = [
        lost.deleteFile({ path: '/b/k', purge: true, precondition: NO_PRECONDITION }),
        lost.setServerStates({ changes: [{ serverNo: 1, state: 'dead' }] }),
        lost.markDeleting({ before: Number.MAX_SAFE_INTEGER, limit: 10 }),
        lost.collectManifests({ before: Number.MAX_SAFE_INTEGER, limit: 10 }),
        lost.condemnOrphans({ before: Number.MAX_SAFE_INTEGER, limit: 10 }),
        lost.trimReplica({ chunkId, serverNo: 1 }),
        lost.handOutDeletions({ serverNo: 1, chunkIds: [chunkId as never] }),
        lost.deferRepairs({ deferrals: [{ chunkId, nextMs: 1, error: null, failed: true }] }),
        lost.expireUploads({ limit: 10 }),
        lost.stepJobs({ limit: 10, bucketDefaults: DEFAULTS }),
        lost.sweepServers({ limit: 10 }),
        lost.recordBeats({ beats: [] }),
      ]
      for (const end of await Promise.allSettled(late))
        expect(end).toMatchObject({ status: 'rejected', reason: { code: 'NOT_ACTIVE' } })
      expect(await store.statFile({ path: '/b/k' })).toEqual(file)
    })
  })
}
