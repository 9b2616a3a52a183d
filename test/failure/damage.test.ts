/** Chunk files that rot, are cut, vanish or are swapped: never served wrong, and healed without anyone. */
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals'
import { copyFileSync, existsSync, readFileSync, renameSync, rmSync, truncateSync, writeFileSync } from 'node:fs'
import { KiB } from '../../common/units.js'
import { QUICK_TIMERS, randomFile, sha256, TestCluster } from '../support/cluster.js'

interface Place {
  readonly server: string
  readonly file: string
  readonly lengthBytes: number
}

const CHUNK = 512 * KiB
const CHUNKS = 8

let cluster: TestCluster
let sum: string

/** The smallest cluster: a damaged copy can only be rebuilt where it was. */
beforeAll(async () => {
  cluster = await TestCluster.start({ chunkservers: 3, flags: QUICK_TIMERS })
  sum = await randomFile(cluster.file('in'), CHUNKS * CHUNK)
  await cluster.ok('put', cluster.file('in'), '/b/x', '--chunk-size', '512KiB')
})

afterAll(async () => {
  await cluster[Symbol.asyncDispose]()
})

async function places(index: number): Promise<Place[]> {
  const chunk = (await cluster.ok('stat', '/b/x')).json.chunks[index] as { id: string }
  return (await cluster.ok('chunk', 'locate', chunk.id)).json as Place[]
}

function flipBit(file: string, at: number): void {
  const content = readFileSync(file)
  content[at] = (content[at] ?? 0) ^ 0x10
  writeFileSync(file, content)
}

const damages: [string, (place: Place, other: Place) => void][] = [
  ['a flipped bit in the data', ({ file }) => flipBit(file, 100_000)],
  ['a flipped bit in the footer', ({ file, lengthBytes }) => flipBit(file, lengthBytes + 70)],
  ['a truncated file', ({ file }) => truncateSync(file, 4096 * 3)],
  ['an emptied file', ({ file }) => truncateSync(file, 0)],
  ['a missing file', ({ file }) => rmSync(file)],
  [
    'two files swapped',
    ({ file }, other) => {
      renameSync(file, `${file}.swap`)
      copyFileSync(other.file, file)
      rmSync(`${file}.swap`)
    },
  ],
]

describe('one copy is damaged', () => {
  test.each(damages)('by %s: readers get the right bytes, and the copy is rebuilt', async (_what, damage) => {
    const [victim] = await places(3)
    const [other] = await places(4)
    const before = readFileSync((victim as Place).file)
    damage(victim as Place, other as Place)
    for (let round = 0; round < 4; round += 1) {
      await cluster.ok('get', '/b/x', cluster.file(`out-${round}`))
      expect(await sha256(cluster.file(`out-${round}`))).toBe(sum)
    }
    await cluster.until(
      'the copy is whole again',
      async () => {
        const now = (await places(3)).find((place) => place.server === victim?.server)
        return (
          now !== undefined && existsSync(now.file) && readFileSync(now.file).subarray(0, CHUNK).equals(before.subarray(0, CHUNK))
        )
      },
      90_000,
    )
    await cluster.untilHealthy(CHUNKS)
  })
})

test('every copy of a chunk is damaged in another leaf: the good leaves are joined', async () => {
  await randomFile(cluster.file('salvage'), 3 * 1024 * KiB)
  const good = await sha256(cluster.file('salvage'))
  await cluster.ok('put', cluster.file('salvage'), '/b/salvage', '--chunk-size', '4MiB')
  const id = (await cluster.ok('stat', '/b/salvage')).json.chunks[0].id as string
  const copies = (await cluster.ok('chunk', 'locate', id)).json as Place[]
  copies.forEach(({ file }, index) => flipBit(file, index * 1024 * KiB + 5))
  await cluster.ok('get', '/b/salvage', cluster.file('salvaged'))
  expect(await sha256(cluster.file('salvaged'))).toBe(good)
})

test('every copy of a leaf is damaged: a clear error and exit code 6, never wrong bytes; other ranges still read', async () => {
  await randomFile(cluster.file('lost'), 3 * 1024 * KiB)
  const data = readFileSync(cluster.file('lost'))
  await cluster.ok('put', cluster.file('lost'), '/b/lost', '--chunk-size', '4MiB')
  const id = (await cluster.ok('stat', '/b/lost')).json.chunks[0].id as string
  for (const { file } of (await cluster.ok('chunk', 'locate', id)).json as Place[]) flipBit(file, 1024 * KiB + 5)
  expect(await cluster.cli('get', '/b/lost', cluster.file('never'))).toMatchObject({
    code: 6,
    json: { error: { code: 'DATA_LOST', retryable: false } },
  })
  expect(existsSync(cluster.file('never'))).toBe(false)
  await cluster.ok('get', '/b/lost', cluster.file('part'), '--range', '0-1048575')
  expect(readFileSync(cluster.file('part')).equals(data.subarray(0, 1024 * KiB))).toBe(true)
})
