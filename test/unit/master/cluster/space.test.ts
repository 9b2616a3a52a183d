import { describe, expect, test } from '@jest/globals'
import fc from 'fast-check'
import { splitSpace } from '../../../../master/cluster/space.js'

describe('the split of space', () => {
  test('what nothing accounts for is on its way out', () => {
    const split = splitSpace({ heldBytes: 100, fileBytes: 60, trashBytes: 20, draftBytes: 10, absentBytes: 0 })
    expect(split).toEqual({ liveBytes: 60, trashBytes: 20, openUploadBytes: 10, garbageBytes: 10 })
  })

  test('copies that are not there take no space', () => {
    const split = splitSpace({ heldBytes: 50, fileBytes: 60, trashBytes: 0, draftBytes: 0, absentBytes: 20 })
    expect(split).toEqual({ liveBytes: 40, trashBytes: 0, openUploadBytes: 0, garbageBytes: 10 })
  })

  test('property: the parts are never negative, and sum to what the disks hold, however old the reports are', () => {
    const bytes = fc.nat(1000)
    fc.assert(
      fc.property(bytes, bytes, bytes, bytes, bytes, (heldBytes, fileBytes, trashBytes, draftBytes, absentBytes) => {
        const split = splitSpace({ heldBytes, fileBytes, trashBytes, draftBytes, absentBytes })
        expect(Object.values(split).reduce((sum, part) => sum + part, 0)).toBe(heldBytes)
        expect(Math.min(...Object.values(split))).toBeGreaterThanOrEqual(0)
      }),
    )
  })
})
