import { describe, expect, test } from '@jest/globals'
import { SystemClock } from '../../../../common/clock/system-clock.js'
import { deferred, type Deferred } from '../../../../common/flow/deferred.js'
import { Gatherer, type GathererOptions, type Outcome } from '../../../../common/flow/gatherer.js'

const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve))

/** Requests that are answered when the test says so. */
class Requests {
  readonly sent: { readonly items: readonly number[]; readonly answer: Deferred<readonly Outcome<string>[]> }[] = []

  gatherer(options: Partial<GathererOptions<number, string>> = {}): Gatherer<number, string> {
    const send = (items: readonly number[]): Promise<readonly Outcome<string>[]> => {
      const answer = deferred<readonly Outcome<string>[]>()
      this.sent.push({ items, answer })
      return answer.promise
    }
    return new Gatherer({ clock: new SystemClock(), underWayMax: 1, countMax: 3, send, ...options })
  }

  get items(): (readonly number[])[] {
    return this.sent.map(({ items }) => items)
  }

  async answer(index: number): Promise<void> {
    const { items, answer } = this.sent[index] as (typeof this.sent)[number]
    answer.resolve(
      items.map((item) => (item < 0 ? { ok: false, error: new Error(`not ${item}`) } : { ok: true, value: `${item}` })),
    )
    await turn()
    await turn()
  }
}

describe('a gatherer', () => {
  test('sends together what comes in one turn, and then what has come meanwhile', async () => {
    const requests = new Requests()
    const gatherer = requests.gatherer()
    const first = [gatherer.add(1), gatherer.add(2)]
    await turn()
    expect(requests.items).toEqual([[1, 2]])
    const later = [3, 4, 5, 6].map((item) => gatherer.add(item))
    await turn()
    expect(requests.items).toHaveLength(1)
    await requests.answer(0)
    expect(await Promise.all(first)).toEqual(['1', '2'])
    expect(requests.items).toEqual([
      [1, 2],
      [3, 4, 5],
    ])
    await requests.answer(1)
    await requests.answer(2)
    expect(await Promise.all(later)).toEqual(['3', '4', '5', '6'])
  })

  test('lets each item have its own outcome', async () => {
    const requests = new Requests()
    const gatherer = requests.gatherer()
    const outcomes = Promise.allSettled([gatherer.add(1), gatherer.add(-2), gatherer.add(3)])
    await turn()
    await requests.answer(0)
    expect((await outcomes).map(({ status }) => status)).toEqual(['fulfilled', 'rejected', 'fulfilled'])
  })

  test('has so many requests under way as it may, and no more', async () => {
    const requests = new Requests()
    const gatherer = requests.gatherer({ underWayMax: 2, countMax: 1 })
    for (const item of [1, 2, 3]) void gatherer.add(item)
    await turn()
    await turn()
    expect(requests.items).toEqual([[1], [2]])
    await requests.answer(1)
    expect(requests.items).toEqual([[1], [2], [3]])
  })

  test('keeps to the weight of a request; a single item may have more', async () => {
    const requests = new Requests()
    const gatherer = requests.gatherer({ underWayMax: 9, weightMax: 5, weightOf: (item) => item })
    for (const item of [3, 2, 1, 8, 1]) void gatherer.add(item)
    for (let turns = 0; turns < 5; turns += 1) await turn()
    expect(requests.items).toEqual([[3, 2], [1], [8], [1]])
  })

  test('does not send what its caller has given up', async () => {
    const requests = new Requests()
    const gatherer = requests.gatherer()
    const abort = new AbortController()
    const given = gatherer.add(1, abort.signal)
    const kept = gatherer.add(2)
    abort.abort(new Error('enough'))
    await expect(given).rejects.toThrow('enough')
    await turn()
    expect(requests.items).toEqual([[2]])
    await requests.answer(0)
    expect(await kept).toBe('2')
    await expect(gatherer.add(3, abort.signal)).rejects.toThrow('enough')
  })

  test('a request that fails is the failure of its items, and of those that wait only if it speaks for them', async () => {
    for (const speaksForAll of [false, true]) {
      const requests = new Requests()
      const gatherer = requests.gatherer({ failsAll: () => speaksForAll })
      const first = gatherer.add(1)
      await turn()
      const second = gatherer.add(2)
      const outcomes = Promise.allSettled([first, second])
      requests.sent[0]?.answer.reject(new Error('gone'))
      await turn()
      await turn()
      if (!speaksForAll) await requests.answer(1)
      expect((await outcomes).map(({ status }) => status)).toEqual(['rejected', speaksForAll ? 'rejected' : 'fulfilled'])
    }
  })
})
