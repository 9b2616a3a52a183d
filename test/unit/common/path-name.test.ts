import { describe, expect, test } from '@jest/globals'
import fc from 'fast-check'
import {
  bucketOf,
  decodePath,
  encodePath,
  keyOf,
  parseBucketName,
  parseFilePath,
  parseListPrefix,
  PATH_BYTES_MAX,
} from '../../../common/path-name.js'

const INVALID = expect.objectContaining({ code: 'INVALID_PATH' })

const bucket = fc.stringMatching(/^[A-Za-z0-9][A-Za-z0-9._-]{0,20}$/)
/** Any well-formed text that can stand between two slashes. */
const segment = fc
  .string({ unit: 'binary', minLength: 1, maxLength: 30 })
  .filter((text) => !/[/\0]/.test(text) && text !== '.' && text !== '..')
const validPath = fc
  .tuple(bucket, fc.array(segment, { minLength: 1, maxLength: 6 }))
  .map(([name, segments]) => `/${name}/${segments.join('/')}`)
  .filter((path) => Buffer.byteLength(path) <= PATH_BYTES_MAX)

describe('parseFilePath', () => {
  test('property: every valid path is taken as it is, and splits into bucket and key', () => {
    fc.assert(
      fc.property(validPath, (path) => {
        const parsed = parseFilePath(path)
        expect(parsed).toBe(path)
        expect(`/${bucketOf(parsed)}/${keyOf(parsed)}`).toBe(path)
      }),
    )
  })

  test('property: a valid path survives a URL, through our own decoder and through the platform', () => {
    fc.assert(
      fc.property(validPath, (path) => {
        const encoded = encodePath(path)
        expect(encoded).toMatch(/^[\x21-\x7e]+$/)
        expect(decodePath(encoded)).toBe(path)
        const url = new URL(`http://host:1${encoded}`)
        expect(decodePath(url.pathname)).toBe(path)
        expect(url.search + url.hash).toBe('')
      }),
    )
  })

  test.each([
    ['nothing', ''],
    ['no leading slash', 'b/k'],
    ['the root', '/'],
    ['a bucket only', '/b'],
    ['a bucket and a slash', '/b/'],
    ['no bucket', '//k'],
    ['an empty segment', '/b/a//c'],
    ['a slash at the end', '/b/a/'],
    ['a "." segment', '/b/./c'],
    ['a ".." segment', '/b/a/..'],
    ['".." as its bucket', '/../c'],
    ['a NUL', '/b/a\0c'],
    ['a high surrogate alone', '/b/\ud83d'],
    ['a low surrogate alone', '/b/\ude00x'],
    ['surrogates the wrong way round', '/b/\ude00\ud83d'],
    ['two high surrogates', '/b/\ud83d\ud83d\ude00'],
    ['a bucket with a blank', '/a b/c'],
    ['a bucket beginning with a dot', '/.b/c'],
    ['a bucket of 256 characters', `/${'b'.repeat(256)}/c`],
  ])('a path with %s is refused', (_what, path) => {
    expect(() => parseFilePath(path)).toThrow(INVALID)
  })

  test('segments that only look like "." or ".." are names', () => {
    for (const path of ['/b/...', '/b/.a', '/b/a.', '/b/..a', '/b/ ', '/b/%2e%2e', '/b/\\', '/b/😀'])
      expect(parseFilePath(path)).toBe(path)
  })

  test('the limit counts bytes of UTF-8, not characters', () => {
    const room = PATH_BYTES_MAX - '/b/'.length
    expect(parseFilePath(`/b/${'a'.repeat(room)}`)).toHaveLength(PATH_BYTES_MAX)
    expect(() => parseFilePath(`/b/${'a'.repeat(room + 1)}`)).toThrow(INVALID)
    expect(() => parseFilePath(`/b/${'é'.repeat(room / 2 + 1)}`)).toThrow(INVALID)
  })

  test('property: whatever the text, it is a path or an INVALID_PATH whose message has a bounded length', () => {
    fc.assert(
      fc.property(
        fc.oneof(fc.string({ unit: 'binary' }), fc.string({ maxLength: 3000, unit: fc.constantFrom('/', '.', 'a', '\ud83d') })),
        (text) => {
          try {
            expect(parseFilePath(text)).toBe(text)
          } catch (error) {
            expect(error).toMatchObject({ code: 'INVALID_PATH' })
            expect((error as Error).message.length).toBeLessThan(500)
          }
        },
      ),
    )
  })
})

test('a malformed escape is an invalid path', () => {
  for (const encoded of ['/b/%', '/b/%zz', '/b/%ff', '/b/%ed%a0%bd']) expect(() => decodePath(encoded)).toThrow(INVALID)
})

describe('parseListPrefix', () => {
  test.each(['/b/', '/b/dir', '/b/dir/', '/b/a//', '/b/..'])('%s can be listed', (prefix) => {
    expect(parseListPrefix(prefix)).toBe(prefix)
  })

  test.each(['', '/', '/b', 'b/', '//', '/a b/', '/b/\0', '/b/\ud83d', `/b/${'a'.repeat(PATH_BYTES_MAX)}`])(
    '%j cannot',
    (prefix) => {
      expect(() => parseListPrefix(prefix)).toThrow(INVALID)
    },
  )
})

test('bucket names are letters, digits, ".", "-" and "_", beginning with a letter or digit', () => {
  for (const name of ['b', '0', 'A.b-c_d', 'x'.repeat(255)]) expect(parseBucketName(name)).toBe(name)
  for (const name of ['', '.', '..', '-a', '_a', 'a/b', 'é', 'a\n', 'x'.repeat(256)])
    expect(() => parseBucketName(name)).toThrow(INVALID)
})
