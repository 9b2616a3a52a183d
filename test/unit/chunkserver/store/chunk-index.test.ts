import { describe, expect, test } from '@jest/globals'
import fc from 'fast-check'
import { ChunkIndex } from '../../../../chunkserver/store/chunk-index.js'
import { shardOf } from '../../../../common/protocol/cluster.js'
import { digestOfIds } from '../../../../common/checksum/id-set-digest.js'
import { checksumToHex } from '../../../../common/checksum/xxh64.js'
import { hexToBytes, newId, type ChunkId, type DiskId } from '../../../../common/ids.js'
import { SHARD_COUNT } from '../../../../common/protocol/cluster.js'
import { SeededRandom } from '../../../../common/random/seeded-random.js'

const random = new SeededRandom(9)
const disk = { diskId: newId<DiskId>(random) }
const pool = Array.from({ length: 12 }, (_, index) => (index % 2 ? '00' : 'ff') + newId<ChunkId>(random).slice(2)) as ChunkId[]
const entry = (chunkId: ChunkId) => ({ chunkId, disk, lengthBytes: 10, root: checksumToHex(1n) })
const first = pool[0] as ChunkId

type Step = readonly [action: 'load' | 'loadCorrupt' | 'add' | 'remove' | 'markCorrupt', chunk: number]
const steps: fc.Arbitrary<Step[]> = fc.array(
  fc.tuple(fc.constantFrom('load', 'loadCorrupt', 'add', 'remove', 'markCorrupt'), fc.nat(pool.length - 1)),
  { maxLength: 60 },
)

function apply(index: ChunkIndex<typeof disk>, [action, chunk]: Step): void {
  const chunkId = pool[chunk] as ChunkId
  if (action === 'load' || action === 'add') index[action](entry(chunkId))
  else if (action === 'loadCorrupt') index.loadCorrupt(chunkId, disk)
  else index[action](chunkId)
}

describe('the chunk index', () => {
  test('property: digests and shard lists always are those of the good copies', () => {
    fc.assert(
      fc.property(steps, (all) => {
        const index = new ChunkIndex<typeof disk>()
        const good = new Set<ChunkId>()
        for (const step of all) {
          const chunkId = pool[step[1]] as ChunkId
          apply(index, step)
          if (step[0] === 'load' || step[0] === 'add') good.add(chunkId)
          else if (step[0] !== 'loadCorrupt') good.delete(chunkId)
        }
        for (const shard of [0, 1, SHARD_COUNT - 1]) {
          const ids = [...good].filter((id) => shardOf(id) === shard)
          expect(index.digestOf(shard)).toEqual(digestOfIds(ids.map(hexToBytes)))
          expect(new Set(index.listShard(shard).map((chunk) => chunk.chunkId))).toEqual(new Set(ids))
        }
      }),
    )
  })

  test('property: the journal rises without gaps in order, and replaying it gives the copies that were not there at the start', () => {
    fc.assert(
      fc.property(steps, (all) => {
        const index = new ChunkIndex<typeof disk>()
        for (const step of all.filter(([action]) => action !== 'load' && action !== 'loadCorrupt')) apply(index, step)
        const journal = index.pendingChanges(1000)
        expect(journal.map((change) => change.sequence)).toEqual(journal.map((_, position) => position + 1))
        const replayed = new Set<ChunkId>()
        for (const change of journal) {
          if (change.kind === 'added') replayed.add(change.chunkId)
          else replayed.delete(change.chunkId)
        }
        const good = [...index.entries()].filter((one) => one.state === 'good').map((one) => one.chunkId)
        expect(replayed).toEqual(new Set(good))
      }),
    )
  })

  test('what was found at the start is not told as a change, except damage', () => {
    const index = new ChunkIndex<typeof disk>()
    index.load(entry(first))
    index.loadCorrupt(pool[1] as ChunkId, disk)
    expect(index.pendingChanges(10)).toEqual([{ kind: 'corrupt', sequence: 1, chunkId: pool[1] }])
  })

  test('a damaged copy stays known but counts no more, and is told once', () => {
    const index = new ChunkIndex<typeof disk>()
    index.add(entry(first))
    index.markCorrupt(first)
    index.markCorrupt(first)
    expect(index.get(first)?.state).toBe('corrupt')
    expect(index.listShard(shardOf(first))).toEqual([])
    expect(index.pendingChanges(10).map((change) => change.kind)).toEqual(['added', 'corrupt'])
  })

  test('a good copy replaces a damaged one', () => {
    const index = new ChunkIndex<typeof disk>()
    index.loadCorrupt(first, disk)
    expect(index.add(entry(first))).toMatchObject({ chunkId: first, diskId: disk.diskId, sequence: 2 })
    expect(index.get(first)).toMatchObject({ state: 'good', sequence: 2 })
  })

  test('changes are told until they are acknowledged, a few at a time', () => {
    const index = new ChunkIndex<typeof disk>()
    for (const chunkId of pool) index.add(entry(chunkId))
    expect(index.pendingChanges(3).map((change) => change.sequence)).toEqual([1, 2, 3])
    index.acknowledge(3)
    index.acknowledge(2)
    expect(index.pendingChanges(2).map((change) => change.sequence)).toEqual([4, 5])
    index.acknowledge(pool.length)
    expect(index.pendingChanges(10)).toEqual([])
  })

  test('changes from before the sequence was known come after its start, in order', () => {
    const index = new ChunkIndex<typeof disk>()
    index.loadCorrupt(first, disk)
    index.loadCorrupt(pool[1] as ChunkId, disk)
    index.startSequence(1000)
    index.add(entry(pool[2] as ChunkId))
    expect(index.pendingChanges(10).map((change) => [change.sequence, change.chunkId])).toEqual([
      [1001, first],
      [1002, pool[1]],
      [1003, pool[2]],
    ])
    expect(index.sequence).toBe(1003)
  })
})
