/** A client whose targets all refuse waits between its tries, however fast they refuse. */
import { expect, test } from '@jest/globals'
import { SeededRandom } from '../../common/random/seeded-random.js'
import { KiB } from '../../common/units.js'
import { SimCluster } from '../support/sim-cluster.js'

test('when every chunkserver refuses at once, an upload asks for targets some dozen times, then says why it has failed', async () => {
  await using cluster = await SimCluster.start({ seed: 71, chunkservers: 3, settings: { suspectAfterMs: 60_000 } })
  let allocations = 0
  const allocate = cluster.master.uploads.allocate.bind(cluster.master.uploads)
  cluster.master.uploads.allocate = (args) => {
    allocations += 1
    if (allocations > 500) throw new Error('the client hammers')
    return allocate(args)
  }
  for (const index of [0, 1, 2]) cluster.kill(index)
  async function* pieces(): AsyncGenerator<Uint8Array> {
    yield new SeededRandom(1).bytes(100 * KiB)
  }
  const uploading = cluster.run(cluster.client.uploadStream(pieces(), '/b/file'))
  await expect(uploading).rejects.toMatchObject({ code: 'CONNECTION_FAILED' })
  expect(allocations).toBeLessThan(100)
})
