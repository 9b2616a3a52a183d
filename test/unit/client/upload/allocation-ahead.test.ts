import { describe, expect, test } from '@jest/globals'
import { AllocationAhead, type ChunkWish } from '../../../../client/upload/allocation-ahead.js'
import { deferred } from '../../../../common/flow/deferred.js'
import { newId, type ChunkId } from '../../../../common/ids.js'
import type { AllocatedChunk } from '../../../../common/protocol/uploads.js'
import { SeededRandom } from '../../../../common/random/seeded-random.js'

const random = new SeededRandom(1)
const wish = (index: number): ChunkWish => ({ index, lengthBytes: 10 })
const allocated = (index: number): AllocatedChunk => ({ index, chunkId: newId<ChunkId>(random), targets: [], capability: '' })

/** A source of `total` chunks, and a master that writes down what it is asked for. */
function setUp(
  total: number,
  answer: (wishes: ChunkWish[]) => Promise<AllocatedChunk[]> = async (wishes) => wishes.map((one) => allocated(one.index)),
) {
  const requests: number[][] = []
  const ahead = new AllocationAhead(
    (wishes) => {
      requests.push(wishes.map((one) => one.index))
      return answer(wishes)
    },
    (after, count) => Array.from({ length: Math.min(count, total - after.index - 1) }, (_, at) => wish(after.index + 1 + at)),
  )
  return { ahead, requests }
}

describe('allocation ahead', () => {
  test('many chunks cost few requests, and each gets its own allocation', async () => {
    const { ahead, requests } = setUp(40)
    const chunks: AllocatedChunk[] = []
    for (let index = 0; index < 40; index += 1) chunks.push(await ahead.take(wish(index)))
    expect(chunks.map((chunk) => chunk.index)).toEqual(Array.from({ length: 40 }, (_, index) => index))
    expect(new Set(chunks.map((chunk) => chunk.chunkId)).size).toBe(40)
    expect(requests.map((request) => request.length)).toEqual([16, 16, 8])
  })

  test('whoever comes while the request is under way waits for it instead of making another', async () => {
    const answer = deferred<AllocatedChunk[]>()
    const { ahead, requests } = setUp(3, () => answer.promise)
    const taken = [ahead.take(wish(0)), ahead.take(wish(1)), ahead.take(wish(2))]
    answer.resolve([2, 0, 1].map(allocated))
    expect((await Promise.all(taken)).map((chunk) => chunk.index)).toEqual([0, 1, 2])
    expect(requests).toEqual([[0, 1, 2]])
  })

  test('a chunk that is asked for twice gets a fresh allocation', async () => {
    const { ahead } = setUp(2)
    const first = await ahead.take(wish(0))
    expect((await ahead.take(wish(0))).chunkId).not.toBe(first.chunkId)
  })

  test('after a server has failed nothing allocated before is used', async () => {
    const { ahead, requests } = setUp(4)
    await ahead.take(wish(0))
    ahead.forget()
    await ahead.take(wish(1))
    expect(requests).toEqual([
      [0, 1, 2, 3],
      [1, 2, 3],
    ])
  })

  test('a failed request fails those who wait for it, is no unhandled rejection for the rest, and is not remembered', async () => {
    let healthy = false
    const { ahead, requests } = setUp(20, async (wishes) => {
      if (!healthy) throw new Error('no master')
      return wishes.map((one) => allocated(one.index))
    })
    const outcomes = await Promise.allSettled([ahead.take(wish(0)), ahead.take(wish(1))])
    expect(outcomes.map((outcome) => outcome.status)).toEqual(['rejected', 'rejected'])
    healthy = true
    expect((await ahead.take(wish(2))).index).toBe(2)
    expect(requests).toHaveLength(2)
  })

  test('the late failure of a request that was forgotten does not take away what a newer one brought', async () => {
    const late = deferred<AllocatedChunk[]>()
    const answers = [late.promise]
    const { ahead, requests } = setUp(4, async (wishes) => answers.shift() ?? wishes.map((one) => allocated(one.index)))
    const first = ahead.take(wish(0))
    ahead.forget()
    await ahead.take(wish(1))
    late.reject(new Error('too late'))
    await expect(first).rejects.toThrow('too late')
    await ahead.take(wish(2))
    expect(requests).toEqual([
      [0, 1, 2, 3],
      [1, 2, 3],
    ])
  })

  test('an answer that leaves the chunk out is an error', async () => {
    const { ahead } = setUp(1, async () => [])
    await expect(ahead.take(wish(0))).rejects.toThrow('did not allocate chunk 0')
  })
})
