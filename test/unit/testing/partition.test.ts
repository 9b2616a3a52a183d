/** Which bytes a partition holds back, for every way in which two members may be connected. */
import { describe, expect, test } from '@jest/globals'
import { dependsOnSource, verdictOf, type Partition } from '../../../testing/network/partition.js'

const partition = (a: string, b?: string, rest: Partial<Partition> = {}): Partition => ({
  a,
  b,
  mode: 'stall',
  direction: 'both',
  ...rest,
})

describe('a verdict', () => {
  test('lets everything through without partitions, and between members that none of them names', () => {
    expect(verdictOf([], 'x', 'y')).toEqual({ forward: true, backward: true, refused: false })
    expect(verdictOf([partition('x', 'z')], 'x', 'y')).toEqual({ forward: true, backward: true, refused: false })
  })

  test('holds both directions back, whoever opened the connection', () => {
    const held = { forward: false, backward: false, refused: false }
    expect(verdictOf([partition('x', 'y')], 'x', 'y')).toEqual(held)
    expect(verdictOf([partition('x', 'y')], 'y', 'x')).toEqual(held)
    expect(verdictOf([partition('x')], 'y', 'x')).toEqual(held)
    expect(verdictOf([partition('x')], 'x', 'anybody')).toEqual(held)
  })

  test('holds one direction back, seen from the first member and not from who opened the connection', () => {
    const out = [partition('x', 'y', { direction: 'out' })]
    expect(verdictOf(out, 'x', 'y')).toEqual({ forward: false, backward: true, refused: false })
    expect(verdictOf(out, 'y', 'x')).toEqual({ forward: true, backward: false, refused: false })
    const both = [...out, partition('x', 'y', { direction: 'in' })]
    expect(verdictOf(both, 'x', 'y')).toEqual({ forward: false, backward: false, refused: false })
  })

  test('refuses where one partition does, whatever others say', () => {
    expect(verdictOf([partition('x'), partition('x', 'y', { mode: 'refuse' })], 'y', 'x').refused).toBe(true)
  })
})

test('who opened a connection matters exactly when a partition names somebody else than the member itself', () => {
  expect(dependsOnSource([], 'x')).toBe(false)
  expect(dependsOnSource([partition('x')], 'x')).toBe(false)
  expect(dependsOnSource([partition('x', 'y')], 'x')).toBe(true)
  expect(dependsOnSource([partition('y', 'x')], 'x')).toBe(true)
  expect(dependsOnSource([partition('y')], 'x')).toBe(true)
  expect(dependsOnSource([partition('y', 'z')], 'x')).toBe(false)
})
