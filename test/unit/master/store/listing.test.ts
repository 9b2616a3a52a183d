/**
 * Listings of the real store against a naive model. Names are drawn from an alphabet that is small, so that prefixes
 * are shared and delimiters meet prefixes, and that spans all lengths of UTF-8, where its order differs from UTF-16's.
 */
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals'
import fc from 'fast-check'
import { fileChecksum } from '../../../../common/checksum/tree.js'
import { VirtualClock } from '../../../../common/clock/virtual-clock.js'
import { NO_PRECONDITION } from '../../../../common/protocol/precondition.js'
import { SeededRandom } from '../../../../common/random/seeded-random.js'
import { MiB } from '../../../../common/units.js'
import { openMemoryStore } from '../../../../master/store/sqlite-store.js'
import type { MetadataStore } from '../../../../master/store/metadata-store.js'
import { newUpload } from '../../../contract/metadata-store-fixture.js'

const DEFAULTS = { replicas: 1, minReplicas: 1, chunkSizeBytes: 64 * MiB, trashDays: 0 }
const ALPHABET = [
  'a',
  'b',
  '-',
  '.',
  '/',
  '0',
  '~',
  '\x01',
  '\x7f',
  'é',
  '\ud7ff',
  '\ue000',
  '\uffff',
  '😀',
  '\u{10ffff}',
] as const

interface Listed {
  readonly kind: 'file' | 'prefix'
  readonly path: string
}

interface Query {
  readonly prefix: string
  readonly delimiter: string | undefined
  readonly after?: string
}

const byBytes = (one: string, other: string): number => Buffer.compare(Buffer.from(one), Buffer.from(other))

/** What a listing should be, by the plainest means. */
function model(paths: readonly string[], { prefix, delimiter, after }: Query): Listed[] {
  const out = new Map<string, Listed>()
  for (const path of paths.filter((one) => one.startsWith(prefix))) {
    const at = delimiter === undefined ? -1 : path.indexOf(delimiter, prefix.length)
    if (at < 0) out.set(path, { kind: 'file', path })
    else out.set(path.slice(0, at + 1), { kind: 'prefix', path: path.slice(0, at + 1) })
  }
  const all = [...out.values()].sort((one, other) => byBytes(one.path, other.path))
  return after === undefined ? all : all.filter((entry) => byBytes(entry.path, after) > 0)
}

const key = fc
  .array(fc.constantFrom(...ALPHABET), { minLength: 1, maxLength: 7 })
  .map((letters) => letters.join(''))
  .filter((text) => text.split('/').every((part) => part !== '' && part !== '.' && part !== '..'))
const bucket = fc.constantFrom('b', 'b-', 'bb', 'c')
const paths = fc.uniqueArray(
  fc.tuple(bucket, key).map(([name, rest]) => `/${name}/${rest}`),
  { minLength: 1, maxLength: 25 },
)
/** Names of so few letters that many begin with others. */
const nestedPaths = fc.uniqueArray(
  fc.stringMatching(/^[a-]{1,4}(\/[a-]{1,2})?$/).map((rest) => `/b/${rest}`),
  { minLength: 1, maxLength: 12 },
)
const query = fc.record({
  prefix: fc
    .tuple(bucket, fc.array(fc.constantFrom(...ALPHABET), { maxLength: 4 }))
    .map(([name, letters]) => `/${name}/${letters.join('')}`),
  delimiter: fc.option(fc.constantFrom('/', '-', 'a', '~', '0'), { nil: undefined }),
})

describe('listings', () => {
  let store: MetadataStore
  let present: string[] = []

  beforeAll(async () => {
    store = await openMemoryStore(new VirtualClock(), new SeededRandom(3))
    await store.ensureCluster({})
  })

  afterAll(async () => {
    await store.close()
  })

  /** Makes exactly these names stand in the store. */
  async function setNames(wanted: readonly string[]): Promise<void> {
    for (const path of present.filter((one) => !wanted.includes(one)))
      await store.deleteFile({ path, purge: true, precondition: NO_PRECONDITION })
    for (const path of wanted.filter((one) => !present.includes(one))) await putEmpty(path)
    present = [...wanted]
  }

  async function putEmpty(path: string): Promise<void> {
    const { uploadId, writerEpoch } = await store.openUpload(newUpload(path, DEFAULTS))
    await store.commitUpload({ uploadId, writerEpoch, sizeBytes: 0, chunkCount: 0, checksum: fileChecksum([]) })
  }

  /** All pages put together, and each page as short as it must be. */
  async function listAll(what: Query, limit: number): Promise<Listed[]> {
    const out: Listed[] = []
    for (let after = what.after; ;) {
      const page = await store.listPage({ prefix: what.prefix, delimiter: what.delimiter, after, limit })
      out.push(...page.entries.map(({ kind, path }) => ({ kind, path })))
      if (page.next === null) return out
      expect(page.entries).toHaveLength(limit)
      expect(after === undefined || byBytes(page.next, after) > 0).toBe(true)
      after = page.next
    }
  }

  test('property: the pages put together are the naive listing, whatever names, prefix, delimiter and page size', async () => {
    await fc.assert(
      fc.asyncProperty(
        paths,
        fc.array(query, { minLength: 1, maxLength: 8 }),
        fc.integer({ min: 1, max: 6 }),
        async (names, queries, limit) => {
          await setNames(names)
          for (const what of queries) {
            expect(await listAll(what, limit)).toEqual(model(names, what))
            expect(await listAll(what, 1000)).toEqual(model(names, what))
          }
        },
      ),
      { numRuns: 150 },
    )
  })

  test('property: prefixes that are names themselves, or end in the delimiter, hide nothing', async () => {
    await fc.assert(
      fc.asyncProperty(nestedPaths, fc.integer({ min: 1, max: 3 }), async (names, limit) => {
        await setNames(names)
        for (const prefix of names)
          for (const delimiter of ['/', '-', 'a', undefined])
            expect(await listAll({ prefix, delimiter }, limit)).toEqual(model(names, { prefix, delimiter }))
      }),
      { numRuns: 50 },
    )
  })

  test('property: a listing may start behind any name, there or not', async () => {
    await fc.assert(
      fc.asyncProperty(paths, paths, fc.integer({ min: 1, max: 4 }), async (names, starts, limit) => {
        await setNames(names)
        for (const after of [...starts, ...names]) {
          const what = { prefix: '/b/', delimiter: undefined, after }
          expect(await listAll(what, limit)).toEqual(model(names, what))
        }
      }),
      { numRuns: 50 },
    )
  })

  test('a file whose name is the prefix and ends in the delimiter does not end the listing at its page', async () => {
    const names = ['/b/x-', '/b/x-1', '/b/x-2-3']
    await setNames(names)
    const what = { prefix: '/b/x-', delimiter: '-' }
    expect(await listAll(what, 1)).toEqual([
      { kind: 'file', path: '/b/x-' },
      { kind: 'file', path: '/b/x-1' },
      { kind: 'prefix', path: '/b/x-2-' },
    ])
  })
})
