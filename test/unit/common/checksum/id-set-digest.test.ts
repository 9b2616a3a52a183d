import { expect, test } from '@jest/globals'
import fc from 'fast-check'
import { digestOfIds, EMPTY_DIGEST, idHash } from '../../../../common/checksum/id-set-digest.js'

const id = fc.uint8Array({ minLength: 16, maxLength: 16 })
const ids = fc.uniqueArray(id, { maxLength: 30, selector: (bytes) => bytes.join() })

test('property: the order of ids does not matter, and one more or less is one step', () => {
  fc.assert(
    fc.property(ids, id, (set, another) => {
      const whole = digestOfIds(set)
      expect(digestOfIds([...set].reverse())).toEqual(whole)
      const { count, hash } = digestOfIds([...set, another])
      expect({ count: count - 1, hash: hash ^ idHash(another) }).toEqual(whole)
    }),
  )
})

test('sets that differ in one id differ, and ids may lie anywhere in a larger buffer', () => {
  const buffer = Uint8Array.from({ length: 64 }, (_, index) => index * 7)
  const [one, two, three] = [buffer.subarray(1, 17), buffer.subarray(17, 33), buffer.subarray(33, 49)]
  expect(digestOfIds([one, two])).not.toEqual(digestOfIds([one, three]))
  expect(digestOfIds([one])).not.toEqual(digestOfIds([one, two]))
  expect(idHash(one)).toBe(idHash(one.slice()))
  expect(digestOfIds([])).toEqual(EMPTY_DIGEST)
})
