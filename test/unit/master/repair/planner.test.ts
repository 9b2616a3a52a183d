import { describe, expect, test } from '@jest/globals'
import fc from 'fast-check'
import { newId, type ChunkId, type ServerId, type UploadId } from '../../../../common/ids.js'
import { SeededRandom } from '../../../../common/random/seeded-random.js'
import { GiB, MiB } from '../../../../common/units.js'
import type { PlacementServer } from '../../../../master/placement/placement.js'
import { planRepairs, TransferFlight, weightOf, type PlanInput } from '../../../../master/repair/planner.js'
import { limitsAt } from '../../../../master/repair/speeds.js'
import { DEFAULT_MASTER_SETTINGS } from '../../../../master/settings.js'
import type { CandidateReplica, RepairCandidate } from '../../../../master/store/operations/health.js'
import { HealthClass } from '../../../../master/store/schema.js'

const ids = new SeededRandom(1)
const limits = DEFAULT_MASTER_SETTINGS.repairLimits

const server = (serverNo: number, changes: Partial<PlacementServer> = {}): PlacementServer => ({
  serverNo,
  serverId: newId<ServerId>(ids),
  state: 'serving',
  zone: `z${serverNo}`,
  rack: 'r',
  host: `h${serverNo}`,
  largestFreeBytes: 10 * GiB,
  freeBytes: 10 * GiB,
  usedBytes: 0,
  load: 0,
  ...changes,
})
const servers = (count: number): PlacementServer[] => Array.from({ length: count }, (_, index) => server(index + 1))
const good = (serverNo: number): CandidateReplica => ({ serverNo, state: 'good', serving: true, reachable: true, lasting: true })
const corrupt = (serverNo: number): CandidateReplica => ({ ...good(serverNo), state: 'corrupt' })
/** A good copy on a server that is only suspect, or dead. */
const suspect = (serverNo: number): CandidateReplica => ({ ...good(serverNo), serving: false, lasting: false })
const dead = (serverNo: number): CandidateReplica => ({ ...suspect(serverNo), reachable: false })

function candidate(replicas: readonly CandidateReplica[], changes: Partial<RepairCandidate> = {}): RepairCandidate {
  const serving = replicas.filter((replica) => replica.state === 'good' && replica.serving).length
  return {
    chunkId: newId<ChunkId>(ids),
    uploadId: newId<UploadId>(ids),
    chunkIndex: 0,
    lengthBytes: 64 * MiB,
    root: null,
    healthClass: serving === 1 ? HealthClass.lastCopy : HealthClass.belowGoal,
    serving,
    wanted: 3,
    attempts: 0,
    replicas,
    ...changes,
  }
}

const plan = (candidates: readonly RepairCandidate[], changes: Partial<PlanInput> = {}, seed = 1) =>
  planRepairs(
    { candidates, servers: servers(5), flight: new TransferFlight(), limitOf: limitsAt('balanced', limits), ...changes },
    new SeededRandom(seed),
  )

describe('planRepairs', () => {
  test('a copy goes from a good one to a server that has none', () => {
    for (let seed = 0; seed < 30; seed += 1) {
      const { assignments, stuck } = plan([candidate([good(1), good(2), dead(3)])], {}, seed)
      expect(stuck).toEqual([])
      expect(assignments).toHaveLength(1)
      expect([1, 2]).toContain(assignments[0]?.sourceNo)
      expect([4, 5]).toContain(assignments[0]?.targetNo)
    }
  })

  test('while all servers have their hands full a chunk waits, and whether it can be helped at all shows when one is free', () => {
    const flight = new TransferFlight()
    for (const serverNo of [1, 2, 3]) flight.add(9, serverNo, limits.belowGoal.into)
    const helpless = candidate([good(1), good(2), corrupt(3)], { lengthBytes: 20 * GiB })
    const [both, few] = [[candidate([good(1), good(2)]), helpless], servers(3)]
    expect(plan(both, { servers: few, flight })).toEqual({ assignments: [], stuck: [] })
    flight.remove(9, 3, limits.belowGoal.into)
    const { assignments, stuck } = plan(both, { servers: few, flight })
    expect(assignments.map(({ targetNo }) => targetNo)).toEqual([3])
    expect(stuck).toEqual([])
    flight.remove(assignments[0]?.sourceNo ?? 0, 3, 1)
    expect(plan([helpless], { servers: few, flight }).stuck).toMatchObject([{ why: 'no server has room for another copy' }])
  })

  test('a corrupt copy is no source, and no copy goes beside it while another server can take it', () => {
    for (let seed = 0; seed < 30; seed += 1) {
      const { assignments } = plan([candidate([corrupt(1), good(2), good(3)])], {}, seed)
      expect([2, 3]).toContain(assignments[0]?.sourceNo)
      expect([4, 5]).toContain(assignments[0]?.targetNo)
    }
  })

  test('where every server has one, the corrupt copy is replaced in its place', () => {
    const { assignments } = plan([candidate([corrupt(1), good(2), good(3)])], { servers: servers(3) })
    expect(assignments.map((one) => one.targetNo)).toEqual([1])
  })

  test('a copy that is being deleted is neither source nor target', () => {
    const leaving: CandidateReplica = { ...good(1), state: 'leaving' }
    expect(plan([candidate([leaving])]).stuck).toMatchObject([{ why: 'no source is serving' }])
    expect(plan([candidate([leaving, good(2)])], { servers: servers(2) }).stuck).toMatchObject([
      { why: 'no server has room for another copy' },
    ])
  })

  test('a copy on a suspect server is no source, but its place stays taken', () => {
    const domains = [
      server(1, { zone: 'a' }),
      server(2, { zone: 'b', state: 'suspect' }),
      server(3, { zone: 'b' }),
      server(4, { zone: 'c' }),
    ]
    for (let seed = 0; seed < 30; seed += 1) {
      const { assignments } = plan([candidate([good(1), suspect(2)])], { servers: domains }, seed)
      expect(assignments).toMatchObject([{ sourceNo: 1, targetNo: 4 }])
    }
  })

  test('the zone of a dead copy is free again', () => {
    const domains = [
      server(1, { zone: 'a' }),
      server(2, { zone: 'b', state: 'dead' }),
      server(3, { zone: 'b' }),
      server(4, { zone: 'a' }),
    ]
    for (let seed = 0; seed < 30; seed += 1)
      expect(plan([candidate([good(1), dead(2)])], { servers: domains }, seed).assignments).toMatchObject([{ targetNo: 3 }])
  })

  test('a chunk that nobody can help is named with the reason, and holds up no other', () => {
    const lost = candidate([dead(1)])
    const huge = candidate([good(1), good(2)], { lengthBytes: 20 * GiB })
    const fine = candidate([good(1), good(2)])
    const { assignments, stuck } = plan([lost, huge, fine])
    expect(stuck).toEqual([
      { candidate: lost, why: 'no source is serving' },
      { candidate: huge, why: 'no server has room for another copy' },
    ])
    expect(assignments.map((one) => one.candidate)).toEqual([fine])
  })

  test('who comes first gets the free places: the most urgent are listed first', () => {
    const last = Array.from({ length: 5 }, () => candidate([good(1)]))
    const below = Array.from({ length: 3 }, () => candidate([good(1)], { healthClass: HealthClass.belowGoal }))
    const { assignments, stuck } = plan([...last, ...below], { servers: servers(2) })
    expect(assignments.map((one) => one.candidate)).toEqual(last.slice(0, limits.lastCopy.into))
    expect(stuck).toEqual([])
  })

  test('a last copy still moves where the limit of the others is reached', () => {
    const flight = new TransferFlight()
    for (let busy = 0; busy < 2; busy += 1) flight.add(9, 2, 1)
    const two = [server(1), server(2)]
    expect(plan([candidate([good(1)], { healthClass: HealthClass.belowGoal })], { servers: two, flight }).assignments).toEqual([])
    expect(plan([candidate([good(1)])], { servers: two, flight }).assignments).toHaveLength(1)
  })

  test('of several sources the one with the least in flight is taken', () => {
    const flight = new TransferFlight()
    flight.add(1, 9, 2)
    flight.add(2, 9, 1)
    expect(plan([candidate([good(1), good(2)])], { flight }).assignments[0]?.sourceNo).toBe(2)
  })

  test('an idle pair takes a chunk of any size, and nothing else beside it', () => {
    const big = () => candidate([good(1), good(2)], { lengthBytes: 1024 * MiB, wanted: 3 })
    const { assignments, stuck } = plan([big(), big(), big(), big()], { servers: [server(1), server(2), server(3)] })
    expect(assignments).toHaveLength(1)
    expect(stuck).toEqual([])
  })

  const replicas = fc
    .uniqueArray(fc.tuple(fc.integer({ min: 1, max: 6 }), fc.constantFrom(good, good, corrupt, suspect, dead)), {
      minLength: 1,
      maxLength: 4,
      selector: ([serverNo]) => serverNo,
    })
    .map((list) => list.map(([serverNo, of]) => of(serverNo)))
  const candidates = fc.array(
    fc
      .tuple(replicas, fc.constantFrom(1, 16 * MiB, 64 * MiB, 256 * MiB))
      .map(([list, lengthBytes]) => candidate(list, { lengthBytes })),
    { maxLength: 40 },
  )

  test('property: limits hold per server and direction, each chunk is planned once, and never onto its own good copy', () => {
    fc.assert(
      fc.property(candidates, fc.nat(), (list, seed) => {
        const flight = new TransferFlight()
        const { assignments, stuck } = plan(list, { servers: servers(6), flight }, seed)
        const planned = [...assignments.map((one) => one.candidate), ...stuck.map((one) => one.candidate)]
        expect(new Set(planned).size).toBe(planned.length)
        for (const { candidate: chunk, sourceNo, targetNo } of assignments) {
          const at = (serverNo: number) => chunk.replicas.find((replica) => replica.serverNo === serverNo)
          expect(at(sourceNo)).toMatchObject({ state: 'good', serving: true })
          expect(at(targetNo)?.state ?? 'corrupt').toBe('corrupt')
        }
        for (let serverNo = 1; serverNo <= 6; serverNo += 1) {
          const into = assignments.filter((one) => one.targetNo === serverNo)
          const outOf = assignments.filter((one) => one.sourceNo === serverNo)
          expect(flight.into(serverNo)).toBe(into.reduce((sum, one) => sum + one.weight, 0))
          expect(flight.outOf(serverNo)).toBe(outOf.reduce((sum, one) => sum + one.weight, 0))
          if (into.length > 1) expect(flight.into(serverNo)).toBeLessThanOrEqual(limits.lastCopy.into)
          if (outOf.length > 1) expect(flight.outOf(serverNo)).toBeLessThanOrEqual(limits.lastCopy.outOf)
        }
      }),
      { numRuns: 300 },
    )
  })

  test('property: when all copies in flight are over nothing is left of their weights, whatever the sizes and order', () => {
    fc.assert(
      fc.property(fc.array(fc.integer({ min: 1, max: 2 ** 30 }), { maxLength: 50 }), fc.nat(), (lengths, seed) => {
        const flight = new TransferFlight()
        for (const length of lengths) flight.add(1, 2, weightOf(length))
        const order = lengths.map((_, index) => index).sort((one, other) => ((one * 7 + seed) % 11) - ((other * 7 + seed) % 11))
        for (const index of order) flight.remove(1, 2, weightOf(lengths[index] as number))
        // Any rest would make an idle server look busy, and bar it from chunks above its limit for ever.
        expect([flight.outOf(1), flight.into(2)]).toEqual([0, 0])
      }),
    )
  })
})
