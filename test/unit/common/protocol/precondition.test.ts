import { describe, expect, test } from '@jest/globals'
import fc from 'fast-check'
import {
  checkPrecondition,
  entityTag,
  generationOfTag,
  NO_PRECONDITION,
  preconditionFromHeaders,
  preconditionHeaders,
  type Precondition,
} from '../../../../common/protocol/precondition.js'

const checksum = fc.bigInt(0n, 2n ** 64n - 1n).map((value) => `xxh64-tree:${value.toString(16).padStart(16, '0')}`)
const generation = fc.integer({ min: 1, max: 2 ** 40 })

describe('entity tags', () => {
  test('property: the generation comes back out of a tag, strong or weak', () => {
    fc.assert(
      fc.property(generation, checksum, (number, sum) => {
        const tag = entityTag({ generation: number, checksum: sum })
        expect(tag).toMatch(/^"\d+-[0-9a-f]{16}"$/)
        for (const form of [tag, `W/${tag}`, ` ${tag} `, `"${number}"`, String(number)])
          expect(generationOfTag(form)).toBe(number)
      }),
    )
  })

  test('two contents never share a tag', () => {
    const one = { generation: 3, checksum: 'xxh64-tree:00000000000000aa' }
    expect(entityTag(one)).toBe('"3-00000000000000aa"')
    expect(entityTag(one)).not.toBe(entityTag({ ...one, checksum: 'xxh64-tree:00000000000000ab' }))
    expect(entityTag(one)).not.toBe(entityTag({ ...one, generation: 4 }))
  })

  test.each(['', '""', '"abc"', '*', '"3-"', '"3-xyz"', '"3-00aa"', '3, 4', '"3", "4"', '-3', '3.5', '"9999999999999999"'])(
    '%j is no tag of ours',
    (tag) => {
      expect(() => generationOfTag(tag)).toThrow(expect.objectContaining({ code: 'INVALID_ARGUMENT' }))
    },
  )
})

describe('conditions in headers', () => {
  test('none, absent, and a generation', () => {
    expect(preconditionFromHeaders({})).toEqual(NO_PRECONDITION)
    expect(preconditionFromHeaders({ 'if-none-match': '*' })).toEqual({ kind: 'absent' })
    expect(preconditionFromHeaders({ 'if-none-match': ' * ' })).toEqual({ kind: 'absent' })
    expect(preconditionFromHeaders({ 'if-match': '"7-00000000000000aa"' })).toEqual({ kind: 'generation', generation: 7 })
    expect(preconditionFromHeaders({ 'if-match': '7' })).toEqual({ kind: 'generation', generation: 7 })
  })

  test('a condition that cannot be read is refused, never taken for none', () => {
    for (const tag of ['"abc"', '', '"1", "2"'])
      expect(() => preconditionFromHeaders({ 'if-match': tag })).toThrow(expect.objectContaining({ code: 'INVALID_ARGUMENT' }))
  })

  test('a change under If-None-Match with a tag is refused: it would otherwise be done whatever stands there', () => {
    for (const tag of ['"7-00000000000000aa"', '"7"', 'W/"7"', ''])
      expect(() => preconditionFromHeaders({ 'if-none-match': tag })).toThrow(
        expect.objectContaining({ code: 'INVALID_ARGUMENT' }),
      )
  })

  test('property: what is written into headers is read back', () => {
    const condition: fc.Arbitrary<Precondition> = fc.oneof(
      fc.constant(NO_PRECONDITION),
      fc.constant({ kind: 'absent' as const }),
      generation.map((number) => ({ kind: 'generation' as const, generation: number })),
    )
    fc.assert(fc.property(condition, (one) => expect(preconditionFromHeaders(preconditionHeaders(one))).toEqual(one)))
  })
})

test('a condition holds or says which one failed', () => {
  const check = (condition: Precondition, current: number | undefined) => () => checkPrecondition(condition, '/b/k', current)
  for (const current of [undefined, 1, 9]) expect(check(NO_PRECONDITION, current)).not.toThrow()
  expect(check({ kind: 'absent' }, undefined)).not.toThrow()
  expect(check({ kind: 'absent' }, 1)).toThrow(expect.objectContaining({ code: 'ALREADY_EXISTS' }))
  expect(check({ kind: 'generation', generation: 3 }, 3)).not.toThrow()
  for (const current of [undefined, 2, 4])
    expect(check({ kind: 'generation', generation: 3 }, current)).toThrow(
      expect.objectContaining({ code: 'PRECONDITION_FAILED' }),
    )
})
