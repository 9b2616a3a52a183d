/** What a transfer leaves behind on the client's side, when it ends well and when it breaks off. */
import { expect, test } from '@jest/globals'
import { SeededRandom } from '../../common/random/seeded-random.js'
import { KiB, MiB } from '../../common/units.js'
import { SimCluster } from '../support/sim-cluster.js'

const data = new SeededRandom(9).bytes(3 * MiB)

async function* pieces(failAfterBytes = Infinity): AsyncGenerator<Uint8Array> {
  for (let at = 0; at < data.length; at += 100 * KiB) {
    if (at >= failAfterBytes) throw new Error('the sender has gone')
    yield data.subarray(at, at + 100 * KiB)
  }
}

test('streams that break off give all their memory back', async () => {
  await using cluster = await SimCluster.start({ seed: 31, chunkservers: 3 })
  // The client's budget is 32 MiB: what one of these kept would be missed by a later one.
  for (let round = 0; round < 40; round += 1) {
    for (const sizeBytes of [undefined, data.length]) {
      const broken = cluster.client.uploadStream(pieces(1.5 * MiB), `/b/broken-${round}`, { sizeBytes })
      await expect(cluster.run(broken)).rejects.toThrow('the sender has gone')
    }
  }
  const whole = await cluster.run(cluster.client.uploadStream(pieces(), '/b/whole'))
  expect(whole).toMatchObject({ sizeBytes: data.length })
})

test('a finished download removes partial files of its own target only', async () => {
  await using cluster = await SimCluster.start({ seed: 32, chunkservers: 3 })
  await cluster.run(cluster.client.uploadStream(pieces(), '/b/data'))
  const { clientDisk: disk } = cluster
  await disk.makeDirectory('/out')
  const stale = '/out/.data.00112233aabbccdd.cairn-part'
  const others = ['/out/.data.tar.00112233aabbccdd.cairn-part', '/out/.data.v2.00112233aabbccdd-0-99.cairn-part']
  for (const file of [stale, ...others]) await disk.replaceFile(file, new Uint8Array(10))
  await cluster.run(cluster.client.downloadFile('/b/data', '/out/data'))
  const left = (await disk.list('/out')).map(({ name }) => `/out/${name}`)
  expect(left.sort()).toEqual([...others, '/out/data'].sort())
})

test('an upload of a silent stream ends when it is aborted', async () => {
  await using cluster = await SimCluster.start({ seed: 33, chunkservers: 3 })
  async function* silent(): AsyncGenerator<Uint8Array> {
    yield data
    await new Promise<never>(() => undefined)
  }
  const abort = new AbortController()
  const uploading = cluster.client.uploadStream(silent(), '/b/silent', { signal: abort.signal })
  await cluster.clock.advance(1_000)
  abort.abort(new Error('enough'))
  await expect(cluster.run(uploading, 1_000)).rejects.toThrow('enough')
})
