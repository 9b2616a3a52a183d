import { describe, expect, test } from '@jest/globals'
import { newId, type ChunkId, type ServerId, type UploadId } from '../../../../common/ids.js'
import { SeededRandom } from '../../../../common/random/seeded-random.js'
import { GiB, MiB } from '../../../../common/units.js'
import type { PlacementServer } from '../../../../master/placement/placement.js'
import { missingDomain, staysSpread } from '../../../../master/placement/spread.js'
import { mostUnequal } from '../../../../master/repair/balance.js'
import { planMoves, planRepairs, TransferFlight } from '../../../../master/repair/planner.js'
import { limitsAt } from '../../../../master/repair/speeds.js'
import { DEFAULT_MASTER_SETTINGS } from '../../../../master/settings.js'
import type { RepairCandidate } from '../../../../master/store/operations/health.js'
import { HealthClass } from '../../../../master/store/schema.js'

const ids = new SeededRandom(1)
const limitOf = limitsAt('balanced', DEFAULT_MASTER_SETTINGS.repairLimits)

const server = (serverNo: number, changes: Partial<PlacementServer> = {}): PlacementServer => ({
  serverNo,
  serverId: newId<ServerId>(ids),
  state: 'serving',
  zone: 'z',
  rack: 'r',
  host: `h${serverNo}`,
  largestFreeBytes: 10 * GiB,
  freeBytes: 10 * GiB,
  usedBytes: 0,
  load: 0,
  ...changes,
})

const candidate = (holders: readonly number[], healthClass: number, changes: Partial<RepairCandidate> = {}): RepairCandidate => ({
  chunkId: newId<ChunkId>(ids),
  uploadId: newId<UploadId>(ids),
  chunkIndex: 0,
  lengthBytes: 8 * MiB,
  root: null,
  healthClass,
  serving: holders.length,
  wanted: holders.length,
  attempts: 0,
  replicas: holders.map((serverNo) => ({ serverNo, state: 'good', serving: true, reachable: true, lasting: true })),
  ...changes,
})

describe('balance', () => {
  test('servers that differ by less than a tenth of their size are left alone', () => {
    const alike = [
      server(1, { usedBytes: 1 * GiB, freeBytes: 9 * GiB }),
      server(2, { usedBytes: 0.2 * GiB, freeBytes: 9.8 * GiB }),
    ]
    expect(mostUnequal(alike)).toBeUndefined()
    expect(mostUnequal([])).toBeUndefined()
  })

  test('what counts is how full a server is, not how much it holds, and only those that take chunks', () => {
    const large = server(1, { usedBytes: 50 * GiB, freeBytes: 150 * GiB })
    const small = server(2, { usedBytes: 8 * GiB, freeBytes: 2 * GiB })
    const empty = server(3, { usedBytes: 0, freeBytes: 5 * GiB, state: 'draining' })
    expect(mostUnequal([large, small, empty])).toEqual({ from: small, to: large })
  })

  test('a move goes to a server without the chunk, and never brings its copies closer together', () => {
    const servers = [server(1, { zone: 'a' }), server(2, { zone: 'b' }), server(3, { zone: 'a' }), server(4, { zone: 'b' })]
    const [from, other, sameZone, otherZone] = servers as [PlacementServer, PlacementServer, PlacementServer, PlacementServer]
    const chunk = candidate([1, 2], HealthClass.rebalance)
    const plan = (to: PlacementServer) =>
      planMoves({ candidates: [chunk], from, to, servers, flight: new TransferFlight(), limitOf })
    expect(plan(other)).toEqual([])
    expect(plan(otherZone)).toEqual([])
    expect(plan(sameZone)).toMatchObject([{ sourceNo: 1, targetNo: 3 }])
  })

  test('no more moves are under way than the limits of background work allow', () => {
    const servers = [server(1), server(2)]
    const [from, to] = servers as [PlacementServer, PlacementServer]
    const many = Array.from({ length: 50 }, () => candidate([1], HealthClass.rebalance, { lengthBytes: 64 * MiB }))
    expect(planMoves({ candidates: many, from, to, servers, flight: new TransferFlight(), limitOf })).toHaveLength(1)
  })
})

describe('copies that lie too close together', () => {
  const zones = [server(1, { zone: 'a' }), server(2, { zone: 'a' }), server(3, { zone: 'b' }), server(4, { zone: 'c' })]

  test('get one in a domain that they lack', () => {
    for (let seed = 0; seed < 20; seed += 1) {
      const chunk = candidate([1, 2, 3], HealthClass.misplaced)
      const plan = planRepairs(
        { candidates: [chunk], servers: zones, flight: new TransferFlight(), limitOf },
        new SeededRandom(seed),
      )
      expect(plan.assignments).toMatchObject([{ targetNo: 4 }])
    }
  })

  test('wait when no server there has room, and hold up nobody', () => {
    const full = [...zones.slice(0, 3), server(4, { zone: 'c', largestFreeBytes: 0 }), server(5, { zone: 'b' })]
    const chunk = candidate([1, 2, 3], HealthClass.misplaced)
    const plan = planRepairs({ candidates: [chunk], servers: full, flight: new TransferFlight(), limitOf }, new SeededRandom(1))
    expect(plan).toMatchObject({ assignments: [], stuck: [{ why: 'no server in another failure domain has room' }] })
  })

  test('are none when there are no more domains than they use', () => {
    expect(missingDomain(zones.slice(0, 3), 3, zones.slice(0, 3))).toBeUndefined()
    expect(missingDomain(zones.slice(1), 3, zones)).toBeUndefined()
    expect(staysSpread(zones.slice(1), zones[1] as PlacementServer, zones[0] as PlacementServer)).toBe(true)
    expect(staysSpread(zones.slice(1), zones[3] as PlacementServer, zones[0] as PlacementServer)).toBe(false)
  })
})

test('a chunk leaves a server that is being drained from any live copy, to one that stays', () => {
  const servers = [server(1, { state: 'draining' }), server(2), server(3), server(4)]
  const chunk = candidate([1, 2, 3], HealthClass.leaving)
  const replicas = chunk.replicas.map((one) => ({ ...one, lasting: one.serverNo !== 1 }))
  const plan = planRepairs(
    { candidates: [{ ...chunk, replicas }], servers, flight: new TransferFlight(), limitOf },
    new SeededRandom(1),
  )
  expect(plan.assignments).toMatchObject([{ targetNo: 4 }])
})

test('a target that has just refused is not asked again while others can take the copy', () => {
  const servers = [server(1), server(2), server(3)]
  for (let seed = 0; seed < 20; seed += 1) {
    const chunk = candidate([1], HealthClass.belowGoal, { wanted: 2 })
    const input = { candidates: [chunk], servers, flight: new TransferFlight(), limitOf, avoided: new Set([2]) }
    expect(planRepairs(input, new SeededRandom(seed)).assignments).toMatchObject([{ targetNo: 3 }])
  }
})

test('after a failure another source is tried', () => {
  const servers = [1, 2, 3, 4].map((serverNo) => server(serverNo))
  const sourceAt = (attempts: number): number | undefined => {
    const chunk = candidate([1, 2], HealthClass.belowGoal, { wanted: 3, attempts })
    const plan = planRepairs({ candidates: [chunk], servers, flight: new TransferFlight(), limitOf }, new SeededRandom(1))
    return plan.assignments[0]?.sourceNo
  }
  expect([sourceAt(0), sourceAt(1), sourceAt(2)]).toEqual([1, 2, 1])
})
