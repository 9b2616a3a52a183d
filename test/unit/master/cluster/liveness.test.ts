import { describe, expect, test } from '@jest/globals'
import fc from 'fast-check'
import { newId, type DiskId, type ServerId } from '../../../../common/ids.js'
import { serverState, type DiskReport, type ServerState } from '../../../../common/protocol/cluster.js'
import { SeededRandom } from '../../../../common/random/seeded-random.js'
import { isLoss, stateAfterSilence, stateWhenHeard } from '../../../../master/cluster/liveness.js'
import {
  chunkCountOf,
  freeBytesOf,
  largestFreeBytesOf,
  ServerViews,
  usedBytesOf,
  type ServerView,
} from '../../../../master/cluster/server-view.js'
import type { ServerRecord } from '../../../../master/store/operations/servers.js'

const limits = { suspectAfterMs: 5000, deadAfterMs: 60_000 }
const after = (state: ServerState, silentMs: number): ServerState =>
  stateAfterSilence({ state, lastBeatMs: 1000, intent: 'none', intentUntilMs: null }, 1000 + silentMs, 0, limits)

describe('silence', () => {
  test.each(['starting', 'serving', 'draining'] as const)('makes a %s server suspect, then dead', (state) => {
    expect(after(state, 0)).toBe(state)
    expect(after(state, 4999)).toBe(state)
    expect(after(state, 5000)).toBe('suspect')
    expect(after(state, 59_999)).toBe('suspect')
    expect(after(state, 60_000)).toBe('dead')
  })

  test('a suspect server stays so until it is dead: only its own heartbeat brings it back', () => {
    expect(after('suspect', 0)).toBe('suspect')
    expect(after('suspect', 59_999)).toBe('suspect')
    expect(after('suspect', 60_000)).toBe('dead')
  })

  test.each(['dead', 'decommissioned'] as const)('changes nothing for a %s server', (state) => {
    for (const silentMs of [0, 5000, 1e12]) expect(after(state, silentMs)).toBe(state)
  })

  test('announced maintenance is no silence until its grace is over, and what it was counts at once then', () => {
    const announced = {
      state: 'maintenance' as const,
      lastBeatMs: 1000,
      intent: 'maintenance' as const,
      intentUntilMs: 5_000_000,
    }
    const at = (silentMs: number, storeNowMs: number): ServerState =>
      stateAfterSilence(announced, 1000 + silentMs, storeNowMs, limits)
    expect(at(0, 4_999_999)).toBe('maintenance')
    expect(at(1e9, 4_999_999)).toBe('maintenance')
    expect(at(0, 5_000_000)).toBe('serving')
    expect(at(6_000, 5_000_000)).toBe('suspect')
    expect(at(1e9, 5_000_000)).toBe('dead')
  })

  test('a server that is being drained is still being drained when it is heard of again', () => {
    expect(stateWhenHeard({ intent: 'drain', intentUntilMs: null }, 0)).toBe('draining')
    expect(stateWhenHeard({ intent: 'maintenance', intentUntilMs: 10 }, 9)).toBe('maintenance')
    expect(stateWhenHeard({ intent: 'maintenance', intentUntilMs: 10 }, 10)).toBe('serving')
    expect(stateWhenHeard({ intent: 'none', intentUntilMs: null }, 0)).toBe('serving')
  })

  test('property: longer silence never makes a server more alive, and going on from where it led changes nothing', () => {
    const rank = (state: ServerState): number => ['serving', 'suspect', 'dead'].indexOf(state)
    fc.assert(
      fc.property(fc.constantFrom(...serverState.options), fc.nat(100_000), fc.nat(100_000), (state, one, more) => {
        const first = after(state, one)
        const second = after(first, one + more)
        expect(after(state, one + more)).toBe(second)
        expect(rank(second)).toBeGreaterThanOrEqual(rank(first))
      }),
    )
  })
})

test('a server is lost once: when it falls silent, also when it is found dead at once', () => {
  expect(isLoss('serving', 'suspect')).toBe(true)
  expect(isLoss('draining', 'suspect')).toBe(true)
  expect(isLoss('serving', 'dead')).toBe(true)
  expect(isLoss('suspect', 'dead')).toBe(false)
  expect(isLoss('dead', 'serving')).toBe(false)
  expect(isLoss('suspect', 'serving')).toBe(false)
  expect(isLoss(undefined, 'serving')).toBe(false)
})

describe('what a server has', () => {
  const random = new SeededRandom(1)
  const disk = (freeBytes: number, changes: Partial<DiskReport> = {}): DiskReport => ({
    diskId: newId<DiskId>(random),
    path: '/d',
    state: 'ok',
    totalBytes: 1000,
    freeBytes,
    usedBytes: 10,
    chunkCount: 2,
    ...changes,
  })
  const record = { serverNo: 1, serverId: newId<ServerId>(random), freeBytes: 70, usedBytes: 30, chunkCount: 4 } as ServerRecord
  const view = (changes: Partial<ServerView>): ServerView => ({
    record,
    state: 'serving',
    lastBeatMs: 0,
    load: { writes: 0, reads: 0 },
    disks: [],
    promisedBytes: 0,
    seen: { epoch: 0, position: 0 },
    ...changes,
  })

  test('is what its disks in order add up to, less what it has been promised', () => {
    const two = view({ disks: [disk(100), disk(50), disk(500, { state: 'failed' })], promisedBytes: 20 })
    expect(freeBytesOf(two)).toBe(130)
    expect(largestFreeBytesOf(two)).toBe(80)
    expect(usedBytesOf(two)).toBe(30)
    expect(chunkCountOf(two)).toBe(6)
    expect(freeBytesOf(view({ disks: [disk(10)], promisedBytes: 20 }))).toBe(0)
  })

  test('is what the metadata remembers until the first heartbeat', () => {
    const unheard = view({ promisedBytes: 20 })
    expect([freeBytesOf(unheard), largestFreeBytesOf(unheard), usedBytesOf(unheard), chunkCountOf(unheard)]).toEqual([
      50, 50, 30, 4,
    ])
  })

  test('views are found by number and by id, and changed in place', () => {
    const views = new ServerViews()
    views.set(view({}))
    views.update(1, { state: 'suspect' })
    views.update(2, { state: 'dead' })
    expect(views.byId(record.serverId)?.state).toBe('suspect')
    expect(views.all()).toEqual([views.byNo(1)])
    expect(views.byId(newId<ServerId>(random))).toBeUndefined()
  })
})
