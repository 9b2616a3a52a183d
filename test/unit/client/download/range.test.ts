/** Ranges in their three forms: the library's, the command line's, and (in gateway/request.test.ts) HTTP's. */
import { describe, expect, test } from '@jest/globals'
import fc from 'fast-check'
import { parseRange } from '../../../../cli/commands/transfer.js'
import { resolveRange } from '../../../../client/download/download.js'

const INVALID = expect.objectContaining({ code: 'INVALID_RANGE' })
const resolve = (sizeBytes: number, start: number, end: number) => resolveRange({ path: '/b/k', sizeBytes }, { start, end })

describe('resolveRange', () => {
  test('without a range it is the whole file', () => {
    expect(resolveRange({ path: '/b/k', sizeBytes: 7 }, undefined)).toEqual({ start: 0, end: 7 })
    expect(resolveRange({ path: '/b/k', sizeBytes: 0 }, undefined)).toEqual({ start: 0, end: 0 })
  })

  test('the end is cut to the file, and an empty range inside it is one', () => {
    expect(resolve(10, 3, 99)).toEqual({ start: 3, end: 10 })
    expect(resolve(10, 3, 3)).toEqual({ start: 3, end: 3 })
    expect(resolve(0, 0, 5)).toEqual({ start: 0, end: 0 })
    expect(resolve(10, 0, Infinity)).toEqual({ start: 0, end: 10 })
  })

  test.each([
    [10, 10, 11],
    [10, 11, 12],
    [10, -1, 5],
    [10, 5, 4],
    [0, 1, 2],
    [10, NaN, 5],
    [10, 0, NaN],
    [10, 0.5, 5],
    [10, 0, 4.5],
  ])('of a file of %d bytes, %d to %d is refused', (sizeBytes, start, end) => {
    expect(() => resolve(sizeBytes, start, end)).toThrow(INVALID)
  })

  test('property: what comes out lies in the file and is what was asked for, as far as it goes', () => {
    fc.assert(
      fc.property(fc.nat(100), fc.integer({ min: -5, max: 120 }), fc.integer({ min: -5, max: 120 }), (sizeBytes, start, end) => {
        try {
          const range = resolve(sizeBytes, start, end)
          expect(range.start).toBe(start)
          expect(range.end).toBe(Math.min(end, sizeBytes))
          expect(range.end).toBeGreaterThanOrEqual(range.start)
        } catch (error) {
          expect(error).toMatchObject({ code: 'INVALID_RANGE', data: { sizeBytes } })
        }
      }),
    )
  })
})

describe('--range', () => {
  test.each([
    ['0-99', 1000, 0, 100],
    ['100-', 1000, 100, 1000],
    ['-100', 1000, 900, 1000],
    ['-5000', 1000, 0, 1000],
    ['5-5', 1000, 5, 6],
    ['990-5000', 1000, 990, 1000],
    [' 1-2 ', 1000, 1, 3],
  ])('%s of %d bytes is [%d, %d)', (text, sizeBytes, start, end) => {
    expect(parseRange(text, sizeBytes)).toEqual({ start, end })
  })

  test.each(['', '-', '5', 'a-b', '1-2-3', '1--2', '0x1-2', '1,3-4'])('"%s" is no range', (text) => {
    expect(() => parseRange(text, 1000)).toThrow(expect.objectContaining({ code: 'USAGE' }))
  })

  test.each(['1000-', '1000-1001', '5-4'])('%s is no part of a file of 1000 bytes', (text) => {
    expect(() => parseRange(text, 1000)).toThrow(INVALID)
  })
})
