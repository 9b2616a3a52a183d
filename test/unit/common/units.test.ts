import { describe, expect, test } from '@jest/globals'
import fc from 'fast-check'
import { formatDuration, formatSize, GiB, KiB, MiB, parseDuration, parseSize, TiB } from '../../../common/units.js'

describe('parseSize', () => {
  test.each([
    ['0', 0],
    ['1000000', 1_000_000],
    ['12B', 12],
    ['64KiB', 64 * KiB],
    ['64kib', 64 * KiB],
    ['64M', 64 * MiB],
    ['1.5G', 1.5 * GiB],
    ['2 TiB', 2 * TiB],
    ['2PiB', 2048 * TiB],
    ['100MB', 100e6],
    [' 7 ', 7],
  ])('%s is %d bytes', (text, bytes) => {
    expect(parseSize(text)).toBe(bytes)
  })

  test.each([
    '',
    ' ',
    '-1',
    '+1',
    '1e3',
    '0x10',
    '1,5M',
    '.5M',
    '5.',
    'M',
    '64 Mi B',
    '64XiB',
    'NaN',
    'Infinity',
    '1constructor',
  ])('"%s" is refused', (text) => {
    expect(() => parseSize(text)).toThrow(expect.objectContaining({ code: 'USAGE' }))
  })

  test('a size that a number cannot hold exactly is refused', () => {
    expect(() => parseSize('9007199254740993TiB')).toThrow(expect.objectContaining({ code: 'USAGE' }))
    expect(() => parseSize('9'.repeat(400))).toThrow(expect.objectContaining({ code: 'USAGE' }))
    expect(parseSize(String(Number.MAX_SAFE_INTEGER))).toBe(Number.MAX_SAFE_INTEGER)
  })

  test('property: whatever the text, it is a size or an error of usage', () => {
    fc.assert(
      fc.property(fc.oneof(fc.string(), fc.stringMatching(/^\d{1,5}(\.\d{1,3})? ?[a-zA-Z]{0,12}$/)), (text) => {
        const bytes = sizeOrRefusal(() => parseSize(text))
        expect(bytes === undefined || (Number.isSafeInteger(bytes) && bytes >= 0)).toBe(true)
      }),
    )
  })
})

describe('parseDuration', () => {
  test.each([
    ['500ms', 500],
    ['2s', 2000],
    ['1.5s', 1500],
    ['5m', 300_000],
    ['5min', 300_000],
    ['1h', 3_600_000],
    ['7d', 604_800_000],
    [' 3 s ', 3000],
  ])('%s is %d ms', (text, ms) => {
    expect(parseDuration(text)).toBe(ms)
  })

  test.each(['', '5', '5S', '-1s', '1e3s', 's', '5 weeks', '5constructor', 'Infinitys'])('"%s" is refused', (text) => {
    expect(() => parseDuration(text)).toThrow(expect.objectContaining({ code: 'USAGE' }))
  })

  test('a time beyond all counting is refused instead of becoming infinite', () => {
    expect(() => parseDuration(`${'9'.repeat(400)}d`)).toThrow(expect.objectContaining({ code: 'USAGE' }))
    expect(() => parseDuration('9007199254740993d')).toThrow(expect.objectContaining({ code: 'USAGE' }))
  })

  test('property: whatever the text, it is a time or an error of usage', () => {
    fc.assert(
      fc.property(fc.oneof(fc.string(), fc.stringMatching(/^\d{1,5}(\.\d{1,3})? ?[a-z]{0,12}$/)), (text) => {
        const ms = sizeOrRefusal(() => parseDuration(text))
        expect(ms === undefined || (Number.isSafeInteger(ms) && ms >= 0)).toBe(true)
      }),
    )
  })
})

describe('formatSize', () => {
  test.each([
    [0, '0 B'],
    [12, '12 B'],
    [1023, '1023 B'],
    [KiB, '1 KiB'],
    [1.5 * GiB, '1.50 GiB'],
    [12.3 * MiB, '12.3 MiB'],
    [123.4 * MiB, '123 MiB'],
    [64 * MiB, '64 MiB'],
    [5000 * TiB, '4.88 PiB'],
  ])('%d is %s', (bytes, text) => {
    expect(formatSize(bytes)).toBe(text)
  })

  test('rounding carries into the next digit and the next unit', () => {
    expect(formatSize(9.999 * KiB)).toBe('10.0 KiB')
    expect(formatSize(99.97 * KiB)).toBe('100 KiB')
    expect(formatSize(MiB - 1)).toBe('1.00 MiB')
    expect(formatSize(1023.9)).toBe('1.00 KiB')
  })

  test('property: what is shown parses back to within half a percent, and never shows 1024 of a unit', () => {
    fc.assert(
      fc.property(fc.oneof(fc.nat(), fc.integer({ min: 0, max: 2 ** 50 - 1 })), (bytes) => {
        const text = formatSize(bytes)
        expect(Math.abs(parseSize(text) - bytes)).toBeLessThanOrEqual(bytes * 0.005)
        expect(Number.parseFloat(text)).toBeLessThan(1024)
      }),
    )
  })
})

describe('formatDuration', () => {
  test.each([
    [0, '0 ms'],
    [450.4, '450 ms'],
    [12_345, '12.3 s'],
    [245_000, '4m 05s'],
    [3_599_600, '1h 00m'],
    [7_800_000, '2h 10m'],
    [273_600_000, '3d 4h'],
  ])('%d ms is %s', (ms, text) => {
    expect(formatDuration(ms)).toBe(text)
  })

  test('rounding carries into the next unit', () => {
    expect(formatDuration(999.7)).toBe('1.0 s')
    expect(formatDuration(59_970)).toBe('1m 00s')
  })
})

function sizeOrRefusal(parse: () => number): number | undefined {
  try {
    return parse()
  } catch (error) {
    expect(error).toMatchObject({ code: 'USAGE' })
    return undefined
  }
}
