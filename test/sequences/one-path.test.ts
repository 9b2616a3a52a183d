/** Two clients that put different files of one size to one path, and one that takes up the other's session. */
import { expect, test } from '@jest/globals'
import { CairnClient } from '../../client/index.js'
import { xxh64 } from '../../common/checksum/xxh64.js'
import { MemoryDisk } from '../../common/disk/memory-disk.js'
import { silentLogger } from '../../common/observe/logger.js'
import { SeededRandom } from '../../common/random/seeded-random.js'
import type { FileInfo } from '../../common/protocol/files.js'
import { KiB, MiB, MINUTE_MS, SECOND_MS } from '../../common/units.js'
import { SimCluster } from '../support/sim-cluster.js'
import { delivered, lost } from './one-file.js'

const SIZE = 3 * MiB
const OPTIONS = { chunkSizeBytes: 128 * KiB, concurrency: 2 }

const bytes = (seed: number): Uint8Array => new SeededRandom(seed).bytes(SIZE)

interface Person {
  readonly node: string
  readonly client: CairnClient
  readonly disk: MemoryDisk
}

/** Another client, on a machine of its own with one local file. */
async function person(cluster: SimCluster, node: string, data: Uint8Array, gone: boolean | undefined): Promise<Person> {
  const disk = new MemoryDisk()
  await disk.replaceFile('/in', data)
  const client = new CairnClient(
    {
      clock: cluster.clock,
      random: new SeededRandom(node.length * 1000 + (node.at(-1)?.charCodeAt(0) ?? 0)),
      log: silentLogger,
      transport: cluster.network.transport(node),
      disk,
      owner: { name: node, isGone: () => gone },
    },
    { masters: ['http://master:1'], token: 'simulated-token', budgetBytes: 32 * MiB },
  )
  return { node, client, disk }
}

/** Begins an upload and lets it come to its middle. */
async function begin(cluster: SimCluster, who: Person, path: string): Promise<{ done: Promise<FileInfo> }> {
  const done = who.client.uploadFile('/in', path, OPTIONS)
  done.catch(() => undefined)
  await cluster.clock.until(async () => {
    const [session] = await cluster.store.listUploads({ after: '', limit: 1 })
    return (session?.uploadedBytes ?? 0) > SIZE / 4
  }, MINUTE_MS)
  return { done }
}

/** Like `other`, but where the fingerprint looks, at sixteen samples of 64 KiB, like `data`. */
const samples = (data: Uint8Array, other: Uint8Array): Uint8Array => {
  const out = other.slice()
  for (let index = 0; index < 16; index += 1) {
    const at = Math.floor(((SIZE - 64 * KiB) * index) / 15)
    out.set(data.subarray(at, at + 64 * KiB), at)
  }
  return out
}

test('a client with another file of the same size does not go on with the session that it finds', async () => {
  await using cluster = await SimCluster.start({ seed: 601, chunkservers: 3 })
  const first = await person(cluster, 'client-a', bytes(1), undefined)
  const second = await person(cluster, 'client-b', bytes(2), true)
  await begin(cluster, first, '/b/x')
  cluster.network.fate = (from, to) => (from === first.node || to === first.node ? lost : delivered)
  const file = await cluster.run(second.client.uploadFile('/in', '/b/x', OPTIONS))
  expect(file).toMatchObject({ generation: 1, sizeBytes: SIZE })
  expect(xxh64(await cluster.read('/b/x'))).toBe(xxh64(bytes(2)))
})

test('a client whose file looks the same from afar takes the session over, and its own bytes are what is committed', async () => {
  await using cluster = await SimCluster.start({ seed: 602, chunkservers: 3 })
  const mine = samples(bytes(1), bytes(2))
  const first = await person(cluster, 'client-a', bytes(1), undefined)
  const second = await person(cluster, 'client-b', mine, true)
  const { done } = await begin(cluster, first, '/b/x')
  // The first one still lives and still writes: from now on it is refused, whatever it had under way.
  const file = await cluster.run(second.client.uploadFile('/in', '/b/x', OPTIONS))
  await expect(cluster.run(done)).rejects.toMatchObject({ code: expect.stringMatching(/UPLOAD_SUPERSEDED|UPLOAD_CLOSED/) })
  expect(file).toMatchObject({ generation: 1, sizeBytes: SIZE })
  expect(xxh64(await cluster.read('/b/x'))).toBe(xxh64(mine))
})

test('a client that was cut off, lost its session and comes back with its old reports changes nothing', async () => {
  await using cluster = await SimCluster.start({ seed: 603, chunkservers: 3 })
  const first = await person(cluster, 'client-a', bytes(1), undefined)
  const second = await person(cluster, 'client-b', bytes(1), undefined)
  const { done } = await begin(cluster, first, '/b/x')
  cluster.network.fate = (from, to) => (from === 'client-a' || to === 'client-a' ? lost : delivered)
  // Silent for long enough, it is taken over by who has the same file.
  await cluster.clock.advance(35 * SECOND_MS)
  const file = await cluster.run(second.client.uploadFile('/in', '/b/x', OPTIONS))
  cluster.network.fate = () => delivered
  await expect(cluster.run(done)).rejects.toMatchObject({ code: expect.stringMatching(/UPLOAD_SUPERSEDED|UPLOAD_CLOSED/) })
  expect(await cluster.run(second.client.stat('/b/x'))).toEqual(file)
  expect(xxh64(await cluster.read('/b/x'))).toBe(xxh64(bytes(1)))
})

test('two clients that put different files of one size at the same time leave one of them whole', async () => {
  await using cluster = await SimCluster.start({ seed: 604, chunkservers: 3 })
  const people = [await person(cluster, 'client-a', bytes(1), false), await person(cluster, 'client-b', bytes(2), false)]
  const put = people.map(({ client }) => client.uploadFile('/in', '/b/x', OPTIONS))
  const files = await cluster.run(Promise.all(put))
  expect(files.map(({ generation }) => generation).sort()).toEqual([1, 2])
  const last = files.findIndex(({ generation }) => generation === 2)
  expect(xxh64(await cluster.read('/b/x'))).toBe(xxh64(bytes(last + 1)))
  expect(await cluster.store.listUploads({ after: '', limit: 10 })).toEqual([])
})
