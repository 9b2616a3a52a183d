import { describe, expect, test } from '@jest/globals'
import fc from 'fast-check'
import { newId, type ServerId } from '../../../../common/ids.js'
import { SeededRandom } from '../../../../common/random/seeded-random.js'
import { MiB, GiB } from '../../../../common/units.js'
import { chooseSurplus, place, type PlacementRequest, type PlacementServer } from '../../../../master/placement/placement.js'

const ids = new SeededRandom(1)
let lastNo = 0
const server = (changes: Partial<PlacementServer> = {}): PlacementServer => ({
  serverNo: (lastNo += 1),
  serverId: newId<ServerId>(ids),
  state: 'serving',
  zone: 'z1',
  rack: 'r1',
  host: `h${lastNo}`,
  largestFreeBytes: 100 * GiB,
  freeBytes: 100 * GiB,
  usedBytes: GiB,
  load: 0,
  ...changes,
})
const request = (servers: readonly PlacementServer[], changes: Partial<PlacementRequest> = {}): PlacementRequest => ({
  copies: 3,
  lengthBytes: 64 * MiB,
  servers,
  existing: [],
  excluded: new Set(),
  ...changes,
})
const zoneOf = (one: PlacementServer): string => one.zone
const rackOf = (one: PlacementServer): string => `${one.zone}/${one.rack}`
const hostOf = (one: PlacementServer): string => `${rackOf(one)}/${one.host}`
const distinct = (servers: readonly PlacementServer[], of: (one: PlacementServer) => string): number =>
  new Set(servers.map(of)).size

const anyServer = fc
  .record({
    zone: fc.constantFrom('a', 'b', 'c', 'd'),
    rack: fc.constantFrom('1', '2', '3'),
    host: fc.constantFrom('x', 'y', 'z'),
    freeBytes: fc.integer({ min: 0, max: 200 }).map((count) => count * MiB),
    load: fc.nat(20),
    state: fc.constantFrom('serving', 'serving', 'serving', 'suspect', 'dead', 'draining', 'maintenance'),
  })
  .map((fields) => server({ ...fields, largestFreeBytes: fields.freeBytes }))
const anyServers = fc.array(anyServer, { maxLength: 25 })

describe('place', () => {
  test('property: copies go to different fit servers, over as many zones, racks and hosts as there are', () => {
    fc.assert(
      fc.property(anyServers, fc.integer({ min: 1, max: 6 }), fc.nat(), fc.nat(4), (servers, copies, seed, held) => {
        const existing = servers.slice(0, held)
        const excluded = new Set(servers.slice(held, held + 2).map((one) => one.serverNo))
        const wish = request(servers, { copies, existing: existing.map((one) => one.serverNo), excluded })
        const { chosen, rejected } = place(wish, new SeededRandom(seed))
        const targets = chosen.map((choice) => choice.server)
        const fit = servers.filter(
          (one) =>
            one.state === 'serving' &&
            one.largestFreeBytes >= wish.lengthBytes &&
            !excluded.has(one.serverNo) &&
            !existing.includes(one),
        )
        expect(new Set(targets).size).toBe(Math.min(copies, fit.length))
        expect(targets.every((one) => fit.includes(one))).toBe(true)
        expect(new Set(rejected.map((one) => one.server))).toEqual(new Set(servers.filter((one) => !fit.includes(one))))
        for (const of of [zoneOf, rackOf, hostOf]) {
          const reachable = distinct([...fit, ...existing], of)
          expect(distinct([...existing, ...targets], of)).toBe(Math.min(distinct(existing, of) + targets.length, reachable))
        }
      }),
      { numRuns: 500 },
    )
  })

  test('property: a seed decides', () => {
    fc.assert(
      fc.property(anyServers, fc.nat(), (servers, seed) => {
        const one = place(request(servers), new SeededRandom(seed))
        expect(place(request(servers), new SeededRandom(seed))).toEqual(one)
      }),
    )
  })

  test('property: of four zones each gets data within a few chunks, and no two copies of a chunk share one', () => {
    fc.assert(
      fc.property(fc.nat(), fc.integer({ min: 1, max: 3 }), (seed, serversPerZone) => {
        const random = new SeededRandom(seed)
        const servers = ['a', 'b', 'c', 'd'].flatMap((zone) => Array.from({ length: serversPerZone }, () => server({ zone })))
        const used = new Set<string>()
        for (let chunk = 0; chunk < 30; chunk += 1) {
          const { chosen } = place(request(servers), random)
          expect(chosen.map((choice) => choice.reason)).toEqual(['new-zone', 'new-zone', 'new-zone'])
          expect(
            distinct(
              chosen.map((choice) => choice.server),
              zoneOf,
            ),
          ).toBe(3)
          for (const choice of chosen) used.add(choice.server.zone)
        }
        expect(used.size).toBe(4)
      }),
    )
  })

  test('a fourth zone that has just joined empty gets more than its share, but not all', () => {
    const random = new SeededRandom(4)
    const servers = ['a', 'b', 'c'].map((zone) => server({ zone, freeBytes: 20 * GiB }))
    const fresh = server({ zone: 'd', freeBytes: 100 * GiB })
    let onFresh = 0
    for (let chunk = 0; chunk < 400; chunk += 1)
      onFresh += place(request([...servers, fresh]), random).chosen.some((choice) => choice.server === fresh) ? 1 : 0
    expect(onFresh).toBeGreaterThan(300)
    expect(onFresh).toBeLessThan(400)
  })

  test('with fewer zones than copies, racks and then hosts keep them apart', () => {
    const servers = [
      server({ zone: 'a', rack: '1', host: 'x' }),
      server({ zone: 'a', rack: '1', host: 'y' }),
      server({ zone: 'a', rack: '2', host: 'z' }),
      server({ zone: 'b', rack: '1', host: 'x' }),
      server({ zone: 'b', rack: '1', host: 'x' }),
    ]
    for (let seed = 0; seed < 50; seed += 1) {
      const { chosen } = place(request(servers, { copies: 5 }), new SeededRandom(seed))
      expect(chosen.map((choice) => choice.reason)).toEqual(['new-zone', 'new-zone', 'new-rack', 'new-host', 'same-host'])
    }
  })

  test('racks and hosts of the same name in different zones are different ones', () => {
    const servers = [
      server({ zone: 'a', rack: 'r', host: 'h' }),
      server({ zone: 'b', rack: 'r', host: 'h' }),
      server({ zone: 'b', rack: 's', host: 'h' }),
    ]
    const { chosen } = place(request(servers), new SeededRandom(2))
    expect(chosen.map((choice) => choice.reason)).toEqual(['new-zone', 'new-zone', 'new-rack'])
  })

  test('domains of copies that exist are avoided', () => {
    const [one, two, three] = [server({ zone: 'a' }), server({ zone: 'a' }), server({ zone: 'b' })]
    for (let seed = 0; seed < 20; seed += 1) {
      const { chosen } = place(request([one, two, three], { copies: 1, existing: [one.serverNo] }), new SeededRandom(seed))
      expect(chosen).toEqual([{ server: three, reason: 'new-zone' }])
    }
  })

  test('each server left out has its reason', () => {
    const [away, holder, barred, full, fit] = [
      server({ state: 'suspect' }),
      server(),
      server(),
      server({ largestFreeBytes: 64 * MiB - 1 }),
      server(),
    ]
    const { chosen, rejected } = place(
      request([away, holder, barred, full, fit], { existing: [holder.serverNo], excluded: new Set([barred.serverNo]) }),
      new SeededRandom(1),
    )
    expect(chosen.map((choice) => choice.server)).toEqual([fit])
    expect(rejected).toEqual([
      { server: away, reason: 'not-serving' },
      { server: holder, reason: 'holds-a-copy' },
      { server: barred, reason: 'excluded' },
      { server: full, reason: 'no-space' },
    ])
  })

  test('a chunk that just fits, fits', () => {
    const tight = server({ largestFreeBytes: 64 * MiB })
    expect(place(request([tight], { copies: 1 }), new SeededRandom(1)).chosen).toHaveLength(1)
  })

  test('no servers at all is an empty answer', () => {
    expect(place(request([]), new SeededRandom(1))).toEqual({ chosen: [], rejected: [] })
  })

  test.each([
    ['three times the free space', { freeBytes: 300 * GiB }, 0.75],
    ['no free space to speak of', { freeBytes: 0, largestFreeBytes: GiB }, 0],
    ['three operations in flight', { load: 3 }, 0.2],
    ['a disk that takes 25 ms', { latencyMs: 25 }, 0.4],
    ['a disk that takes 200 ms', { latencyMs: 200 }, 0],
  ])('among equals a server with %s is drawn in proportion', (_what, changes, share) => {
    const random = new SeededRandom(11)
    const [usual, special] = [server({ latencyMs: 0 }), server({ latencyMs: 0, ...changes })]
    let drawn = 0
    for (let chunk = 0; chunk < 4000; chunk += 1)
      drawn += place(request([usual, special], { copies: 1 }), random).chosen[0]?.server === special ? 1 : 0
    expect(Math.abs(drawn / 4000 - share)).toBeLessThan(0.03)
  })
})

describe('a server that is far slower than the rest', () => {
  const many = (latencies: readonly (number | undefined)[], changes: (index: number) => Partial<PlacementServer> = () => ({})) =>
    latencies.map((latencyMs, index) => server({ ...(latencyMs === undefined ? {} : { latencyMs }), ...changes(index) }))
  const drawsOf = (servers: readonly PlacementServer[], copies: number): number[] => {
    const random = new SeededRandom(7)
    const draws = servers.map(() => 0)
    for (let chunk = 0; chunk < 300; chunk += 1)
      for (const { server: one } of place(request(servers, { copies }), random).chosen)
        draws[servers.indexOf(one)] = (draws[servers.indexOf(one)] ?? 0) + 1
    return draws
  }

  test('is left out while the others are enough', () => {
    expect(drawsOf(many([1, 2, 3, 200, 2]), 3)[3]).toBe(0)
  })

  test('is taken where the copies need it', () => {
    expect(drawsOf(many([1, 2, 200]), 3)).toEqual([300, 300, 300])
  })

  test('is taken rather than give up a failure domain', () => {
    const zones = many([1, 1, 200], (index) => ({ zone: index === 2 ? 'far' : 'near' }))
    expect(drawsOf(zones, 2)[2]).toBe(300)
  })

  test.each([
    ['all are slow', [200, 220, 240, 260]],
    ['its latency is not known', [1, 2, 2, undefined]],
    ['it is slower by a factor that does not matter', [1, 1, 1, 40]],
  ])('is none when %s', (_what, latencies) => {
    expect(drawsOf(many(latencies), 3)[3]).toBeGreaterThan(50)
  })
})

describe('chooseSurplus', () => {
  test('property: giving one up never costs a failure domain that could be kept', () => {
    fc.assert(
      fc.property(fc.array(anyServer, { minLength: 2, maxLength: 6 }), (holders) => {
        const surplus = chooseSurplus(holders) as PlacementServer
        expect(holders).toContain(surplus)
        const spread = (left: readonly PlacementServer[]) => [zoneOf, rackOf, hostOf].map((of) => distinct(left, of))
        const after = spread(holders.filter((one) => one !== surplus))
        const best = holders.map((one) => spread(holders.filter((other) => other !== one)))
        // Hosts, racks and zones nest: whoever shares a host shares the rest, so one choice is best for all three at once.
        expect(best.every((other) => other.every((count, at) => count <= (after[at] ?? 0)))).toBe(true)
      }),
      { numRuns: 500 },
    )
  })

  test('among equals it is the fullest, and of no copies none', () => {
    const [empty, full] = [server({ freeBytes: 10 * GiB }), server({ freeBytes: GiB })]
    expect(chooseSurplus([empty, full])).toBe(full)
    expect(chooseSurplus([])).toBeUndefined()
  })
})
