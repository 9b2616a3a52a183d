import { describe, expect, test } from '@jest/globals'
import type { Request } from 'express'
import fc from 'fast-check'
import { contentLengthOf, isNotModified, pathOf, rangeOf, uploadOptionsOf, viewOf } from '../../../gateway/request.js'
import type { FileInfo } from '../../../client/index.js'

const file = (changes: Partial<FileInfo> = {}): FileInfo =>
  ({
    path: '/b/k',
    generation: 3,
    sizeBytes: 1000,
    checksum: 'xxh64-tree:00000000000000aa',
    modifiedMs: 5_500,
    ...changes,
  }) as FileInfo
const TAG = '"3-00000000000000aa"'
const request = (headers: Record<string, string> = {}, changes: object = {}): Request =>
  ({ method: 'GET', headers, params: {}, query: {}, ...changes }) as unknown as Request
const range = (header: string, sizeBytes = 1000, headers: Record<string, string> = {}) =>
  rangeOf(request({ range: header, ...headers }), file({ sizeBytes }))

describe('Range', () => {
  test.each([
    ['bytes=0-0', 1000, 0, 1],
    ['bytes=0-499', 1000, 0, 500],
    ['bytes=500-', 1000, 500, 1000],
    ['bytes=-1', 1000, 999, 1000],
    ['bytes=-5000', 1000, 0, 1000],
    ['bytes=999-99999999999999999999', 1000, 999, 1000],
    ['bytes=0-', 1, 0, 1],
  ])('%s of %d bytes is [%d, %d)', (header, sizeBytes, start, end) => {
    expect(range(header, sizeBytes)).toEqual({ start, end })
  })

  test.each(['bytes=', 'bytes=-', 'bytes=5-4', 'bytes=a-b', 'bytes=0-1,5-6', 'items=0-1', '0-1', 'bytes=0x1-2', 'bytes=1.5-2'])(
    '%s is ignored: the whole file is a right answer',
    (header) => {
      expect(range(header)).toBeUndefined()
    },
  )

  test.each([
    ['bytes=1000-', 1000],
    ['bytes=1000-2000', 1000],
    ['bytes=-0', 1000],
  ])('%s of %d bytes cannot be satisfied', (header, sizeBytes) => {
    expect(() => range(header, sizeBytes)).toThrow(expect.objectContaining({ code: 'INVALID_RANGE', data: { sizeBytes } }))
  })

  test('property: whatever is asked for, the answer lies in the file', () => {
    const header = fc.oneof(
      fc.string(),
      fc
        .tuple(fc.constantFrom('', '0', '5', '999', '1000', '77777777777777777777'), fc.constantFrom('', '0', '5', '999', '1000'))
        .map(([from, to]) => `bytes=${from}-${to}`),
    )
    fc.assert(
      fc.property(header, fc.integer({ min: 0, max: 1200 }), (text, sizeBytes) => {
        try {
          const found = range(text, sizeBytes)
          if (found) expect(found.start >= 0 && found.start < found.end && found.end <= sizeBytes).toBe(true)
        } catch (error) {
          expect(error).toMatchObject({ code: 'INVALID_RANGE' })
        }
      }),
    )
  })

  test('If-Range with another version gives the whole file', () => {
    expect(range('bytes=0-1', 1000, { 'if-range': TAG })).toEqual({ start: 0, end: 2 })
    for (const other of ['"2-00000000000000aa"', `W/${TAG}`, 'Thu, 01 Jan 1970 00:00:04 GMT', '"3"'])
      expect(range('bytes=0-1', 1000, { 'if-range': other })).toBeUndefined()
  })
})

describe('conditions on reads', () => {
  test.each([TAG, `W/${TAG}`, '*', `"x", ${TAG}`, `"1-00000000000000aa",${TAG}`])('If-None-Match %s: not modified', (known) => {
    expect(isNotModified(request({ 'if-none-match': known }), file())).toBe(true)
  })

  test.each(['"2-00000000000000aa"', '"3-00000000000000ab"', '""', ''])('If-None-Match %s: modified', (known) => {
    expect(isNotModified(request({ 'if-none-match': known }), file())).toBe(false)
  })

  test('If-Modified-Since compares whole seconds, and counts only without a tag', () => {
    const since = (text: string, headers = {}) => isNotModified(request({ 'if-modified-since': text, ...headers }), file())
    expect(since(new Date(5_000).toUTCString())).toBe(true)
    expect(since(new Date(4_000).toUTCString())).toBe(false)
    expect(since('yesterday')).toBe(false)
    expect(since(new Date(9_000).toUTCString(), { 'if-none-match': '"1"' })).toBe(false)
    expect(isNotModified(request(), file())).toBe(false)
  })
})

test('the path is put together from what express has decoded, and checked', () => {
  const of = (params: object) => pathOf(request({}, { params }))
  expect(of({ bucket: 'b', key: ['a', 'c d', 'é'] })).toBe('/b/a/c d/é')
  expect(of({ bucket: 'b', key: 'k' })).toBe('/b/k')
  for (const params of [
    {},
    { bucket: 'b' },
    { bucket: 'b', key: ['..', 'x'] },
    { bucket: 'b', key: ['a', ''] },
    { bucket: '..', key: 'k' },
  ])
    expect(() => of(params)).toThrow(expect.objectContaining({ code: 'INVALID_PATH' }))
})

test('upload options are taken from the query, and bad ones refused', () => {
  const of = (query: object) => uploadOptionsOf(request({}, { query }))
  expect(of({})).toEqual({})
  expect(of({ replicas: '2', 'chunk-size': '16MiB' })).toEqual({ replicas: 2, chunkSizeBytes: 16 * 1024 * 1024 })
  for (const replicas of ['', 'two', '-1', '1.5', '100', ['1', '2'], { a: '1' }])
    expect(() => of({ replicas })).toThrow(expect.objectContaining({ code: 'INVALID_ARGUMENT' }))
  expect(() => of({ 'chunk-size': '16 potatoes' })).toThrow(expect.objectContaining({ code: 'USAGE' }))
})

test('who asks, and for how many bytes', () => {
  expect(viewOf(request({ authorization: 'Bearer abc' })).token).toBe('abc')
  expect(viewOf(request())).toEqual({ token: undefined, requestId: undefined })
  expect(contentLengthOf(request({ 'content-length': '12' }))).toBe(12)
  expect(contentLengthOf(request())).toBeUndefined()
})
