import { describe, expect, test } from '@jest/globals'
import fc from 'fast-check'
import { CairnError, isCairnError, messageOf, systemCode, toCairnError } from '../../../../common/errors/cairn-error.js'
import { ERROR_CODES, isErrorCode, type ErrorCode } from '../../../../common/errors/error-codes.js'
import { errorResponse } from '../../../../common/rpc/error-response.js'

const codes = Object.keys(ERROR_CODES) as ErrorCode[]

describe('the table of codes', () => {
  test.each(codes)('%s has a name, a status, an exit code and a meaning that fit together', (code) => {
    const { httpStatus, exitCode, action, meaning } = ERROR_CODES[code]
    expect(code).toMatch(/^[A-Z]+(_[A-Z]+)*$/)
    expect(meaning).toMatch(/^[A-Z].*\.$/)
    if (code !== 'NOT_MODIFIED') expect(httpStatus).toBeGreaterThanOrEqual(400)
    expect(httpStatus).toBeLessThan(600)
    // A refusal of the request itself is never worth repeating, a server in trouble always is.
    if ([400, 401, 404, 405, 411, 412, 413, 416].includes(httpStatus) && code !== 'CHUNK_NOT_FOUND') expect(action).toBe('never')
    if ([503, 504].includes(httpStatus)) expect(action).not.toBe('never')
    // Exit codes: 3 not found, 4 exists or precondition, 5 unavailable, 6 lost or corrupt.
    if (code.endsWith('_NOT_FOUND') && code !== 'CHUNK_NOT_FOUND') expect([httpStatus, exitCode]).toEqual([404, 3])
    if (httpStatus === 412) expect(exitCode).toBe(4)
    if ([503, 504].includes(httpStatus)) expect(exitCode).toBe(5)
    if (exitCode === 6) expect(code).toMatch(/LOST|CORRUPT|CHECKSUM/)
    if (exitCode === 2) expect(httpStatus).toBeLessThan(500)
  })

  test('only its own names are codes', () => {
    expect(codes.every(isErrorCode)).toBe(true)
    for (const other of ['', 'usage', 'constructor', 'toString', '__proto__', 'ENOENT']) expect(isErrorCode(other)).toBe(false)
  })
})

describe('an error over the wire', () => {
  const data = fc.dictionary(
    fc.string({ minLength: 1 }).filter((name) => name !== '__proto__'),
    fc.jsonValue(),
    { maxKeys: 4 },
  )

  test('property: comes out as it went in', () => {
    fc.assert(
      fc.property(
        fc.constantFrom(...codes),
        fc.string(),
        fc.option(data, { nil: undefined }),
        fc.option(fc.string(), { nil: undefined }),
        (code, message, extra, requestId) => {
          const error = new CairnError(code, message, {
            ...(extra === undefined ? {} : { data: JSON.parse(JSON.stringify(extra)) as Record<string, unknown> }),
            ...(requestId === undefined ? {} : { requestId }),
          })
          const back = CairnError.fromJSON(JSON.parse(JSON.stringify(error)))
          expect(back.toJSON()).toEqual(error.toJSON())
          expect(isCairnError(back, code)).toBe(true)
          expect(back.retryable).toBe(ERROR_CODES[code].action !== 'never')
        },
      ),
    )
  })

  test('property: any JSON becomes an error, and an unknown code keeps its text', () => {
    fc.assert(fc.property(fc.jsonValue(), (value) => expect(isCairnError(CairnError.fromJSON(value))).toBe(true)))
    const newer = CairnError.fromJSON({ code: 'FROM_THE_FUTURE', message: 'do not do that' })
    expect(newer).toMatchObject({ code: 'INTERNAL', message: 'FROM_THE_FUTURE: do not do that', retryable: false })
    expect(CairnError.fromJSON({ code: 'constructor', message: 'm' }).code).toBe('INTERNAL')
  })

  test('its answer has the status of its code and no stack', () => {
    const { status, body } = errorResponse(new CairnError('DISK_FULL', 'no room', { data: { freeBytes: 1 } }))
    expect(status).toBe(507)
    expect(JSON.parse(new TextDecoder().decode(body as Uint8Array))).toEqual({
      error: { code: 'DISK_FULL', message: 'no room', retryable: true, data: { freeBytes: 1 } },
    })
    expect(errorResponse(new TypeError('oops')).status).toBe(500)
  })
})

test('whatever is thrown becomes an error of ours, once', () => {
  const ours = new CairnError('BUSY', 'wait')
  expect(toCairnError(ours)).toBe(ours)
  const foreign = new TypeError('oops')
  expect(toCairnError(foreign)).toMatchObject({ code: 'INTERNAL', message: 'oops', cause: foreign })
  for (const [thrown, message] of [
    ['text', 'text'],
    [null, 'null'],
    [undefined, 'undefined'],
    [{ message: 3 }, '[object Object]'],
  ])
    expect(toCairnError(thrown).message).toBe(message)
})

test('the codes of the system are told from everything else', () => {
  expect(systemCode(Object.assign(new Error('x'), { code: 'ENOENT' }))).toBe('ENOENT')
  for (const other of [new Error('x'), { code: 5 }, null, 'ENOENT']) expect(systemCode(other)).toBeUndefined()
  expect(messageOf({ message: 'm' })).toBe('m')
  expect(isCairnError(new CairnError('BUSY', ''), 'TIMEOUT')).toBe(false)
})
