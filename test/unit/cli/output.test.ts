/** What a command says: notices, results, failures. */
import { afterEach, beforeEach, describe, expect, jest, test } from '@jest/globals'
import { mastersOf, print, reportFailure } from '../../../cli/context.js'
import { progressDisplay } from '../../../cli/progress.js'
import { wholeNumber } from '../../../cli/commands/transfer.js'
import { VirtualClock } from '../../../common/clock/virtual-clock.js'
import { CairnError } from '../../../common/errors/cairn-error.js'

let out: string[]
let err: string[]

beforeEach(() => {
  out = []
  err = []
  jest.spyOn(process.stdout, 'write').mockImplementation((text) => out.push(String(text)) > 0)
  jest.spyOn(process.stderr, 'write').mockImplementation((text) => err.push(String(text)) > 0)
})

afterEach(() => {
  jest.restoreAllMocks()
})

describe('notices', () => {
  const isTerminal = process.stderr.isTTY

  beforeEach(() => {
    process.stderr.isTTY = false
  })

  afterEach(() => {
    process.stderr.isTTY = isTerminal
  })

  test('of one kind are said once in five seconds, whatever numbers they hold', async () => {
    const clock = new VirtualClock()
    const display = progressDisplay(clock, 'file', false)
    for (let chunk = 0; chunk < 20; chunk += 1) display.onNotice(`chunk ${chunk}: server 12 failed`)
    display.onNotice('the master does not answer')
    expect(err).toEqual(['cairn: chunk 0: server 12 failed\n', 'cairn: the master does not answer\n'])
    await clock.advance(5000)
    display.onNotice('chunk 99: server 12 failed')
    expect(err).toHaveLength(3)
    display.stop()
  })

  test('are kept back under --json, and no bar is drawn where nobody looks', () => {
    const display = progressDisplay(new VirtualClock(), 'file', true)
    display.onNotice('something')
    display.onProgress({ doneBytes: 1, totalBytes: 2, skippedBytes: 0 })
    display.stop()
    expect([...out, ...err]).toEqual([])
  })
})

describe('failures', () => {
  test('are one line for people, with the exit code of the table', () => {
    expect(reportFailure(new CairnError('FILE_NOT_FOUND', 'There is no file /b/k.'), false)).toBe(3)
    expect(reportFailure(new CairnError('ALREADY_EXISTS', 'x'), false)).toBe(4)
    expect(reportFailure(new CairnError('MASTER_UNREACHABLE', 'x'), false)).toBe(5)
    expect(reportFailure(new CairnError('DATA_LOST', 'x'), false)).toBe(6)
    expect(reportFailure(new TypeError('oops'), false)).toBe(1)
    expect(err[0]).toBe('cairn: There is no file /b/k. [FILE_NOT_FOUND]\n')
    expect(out).toEqual([])
  })

  test('are one JSON object on stdout under --json, without a stack', () => {
    expect(reportFailure(new CairnError('DISK_FULL', 'full', { data: { freeBytes: 1 }, requestId: 'r' }), true)).toBe(5)
    expect(reportFailure('text', true)).toBe(1)
    expect(out.map((line) => JSON.parse(line))).toEqual([
      { error: { code: 'DISK_FULL', message: 'full', retryable: true, requestId: 'r', data: { freeBytes: 1 } } },
      { error: { code: 'INTERNAL', message: 'text', retryable: false, requestId: null } },
    ])
  })
})

test('a result is printed as one line of JSON or as text', () => {
  print({ json: true }, { a: 1 }, () => 'one')
  print({}, { a: 1 }, () => 'one')
  expect(out).toEqual(['{"a":1}\n', 'one\n'])
})

test('addresses of masters are separated by commas', () => {
  expect(mastersOf({ master: ' http://a:1, http://b:2 ,,' })).toEqual(['http://a:1', 'http://b:2'])
  expect(mastersOf({})).toEqual([])
})

test('whole numbers are taken within their bounds and nothing else is', () => {
  const parse = wholeNumber(0, 65_535)
  expect(['0', '9440', '65535'].map(parse)).toEqual([0, 9440, 65_535])
  for (const text of ['', ' ', '-1', '65536', '1.5', 'x', '0x10', '1e3', 'Infinity', '9440 '])
    expect(() => parse(text)).toThrow('whole number')
})
