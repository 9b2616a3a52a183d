/**
 * Power cuts in a chunk store. Goal: whatever was acknowledged before the cut is there and right after it; what was not
 * is whole or absent; nothing wrong is served. Method: a scripted run on a disk that records every change; for every
 * point of the record the disk is made as a power cut there could leave it (all unsynced changes lost, none, random
 * ones lost or torn), the store is opened on it, and everything it says is checked.
 */
import { describe, expect, test } from '@jest/globals'
import { readSeen, saveSeen } from '../../chunkserver/seen-position.js'
import { readScrubRecord, saveScrubRecord } from '../../chunkserver/scrub/scrub-record.js'
import type { ChunkDisk } from '../../chunkserver/store/chunk-disk.js'
import type { NewChunk } from '../../chunkserver/store/chunk-store.js'
import { FileChunkStore } from '../../chunkserver/store/file-chunk-store.js'
import { PACKED_CHUNK_BYTES_MAX } from '../../chunkserver/store/pack-record.js'
import { xxh64 } from '../../common/checksum/xxh64.js'
import type { Timer } from '../../common/clock/clock.js'
import { SystemClock } from '../../common/clock/system-clock.js'
import { VirtualClock } from '../../common/clock/virtual-clock.js'
import type { Disk } from '../../common/disk/disk.js'
import { newId, type ChunkId, type ClusterId, type ServerId } from '../../common/ids.js'
import { silentLogger } from '../../common/observe/logger.js'
import { isLater, type MetadataPosition } from '../../common/protocol/cluster.js'
import { SeededRandom } from '../../common/random/seeded-random.js'
import { KiB, MiB } from '../../common/units.js'
import { dataOf, newChunk, put, read, writeLeaves } from '../contract/chunk-store.suite.js'
import { RecordingDisk, type Fate } from '../support/recording-disk.js'

/** Random outcomes tried at each point, besides the two extremes. `npm run crash` asks for more. */
const SAMPLES = Number(process.env['CAIRN_CRASH_SAMPLES'] ?? 1)
const THOROUGH = SAMPLES > 1
/** While the directories are made, some hundred of them, one point in so many will do. */
const FORMATTING_STRIDE = 61
/** On two disks one point in so many; on one disk all. */
const TWO_DISKS_STRIDE = THOROUGH ? 1 : 3
const NEXT_LIFE_STRIDE = THOROUGH ? 3 : 7

type Fact =
  /** Acknowledged as stored. */
  | { readonly kind: 'stored'; readonly chunk: NewChunk }
  /** From here on it may or may not be there: a removal has begun. */
  | { readonly kind: 'removing'; readonly chunkId: ChunkId }
  /** From here on its copy is bad until it is stored again. */
  | { readonly kind: 'damaged'; readonly chunkId: ChunkId }
  /** The damage is written down: a restart must not take the copy for a good one. */
  | { readonly kind: 'marked'; readonly chunkId: ChunkId }
  | { readonly kind: 'replacing'; readonly chunkId: ChunkId }
  | { readonly kind: 'seen'; readonly position: MetadataPosition }
  | { readonly kind: 'scrubbed'; readonly position: string }
  | { readonly kind: 'settled'; readonly serverId: ServerId }

/** What must hold after a cut, gathered from the facts before it. */
interface Expected {
  readonly stored: ReadonlyMap<ChunkId, NewChunk>
  /** Bad, and neither replaced nor removed: good leaves of it may be all there is. */
  readonly damaged: ReadonlySet<ChunkId>
  readonly marked: ReadonlySet<ChunkId>
  readonly seen: MetadataPosition
  readonly scrubbed: string | undefined
  readonly serverId: ServerId | undefined
}

interface Layout {
  readonly directories: readonly string[]
  readonly packedBytesMax: number
}

class Recording {
  readonly disk: RecordingDisk
  formattedAt = 0
  readonly facts: { readonly at: number; readonly fact: Fact }[] = []
  readonly known = new Map<ChunkId, Uint8Array>()

  constructor(seed: number) {
    this.disk = new RecordingDisk(new SeededRandom(seed))
  }

  note(fact: Fact): void {
    this.facts.push({ at: this.disk.length, fact })
  }

  expectedAt(cut: number): Expected {
    const stored = new Map<ChunkId, NewChunk>()
    const damaged = new Set<ChunkId>()
    const marked = new Set<ChunkId>()
    let seen: MetadataPosition = { epoch: 0, position: 0 }
    let serverId: ServerId | undefined
    let scrubbed: string | undefined
    for (const { at, fact } of this.facts) {
      if (at > cut) break
      if (fact.kind === 'stored') {
        stored.set(fact.chunk.chunkId, fact.chunk)
        damaged.delete(fact.chunk.chunkId)
      }
      if (fact.kind === 'removing' || fact.kind === 'damaged') stored.delete(fact.chunkId)
      if (fact.kind === 'damaged') damaged.add(fact.chunkId)
      if (fact.kind === 'marked') marked.add(fact.chunkId)
      if (fact.kind === 'removing') damaged.delete(fact.chunkId)
      // The new copy may be in place already, or not yet.
      if (fact.kind === 'replacing' || fact.kind === 'removing') marked.delete(fact.chunkId)
      if (fact.kind === 'seen') seen = fact.position
      if (fact.kind === 'scrubbed') scrubbed = fact.position
      if (fact.kind === 'settled') serverId = fact.serverId
    }
    return { stored, damaged, marked, seen, scrubbed, serverId }
  }
}

/** No time passes, but what is due at once happens. */
class StandingClock extends VirtualClock {
  override setTimer(delayMs: number, callback: () => void): Timer {
    return delayMs > 0 ? super.setTimer(delayMs, callback) : new SystemClock().setTimer(0, callback)
  }
}

const openStore = async (disk: Disk, { directories, packedBytesMax }: Layout): Promise<FileChunkStore> => {
  const store = await FileChunkStore.open({
    clock: new StandingClock(),
    random: new SeededRandom(1),
    log: silentLogger,
    disk,
    directories,
    packedBytesMax,
  })
  store.startSequence(1000)
  return store
}
const noPace = async (): Promise<void> => undefined
const turns = async (): Promise<void> => {
  for (let turn = 0; turn < 60; turn += 1) await new Promise<void>((resolve) => setImmediate(resolve))
}

/** The script: everything that changes a chunk store's disks, some of it at the same time. */
async function record(layout: Layout, seed: number): Promise<Recording> {
  const recording = new Recording(seed)
  const { disk } = recording
  const ids = new SeededRandom(seed)
  let store = await openStore(disk, layout)
  recording.formattedAt = disk.length
  const identity = { serverId: newId<ServerId>(ids), clusterId: newId<ClusterId>(ids) }
  await store.settle(identity)
  recording.note({ kind: 'settled', serverId: identity.serverId })

  let shared = ''
  const fresh = (lengthBytes: number): NewChunk => {
    const chunk = newChunk(lengthBytes)
    // Most of them in one directory, so that they share syncs.
    shared ||= chunk.chunkId.slice(0, 2)
    const chunkId = (ids.integer(4) > 0 ? shared + chunk.chunkId.slice(2) : chunk.chunkId) as ChunkId
    recording.known.set(chunkId, dataOf(lengthBytes, chunk.chunkIndex + ids.integer(1000)))
    return { ...chunk, chunkId }
  }
  const dataFor = (chunk: NewChunk): Uint8Array => recording.known.get(chunk.chunkId) as Uint8Array
  const store1 = async (chunk: NewChunk): Promise<void> => {
    await put(store, chunk, dataFor(chunk))
    recording.note({ kind: 'stored', chunk })
  }
  const remove = async ({ chunkId }: NewChunk): Promise<void> => {
    recording.note({ kind: 'removing', chunkId })
    await store.remove(chunkId)
  }
  const damage = async ({ chunkId }: NewChunk): Promise<void> => {
    recording.note({ kind: 'damaged', chunkId })
    const { file, offset } = store.locate(chunkId) ?? { file: '', offset: 0 }
    disk.damage(file, (content) => (content[offset] = (content[offset] ?? 0) ^ 1))
    expect(await store.verify(chunkId, noPace)).toBe('corrupt')
    await turns()
    recording.note({ kind: 'marked', chunkId })
  }
  const replace = async (chunk: NewChunk): Promise<void> => {
    recording.note({ kind: 'replacing', chunkId: chunk.chunkId })
    await store1(chunk)
  }
  const abort = async (chunk: NewChunk): Promise<void> => {
    const writer = await store.create(chunk)
    await writeLeaves(writer, dataFor(chunk))
    await writer.abort()
  }
  const see = async (position: number): Promise<void> => {
    await saveSeen(store.chunkDisks, { epoch: 1, position }, silentLogger)
    recording.note({ kind: 'seen', position: { epoch: 1, position } })
  }

  const scrub = async (position: string): Promise<void> => {
    const progress = { startedMs: 1, checkedBytes: 2, totalBytes: 3, errors: 0 }
    const record = { formatVersion: 1 as const, seed: '0123456789abcdef', position, progress }
    await saveScrubRecord(store.chunkDisks[0] as ChunkDisk, record)
    recording.note({ kind: 'scrubbed', position })
  }

  const chunks = [5000, 1, 70 * KiB, MiB + 17, 4096, 9000, 200 * KiB, 300].map(fresh)
  const [a, b, c, d, e, f, g, h] = chunks as [NewChunk, NewChunk, NewChunk, NewChunk, NewChunk, NewChunk, NewChunk, NewChunk]
  await store1(a)
  await Promise.all([store1(b), store1(c), store1(d), see(5), abort(fresh(6000))])
  await damage(a)
  await Promise.all([replace(a), store1(e)])
  await damage(c)
  await Promise.all([remove(b), store1(f), see(9), scrub('1111111111111111')])
  await store.close()
  store = await openStore(disk, layout)
  await Promise.all([replace(c), remove(d), store1(g)])
  await damage(f)
  await remove(f)
  await Promise.all([store1(f), store1(h), see(12), scrub('2222222222222222')])
  await Promise.all([1, 2, 3, 4, 5, 6, 7, 8].map((lengthBytes) => store1(fresh(lengthBytes))))
  await store.close()
  if (layout.packedBytesMax === 0) return recording

  const many = [11, 12, 13, 5000, 15, 16, 9000, 18].map(fresh)
  store = await openStore(disk, layout)
  await Promise.all(many.map(store1))
  await store.close()
  // What was active is closed now, and most of it goes.
  store = await openStore(disk, layout)
  await Promise.all(many.slice(2).map(remove))
  await damage(many[1] as NewChunk)
  await replace(many[1] as NewChunk)
  for (let round = 0; round < 4; round += 1)
    for (const each of store.chunkDisks)
      await Promise.all([store.packUpkeep.compact(each, noPace), store1(fresh(20 + round)), remove(fresh(30))])
  await store.close()
  return recording
}

async function check(disk: Disk, layout: Layout, recording: Recording, expected: Expected): Promise<void> {
  await using store = await openStore(disk, layout)
  if (expected.serverId) expect(store.identity().serverId).toBe(expected.serverId)
  const seen = await readSeen(store.chunkDisks)
  if (isLater(expected.seen, seen)) expect(seen).toEqual(expected.seen)
  const scrubbed = await readScrubRecord(store.chunkDisks[0] as ChunkDisk, silentLogger)
  if (expected.scrubbed) expect((scrubbed?.position ?? '') >= expected.scrubbed).toBe(true)
  for (const chunkId of expected.marked)
    expect({ chunkId, held: store.find(chunkId) !== undefined }).toEqual({ chunkId, held: false })
  for (const chunkId of expected.stored.keys())
    expect({ chunkId, held: store.find(chunkId) !== undefined }).toEqual({ chunkId, held: true })
  for (const chunkId of [...store.chunkIds()]) {
    // Damage that nobody had found before the cut is found by whoever reads.
    if (expected.damaged.has(chunkId) && (await store.verify(chunkId, noPace)) === 'corrupt') continue
    expect(xxh64(await read(store, chunkId))).toBe(xxh64(recording.known.get(chunkId) as Uint8Array))
  }
  for (const chunkId of expected.damaged) {
    // All that a pack has of a chunk is one leaf, and that is the bad one.
    if ((recording.known.get(chunkId)?.length ?? 0) <= layout.packedBytesMax) continue
    expect({ chunkId, there: store.locate(chunkId) !== undefined }).toEqual({ chunkId, there: true })
  }
  for (const directory of layout.directories) expect(await disk.list(`${directory}/tmp`)).toEqual([])
}

/** What was lost can be stored again, and stays. */
async function checkNextLife(disk: Disk, layout: Layout, recording: Recording): Promise<void> {
  const again = [...recording.known].map(([chunkId, data]): NewChunk => ({ ...newChunk(data.length), chunkId }))
  {
    await using store = await openStore(disk, layout)
    for (const chunk of again) {
      if (store.find(chunk.chunkId)) await store.verify(chunk.chunkId, noPace)
      await put(store, chunk, recording.known.get(chunk.chunkId) as Uint8Array)
    }
    await turns()
  }
  await using store = await openStore(disk, layout)
  for (const { chunkId } of again) {
    const held = store.find(chunkId) !== undefined
    expect({ chunkId, held, outcome: await store.verify(chunkId, noPace) }).toEqual({ chunkId, held: true, outcome: 'good' })
  }
}

describe.each<[string, Layout]>([
  ['one disk', { directories: ['/data'], packedBytesMax: 0 }],
  ['two disks', { directories: ['/one', '/two'], packedBytesMax: 0 }],
  ['one disk with packs', { directories: ['/data'], packedBytesMax: PACKED_CHUNK_BYTES_MAX }],
  ['two disks with packs', { directories: ['/one', '/two'], packedBytesMax: PACKED_CHUNK_BYTES_MAX }],
])('a power cut at any point of the record, %s', (_name, layout) => {
  const { directories } = layout
  const fates: [string, (cut: number) => Fate][] = [
    ['everything unsynced is lost', () => 'none'],
    ['nothing is lost', () => 'all'],
    ...Array.from({ length: SAMPLES }, (_, sample): [string, (cut: number) => Fate] => [
      `some of it is lost or torn (${sample + 1})`,
      (cut) => new SeededRandom(cut * 1000 + sample),
    ]),
  ]

  test.each(fates)('%s', async (_what, fateAt) => {
    const recording = await record(layout, 1)
    const { formattedAt } = recording
    const stride = directories.length > 1 ? TWO_DISKS_STRIDE : 1
    for (let cut = 0; cut <= recording.disk.length; cut += cut < formattedAt ? FORMATTING_STRIDE : stride) {
      const image = await recording.disk.imageAt(cut, fateAt(cut))
      try {
        await check(image, layout, recording, recording.expectedAt(cut))
        if (cut % NEXT_LIFE_STRIDE === 0) await checkNextLife(image, layout, recording)
      } catch (error) {
        throw new Error(`after a cut at ${cut} of ${recording.disk.length}`, { cause: error })
      }
    }
  })
})
