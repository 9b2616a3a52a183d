/** A second `up` on a directory whose first was SIGKILLed, at once, while its children may still be there. */
import { readdirSync } from 'node:fs'
import path from 'node:path'
import { expect, test } from '@jest/globals'
import { KiB, MiB } from '../../common/units.js'
import { randomFile, sha256, TestCluster } from '../support/cluster.js'

const isAlive = (pid: number): boolean => {
  try {
    process.kill(pid, 0)
    return true
  } catch {
    return false
  }
}

test('a second up on a directory whose first was SIGKILLed in mid-upload goes on with all that was acknowledged', async () => {
  await using first = await TestCluster.start({ flags: ['--heartbeat-interval', '200ms'] })
  const sum = await randomFile(first.file('in'), 600 * KiB)
  await first.ok('put', first.file('in'), '/b/x', '--chunk-size', '64KiB')
  const other = await randomFile(first.file('large'), 24 * MiB)
  const put = first.begin(['put', first.file('large'), '/b/large', '--chunk-size', '64KiB', '--json'])
  await first.until('the upload is on its way', async () => {
    const { uploads } = (await first.rest('GET', '/v1/uploads')).json as { uploads: { uploadedBytes: number }[] }
    return (uploads[0]?.uploadedBytes ?? 0) > MiB
  })
  const children = first.ready.processes.map(({ pid }) => pid)
  process.kill(first.supervisorPid, 'SIGKILL')
  // Its master is now at another port, so nobody would hear it: the client goes too.
  process.kill(put.pid, 'SIGKILL')
  await put.done
  // At once: ports, locks and the database may still be held by children that have not noticed yet.
  await using second = await TestCluster.start({ directory: first.directory, flags: ['--heartbeat-interval', '200ms'] })
  await second.until('the first children are gone', async () => !children.some(isAlive))
  expect(second.ready.token).toBe(first.ready.token)
  await second.ok('get', '/b/x', second.file('out'))
  expect(await sha256(second.file('out'))).toBe(sum)
  const { json } = await second.ok('put', first.file('large'), '/b/large', '--chunk-size', '64KiB')
  expect(json).toMatchObject({ path: '/b/large', generation: 1, sizeBytes: 24 * MiB })
  await second.ok('get', '/b/large', second.file('out-large'))
  expect(await sha256(second.file('out-large'))).toBe(other)
  await second.untilHealthy()
  for (const one of ['chunkserver-1', 'chunkserver-2', 'chunkserver-3']) {
    const torn = readdirSync(path.join(second.directory, one, 'tmp'))
    expect(torn).toEqual([])
  }
})
