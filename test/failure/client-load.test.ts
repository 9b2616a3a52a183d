/** The tester, tested: what a client load must notice, it notices. */
import { Readable } from 'node:stream'
import { expect, test } from '@jest/globals'
import { startCluster } from '../../testing/index.js'
import { ClientLoad } from '../support/client-load.js'

test('a client load notices files that are gone, files that came from nowhere, and bytes that nobody acknowledged', async () => {
  await using cluster = await startCluster({ chunkservers: 2 })
  await cluster.client.api.call('putBucket', { params: { bucket: 'load' }, body: { replicas: 2 } })
  await using load = ClientLoad.start(cluster.client, { workers: 2 })
  await load.progress(60)
  await load.stop()
  await load.verifyAll()
  expect(load.violations).toEqual([])
  expect(load.failures).toEqual([])
  expect(load.figures).toMatchObject({ failed: 0, bytesVerified: expect.any(Number) })
  expect(load.figures.bytesVerified).toBeGreaterThan(0)

  const paths: string[] = []
  for await (const { path } of cluster.client.list('/load/')) paths.push(path)
  const [gone, changed] = paths as [string, string]
  await cluster.client.delete(gone)
  await cluster.client.uploadStream(Readable.from([Buffer.from('of another hand')]), changed)
  await cluster.client.uploadStream(Readable.from([Buffer.from('new')]), '/load/new')
  await load.verifyAll()
  expect([...load.violations].sort()).toEqual(
    [
      `${gone} was acknowledged and is not there`,
      `${changed} holds 15 bytes that nobody wrote there`,
      '/load/new is listed and was never written',
    ].sort(),
  )
})
