/**
 * Goal: rot on a large scale, never in all copies of a chunk, costs no byte and needs nobody. Method: a thousand chunk files of real
 * chunkservers, one copy each of a thousand chunks, are changed behind their backs while clients read: bits flipped in data and
 * footers, files cut, exchanged, deleted. Every byte read is compared; at the end every copy of every chunk is, on the disks.
 */
import { readFileSync, renameSync, rmSync, truncateSync, writeFileSync } from 'node:fs'
import { expect, test } from '@jest/globals'
import { KiB, MINUTE_MS } from '../../common/units.js'
import { SeededRandom } from '../../common/random/seeded-random.js'
import { copiesOf, type ChunkCopy } from '../../testing/damage.js'
import { startCluster, type Cluster } from '../../testing/index.js'

const CHUNK_BYTES = 64 * KiB
const CHUNKS = 1010
const DAMAGES = 1000
/** A batch, then the readers get their turn. */
const BATCH = 20
const PATH = '/b/large'

const data = new SeededRandom(1).bytes(CHUNKS * CHUNK_BYTES)

async function* pieces(): AsyncGenerator<Uint8Array> {
  yield data
}

function flip(file: string, at: number): void {
  const content = readFileSync(file)
  content[at] = (content[at] ?? 0) ^ 0x20
  writeFileSync(file, content)
}

function swap(one: string, other: string): void {
  renameSync(one, `${one}.swap`)
  renameSync(other, one)
  renameSync(`${one}.swap`, other)
}

/** Damages one copy of each chunk that is passed, in the ways drawn. @returns how many of each */
function damage(victims: readonly ChunkCopy[], random: SeededRandom, tally: Map<string, number>): void {
  const waiting: ChunkCopy[] = []
  const count = (what: string, by = 1): void => void tally.set(what, (tally.get(what) ?? 0) + by)
  for (const victim of victims) {
    const { file } = victim
    const kind = random.integer(6)
    const partner = kind === 0 ? waiting.findIndex(({ server }) => server === victim.server) : -1
    if (partner >= 0) {
      swap(file, (waiting.splice(partner, 1)[0] as ChunkCopy).file)
      count('swapped', 2)
    } else if (kind <= 1) {
      waiting.push(victim)
    } else if (kind === 2) {
      flip(file, random.integer(CHUNK_BYTES))
      count('bit flipped in the data')
    } else if (kind === 3) {
      flip(file, CHUNK_BYTES + random.integer(100))
      count('bit flipped in the footer')
    } else if (kind === 4) {
      truncateSync(file, random.integer(CHUNK_BYTES))
      count('truncated')
    } else {
      rmSync(file)
      count('deleted')
    }
  }
  for (const { file } of waiting) {
    flip(file, random.integer(CHUNK_BYTES))
    count('bit flipped in the data')
  }
}

interface Reader {
  readonly stop: () => Promise<{ bytes: number; wrong: number }>
}

/** Reads the file over and over and compares each byte. */
function startReader(cluster: Cluster): Reader {
  let going = true
  const reading = (async () => {
    let bytes = 0
    let wrong = 0
    while (going) {
      let at = 0
      for await (const piece of cluster.client.download(await cluster.client.stat(PATH))) {
        if (Buffer.compare(piece, data.subarray(at, at + piece.length)) !== 0) wrong += 1
        at += piece.length
        if (!going) break
      }
      bytes += at
    }
    return { bytes, wrong }
  })()
  reading.catch(() => undefined)
  return {
    stop: () => {
      going = false
      return reading
    },
  }
}

const isWhole = ({ file, index }: ChunkCopy): boolean => {
  try {
    return readFileSync(file)
      .subarray(0, CHUNK_BYTES)
      .equals(data.subarray(index * CHUNK_BYTES, (index + 1) * CHUNK_BYTES))
  } catch {
    return false
  }
}

test('a thousand damaged copies under readers: not one wrong byte, and every copy is whole again', async () => {
  await using cluster = await startCluster({ chunkservers: 4 })
  await cluster.client.uploadStream(pieces(), PATH, { chunkSizeBytes: CHUNK_BYTES, sizeBytes: data.length })
  await cluster.healthy()
  const random = new SeededRandom(2)
  const copies = await copiesOf(cluster.client, PATH, cluster.chunkservers)
  expect(copies).toHaveLength(CHUNKS * 3)
  // One copy each of a thousand chunks, so that two good ones stay.
  const victims = Array.from(
    { length: DAMAGES },
    (_, index) => copies.filter((copy) => copy.index === index)[random.integer(3)] as ChunkCopy,
  )
  const readers = [startReader(cluster), startReader(cluster)]
  const tally = new Map<string, number>()
  for (let from = 0; from < DAMAGES; from += BATCH) {
    damage(victims.slice(from, from + BATCH), random, tally)
    await new Promise<void>((resolve) => setImmediate(resolve))
  }
  expect([...tally.values()].reduce((sum, one) => sum + one, 0)).toBe(DAMAGES)
  const bad = new Set(victims.map(({ index }) => index))
  await cluster.until(
    'every copy of every chunk is whole on its disk',
    async () => {
      const byIndex = new Map<number, ChunkCopy[]>()
      for (const copy of await copiesOf(cluster.client, PATH, cluster.chunkservers))
        byIndex.set(copy.index, [...(byIndex.get(copy.index) ?? []), copy])
      for (const index of [...bad]) {
        const held = byIndex.get(index) ?? []
        if (held.length === 3 && held.every(isWhole)) bad.delete(index)
      }
      return bad.size === 0
    },
    { withinMs: 4 * MINUTE_MS },
  )
  const read = await Promise.all(readers.map((reader) => reader.stop()))
  expect(read.map(({ wrong }) => wrong)).toEqual([0, 0])
  expect(read.reduce((sum, { bytes }) => sum + bytes, 0)).toBeGreaterThan(data.length)
  await cluster.healthy({ withinMs: 2 * MINUTE_MS })
}, 480_000)
