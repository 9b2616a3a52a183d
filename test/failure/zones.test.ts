/** Failure domains: what is acknowledged lies in more than one zone as long as several live, and one lost zone stops nothing. */
import { mkdirSync } from 'node:fs'
import { expect, test } from '@jest/globals'
import { MiB } from '../../common/units.js'
import { QUICK_TIMERS, randomFile, runCairn, sha256, TestCluster, until, type RunningCommand } from '../support/cluster.js'

const SIZE = 96 * MiB

/** Chunkservers beside those of `up`, as on other machines: two in zone `near`, one in `far`. */
async function withZones(cluster: TestCluster): Promise<RunningCommand[]> {
  const started = ['near', 'near', 'far'].map((zone, index) => {
    const directory = cluster.file(`zone-${zone}-${index}`)
    mkdirSync(directory)
    return runCairn(['chunkserver', '--dir', directory, '--port', '0', '--zone', zone], cluster.env)
  })
  await cluster.until('all have joined', async () => (await cluster.ok('status')).json.servers.length === 4)
  cluster.kill(cluster.process('chunkserver'))
  await cluster.until('only those in zones are left', async () => {
    const { servers } = (await cluster.ok('status')).json as { servers: { state: string }[] }
    return servers.filter((server) => server.state === 'serving').length === 3
  })
  return started
}

test('the only server of a zone dies in mid-upload: the upload goes on in the other zone and is acknowledged there', async () => {
  await using cluster = await TestCluster.start({ chunkservers: 1, flags: [...QUICK_TIMERS, '--no-restart'] })
  const servers = await withZones(cluster)
  try {
    const sum = await randomFile(cluster.file('in'), SIZE)
    const put = cluster.begin(['put', cluster.file('in'), '/b/x', '--chunk-size', '2MiB', '--json'])
    await until('the upload is under way', async () => {
      const { json } = await cluster.rest('GET', '/v1/uploads')
      return (json.uploads as { uploadedBytes: number }[]).some((upload) => upload.uploadedBytes >= 8 * MiB)
    })
    servers[2]?.child.kill('SIGKILL')
    expect(await put.done).toMatchObject({ code: 0, json: { sizeBytes: SIZE } })
    await cluster.ok('get', '/b/x', cluster.file('out'))
    expect(await sha256(cluster.file('out'))).toBe(sum)
  } finally {
    for (const server of servers) server.child.kill('SIGTERM')
    await Promise.all(servers.map((server) => server.done))
  }
})
