/** What every {@link Random} must do. Run on each implementation by random.test.ts. */
import { beforeEach, describe, expect, test } from '@jest/globals'
import { newId, type ChunkId } from '../../common/ids.js'
import { shuffled, type Random } from '../../common/random/random.js'

const DRAWS = 20_000

export function randomSuite(name: string, open: () => Random): void {
  describe(`Random: ${name}`, () => {
    let random: Random

    beforeEach(() => {
      random = open()
    })

    test.each([0, 1, 3, 4, 5, 16, 65_537])('%i bytes are as many as asked for', (count) => {
      const bytes = random.bytes(count)
      expect(bytes).toBeInstanceOf(Uint8Array)
      expect(bytes).toHaveLength(count)
    })

    test('every byte value occurs at every place of a word', () => {
      const seen = Array.from({ length: 4 }, () => new Set<number>())
      random.bytes(DRAWS).forEach((byte, index) => seen[index % 4]?.add(byte))
      expect(seen.map((values) => values.size)).toEqual([256, 256, 256, 256])
    })

    test('bytes handed out earlier stay as they were', () => {
      const first = random.bytes(64)
      const copy = first.slice()
      for (let round = 0; round < 100; round += 1) random.bytes(64)
      expect(first).toEqual(copy)
    })

    test('integers lie in [0, bound) and reach both ends', () => {
      const seen = new Set<number>()
      for (let draw = 0; draw < DRAWS; draw += 1) seen.add(random.integer(10))
      expect([...seen].sort()).toEqual([0, 1, 2, 3, 4, 5, 6, 7, 8, 9])
      for (let draw = 0; draw < 10; draw += 1) expect(random.integer(1)).toBe(0)
    })

    test('integers of the largest bound are whole and use all 32 bits', () => {
      let bits = 0
      for (let draw = 0; draw < 1000; draw += 1) {
        const value = random.integer(2 ** 32)
        expect(Number.isInteger(value) && value >= 0 && value < 2 ** 32).toBe(true)
        bits |= value
      }
      expect(bits >>> 0).toBe(2 ** 32 - 1)
    })

    test('fractions lie in [0, 1) and are spread evenly', () => {
      const counts = new Array<number>(10).fill(0)
      for (let draw = 0; draw < DRAWS; draw += 1) {
        const value = random.fraction()
        expect(value >= 0 && value < 1).toBe(true)
        counts[Math.floor(value * 10)] = (counts[Math.floor(value * 10)] ?? 0) + 1
      }
      // 2000 each, standard deviation 42: ten of them away is no accident.
      for (const count of counts) expect(Math.abs(count - DRAWS / 10)).toBeLessThan(420)
    })

    test('10 000 ids are 10 000 different ids', () => {
      const ids = new Set<string>()
      for (let count = 0; count < 10_000; count += 1) ids.add(newId<ChunkId>(random))
      expect(ids.size).toBe(10_000)
      for (const id of ids) expect(id).toMatch(/^[0-9a-f]{32}$/)
    })

    test('a shuffle keeps every item, leaves its input alone, and puts each item at each place', () => {
      const items = [0, 1, 2, 3]
      const seen = new Set<string>()
      for (let round = 0; round < 2000; round += 1) {
        const order = shuffled(random, items)
        seen.add(order.join(''))
        expect([...order].sort()).toEqual(items)
      }
      expect(items).toEqual([0, 1, 2, 3])
      expect(seen.size).toBe(24)
      expect(shuffled(random, [])).toEqual([])
    })
  })
}
