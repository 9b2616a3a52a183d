/**
 * Power cuts in the metadata. Goal: every acknowledged operation before the cut is there, and each operation is whole or
 * absent. Method: a recorded load on a real database file; after each acknowledgement the length of the write-ahead log
 * and a digest of all tables are noted. Then the log is cut at every frame boundary and inside frames, and damaged in
 * its tail, as the file system may leave it after a power cut; what opens must be exactly the last state acknowledged
 * within what is left. (SQLite's own file layer is C: it cannot be put on a recorded disk, as the chunk store is.)
 */
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals'
import { copyFileSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { xxh64 } from '../../common/checksum/xxh64.js'
import { NO_PRECONDITION } from '../../common/protocol/precondition.js'
import { SeededRandom } from '../../common/random/seeded-random.js'
import { MiB } from '../../common/units.js'
import type { MetadataStore } from '../../master/store/metadata-store.js'
import { SqliteConnection } from '../../master/store/engine/sqlite-connection.js'
import { openSqliteStore } from '../../master/store/sqlite-store.js'
import { DEFAULTS, StoreFixture } from '../contract/metadata-store-fixture.js'

const WAL_HEADER_BYTES = 32
const FRAME_HEADER_BYTES = 24
/** Cuts inside each frame. */
const CUTS_INSIDE = Number(process.env['CAIRN_CRASH_SAMPLES'] ?? 1)

interface State {
  /** Length of the log when this was acknowledged. */
  readonly walBytes: number
  readonly digest: bigint
  readonly after: string
}

let scratch: string
/** The database as it was before the load, and the log that the load wrote. */
let base: string
let wal: Buffer
let frameBytes: number
const states: State[] = []

/** All rows of all tables. */
function digestOf(connection: SqliteConnection): bigint {
  const { native } = connection
  const names = native.prepare("select name from sqlite_master where type = 'table' order by name").pluck().all() as string[]
  const tables = names.map((name) => native.prepare(`select * from "${name}" order by 1, 2`).raw().all())
  const hexed = (_key: string, value: unknown): unknown => (Buffer.isBuffer(value) ? value.toString('hex') : value)
  return xxh64(new TextEncoder().encode(JSON.stringify(tables, hexed)))
}

beforeAll(async () => {
  scratch = mkdtempSync(path.join(tmpdir(), 'cairn-wal-'))
  const file = path.join(scratch, 'metadata.sqlite')
  await (await openSqliteStore(file, () => undefined)).close()
  base = path.join(scratch, 'base.sqlite')
  copyFileSync(file, base)
  await using store = await openSqliteStore(file, (error) => {
    throw error
  })
  const observer = new SqliteConnection(file, { readOnly: true })
  const note = (after: string): void => {
    const walBytes = statSync(`${file}-wal`, { throwIfNoEntry: false })?.size ?? 0
    states.push({ walBytes, digest: digestOf(observer), after })
  }
  note('nothing')
  const noted = new Proxy<MetadataStore>(store, {
    get(target, name: keyof MetadataStore) {
      const member = Reflect.get(target, name) as (args: unknown) => Promise<unknown>
      if (typeof member !== 'function' || name === 'now') return member
      return async (args: unknown) => {
        const result = await member(args)
        note(String(name))
        return result
      }
    },
  })
  await load(noted)
  frameBytes = FRAME_HEADER_BYTES + (observer.native.pragma('page_size', { simple: true }) as number)
  wal = readFileSync(`${file}-wal`)
  observer.close()
})

afterAll(() => rmSync(scratch, { recursive: true, force: true }))

/** One operation after the other, so that each has a state of its own. */
async function load(store: MetadataStore): Promise<void> {
  const fixture = await StoreFixture.open(async () => ({ store, close: async () => undefined }))
  const plain = { precondition: NO_PRECONDITION, bucketDefaults: DEFAULTS }
  await fixture.upload('/b/one', [MiB, 5], 3)
  await fixture.upload('/b/two', [10], 2)
  await fixture.upload('/b/one', [MiB, 6], 2)
  await fixture.upload('/b/empty', [])
  await store.copyFile({ from: '/b/one', to: '/c/copy', ...plain })
  await store.renameFile({ from: '/b/two', to: '/b/three', ...plain })
  await store.deleteFile({ path: '/b/one', purge: true, precondition: NO_PRECONDITION })
  await store.deleteFile({ path: '/b/three', purge: false, precondition: NO_PRECONDITION })
  await store.setServerStates({ changes: [{ serverNo: 1, state: 'dead' }] })
  while (await store.sweepServers({ limit: 2 }));
  await store.collectManifests({ before: Number.MAX_SAFE_INTEGER, limit: 10 })
  await fixture.upload('/d/last', [7, 8, 9], 3)
}

/** What is found when the machine comes up again with this log. */
function reopened(log: Uint8Array): bigint {
  const file = path.join(scratch, 'reopened.sqlite')
  for (const suffix of ['', '-wal', '-shm']) rmSync(file + suffix, { force: true })
  copyFileSync(base, file)
  writeFileSync(`${file}-wal`, log)
  const connection = new SqliteConnection(file, { readOnly: false })
  try {
    expect(connection.native.pragma('integrity_check', { simple: true })).toBe('ok')
    return digestOf(connection)
  } finally {
    connection.close()
  }
}

/** The last state that was acknowledged with no more log than this. */
const stateWithin = (bytes: number): State => states.filter((state) => state.walBytes <= bytes).at(-1) as State

function expectState(log: Uint8Array, wholeBytes: number, what: string): void {
  const expected = stateWithin(wholeBytes)
  const found = reopened(log)
  const is = states.filter((state) => state.digest === found).map((state) => state.after)
  expect({ what, right: found === expected.digest, is }).toMatchObject({ what, right: true })
}

describe('a power cut in the log of the metadata', () => {
  test('the load has many states, in one log that was never taken into the file', () => {
    expect(new Set(states.map((state) => state.digest)).size).toBeGreaterThan(25)
    expect(states.map((state) => state.walBytes)).toEqual(states.map((state) => state.walBytes).sort((one, other) => one - other))
    expect((wal.length - WAL_HEADER_BYTES) % frameBytes).toBe(0)
    expectState(wal, wal.length, 'all of it')
  })

  test('at every frame boundary and inside frames: the last acknowledged state, whole', () => {
    const random = new SeededRandom(1)
    for (let end = 0; end <= wal.length; end += end === 0 ? WAL_HEADER_BYTES : frameBytes) {
      expectState(wal.subarray(0, end), end, `cut at ${end}`)
      for (let inside = 0; inside < CUTS_INSIDE && end < wal.length; inside += 1) {
        const cut = end + 1 + random.integer((end === 0 ? WAL_HEADER_BYTES : frameBytes) - 1)
        expectState(wal.subarray(0, cut), end, `cut at ${cut}`)
      }
    }
  })

  test('a flipped byte, a page of zeros, a frame of older bytes: what comes before it is whole, and nothing after it counts', () => {
    const random = new SeededRandom(2)
    const frames = (wal.length - WAL_HEADER_BYTES) / frameBytes
    for (let frame = 0; frame < frames; frame += 1) {
      const start = WAL_HEADER_BYTES + frame * frameBytes
      const damaged = Buffer.from(wal)
      const kind = random.integer(3)
      const at = start + random.integer(frameBytes)
      if (kind === 0) damaged[at] = (damaged[at] ?? 0) ^ 0x41
      else if (kind === 1) damaged.fill(0, start, start + frameBytes)
      else wal.copy(damaged, start, WAL_HEADER_BYTES, WAL_HEADER_BYTES + frameBytes)
      if (damaged.equals(wal)) continue
      expectState(damaged, start, `frame ${frame} of ${frames}, damage ${kind}`)
    }
  })
})

test('what is committed is synced before it is answered: every writer has synchronous = FULL on a write-ahead log', () => {
  const connection = new SqliteConnection(path.join(scratch, 'fresh.sqlite'), { readOnly: false })
  expect(connection.native.pragma('synchronous', { simple: true })).toBe(2)
  expect(connection.native.pragma('journal_mode', { simple: true })).toBe('wal')
  connection.close()
})
