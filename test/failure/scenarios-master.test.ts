/** Scenarios of the failure suite about the master, restarts of everything, and clients that die. See docs/design/failure-suite.md. */
import { createHash, randomBytes } from 'node:crypto'
import { readFileSync, rmSync, writeFileSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import path from 'node:path'
import { expect, test } from '@jest/globals'
import { startCluster, type Cluster } from '../../testing/index.js'
import { parseChunkId } from '../../common/ids.js'
import { SeededRandom } from '../../common/random/seeded-random.js'
import { KiB, MiB } from '../../common/units.js'
import { ClientLoad } from '../support/client-load.js'
import { runCairn } from '../support/cluster.js'
import { chunkFiles, writeFile } from '../support/scenario.js'

test('scenario (d): the master is killed again and again while clients commit; what it acknowledged is there', async () => {
  const random = new SeededRandom(4)
  await using cluster = await startCluster({ chunkservers: 3 })
  await using load = ClientLoad.start(cluster.client, { workers: 4, sizeBytesMax: 128 * KiB, thinkMs: 0 })
  for (let kill = 0; kill < 6; kill += 1) {
    await load.progress(1 + random.integer(40))
    await sleep(random.integer(60))
    await cluster.restart('master', { signal: 'SIGKILL' })
  }
  await load.progress(10)
  expect(await load.finish()).toEqual([])
  expect(load.failures).toEqual([])
  await cluster.healthy()
})

test('scenario (k): every process is restarted in turn under load, and no operation of a client fails', async () => {
  await using cluster = await startCluster({ chunkservers: 4, gateway: true })
  await using load = ClientLoad.start(cluster.client, { sizeBytesMax: 2 * MiB })
  const reading = readThroughGateway(cluster)
  for (const member of [...cluster.chunkservers, cluster.master, cluster.gateway]) {
    await load.progress(10)
    await cluster.restart(member)
    await cluster.until('it serves', async () => (await cluster.status()).servers.every(({ state }) => state === 'serving'))
  }
  await load.progress(10)
  await reading.stop()
  expect(await load.finish()).toEqual([])
  expect(load.failures).toEqual([])
  await cluster.healthy()
})

/** A client of the gateway that knows nothing of Cairn: while the gateway is away it can only try again, and gets no wrong byte. */
function readThroughGateway(cluster: Cluster): { stop(): Promise<void> } {
  const content = randomBytes(300 * KiB)
  const url = `${cluster.gateway.url}/v1/files/g/x/content`
  const headers = { authorization: `Bearer ${cluster.token}` }
  let stopping = false
  const work = (async () => {
    expect((await fetch(url, { method: 'PUT', headers, body: content })).status).toBeLessThan(300)
    while (!stopping) {
      const got = await fetch(url, { headers })
        .then(async (answer) => ({ status: answer.status, body: Buffer.from(await answer.arrayBuffer()) }))
        .catch(() => undefined)
      if (got?.status === 200) expect(got.body.equals(content)).toBe(true)
      await sleep(10)
    }
  })()
  work.catch(() => undefined)
  return {
    stop: async () => {
      stopping = true
      await work
    },
  }
}

test('scenario (n): a client is killed at twenty random moments of its uploads, and the next run goes on each time', async () => {
  const random = new SeededRandom(14)
  await using cluster = await startCluster({ chunkservers: 3 })
  await using load = ClientLoad.start(cluster.client, { workers: 1, thinkMs: 20 })
  const scratch = path.join(cluster.directory, 'client')
  const content = randomBytes(32 * MiB)
  writeFileSync(scratch, content)
  const sum = createHash('sha256').update(content).digest('hex')
  const put = (name: string) => runCairn(['put', scratch, `/n/${name}`, '--chunk-size', '256KiB', '--json'], cluster.env)
  let kills = 0
  for (let file = 0; kills < 20; file += 1) {
    // Until a run gets through before its end comes: then another file.
    for (let through = false; !through && kills < 20;) {
      const running = put(String(file))
      const end = sleep(200 + random.integer(900)).then(() => running.child.kill('SIGKILL'))
      const { code } = await running.done
      through = code === 0
      if (!through) kills += 1
      await end
    }
    expect(await put(String(file)).done).toMatchObject({ code: 0, json: { sizeBytes: content.length } })
    const out = path.join(cluster.directory, 'out')
    expect(await runCairn(['get', `/n/${file}`, out, '--json'], cluster.env).done).toMatchObject({ code: 0 })
    expect(createHash('sha256').update(readFileSync(out)).digest('hex')).toBe(sum)
    rmSync(out)
  }
  expect(await load.finish()).toEqual([])
  expect(load.failures).toEqual([])
})

test('scenario (o): aborts, deletes and collection race with uploads; after collection every committed byte is there', async () => {
  const random = new SeededRandom(15)
  await using cluster = await startCluster({ chunkservers: 4, timers: { garbageGraceMs: 1_000 } })
  await using load = ClientLoad.start(cluster.client, { workers: 4, thinkMs: 0 })
  const written = await writeFile(cluster, '/a/x', MiB, { chunkSizeBytes: 64 * KiB })
  let aborted = 0
  const abortSome = async (): Promise<void> => {
    const { uploads } = await cluster.client.api.call('listUploads', { query: {} })
    for (const { uploadId } of uploads.filter(() => random.fraction() < 0.2)) {
      await cluster.client.api.call('abortUpload', { params: { uploadId } }).then(
        () => (aborted += 1),
        () => undefined,
      )
    }
  }
  while (aborted < 15) await abortSome()
  await load.stop()
  await cluster.healthy()
  await cluster.until('all garbage is collected', async () => {
    if ((await cluster.client.api.call('getSpace', {})).openUploadBytes > 0) return false
    const ids = new Set(cluster.chunkservers.flatMap(chunkFiles))
    const states = await Promise.all([...ids].map((id) => chunkState(cluster, id)))
    return states.every((state) => state === 'live')
  })
  await written.verify()
  expect(await load.finish()).toEqual([])
  // An upload whose session is aborted under it fails, and says so.
  for (const { kind, code } of load.failures) {
    expect(['put', 'overwrite']).toContain(kind)
    expect(['UPLOAD_NOT_FOUND', 'UPLOAD_CLOSED']).toContain(code)
  }
})

/** Of a chunk that some server has a file of; undefined when the metadata knows nothing of it. */
async function chunkState(cluster: Cluster, id: string): Promise<string | undefined> {
  const params = { chunkId: parseChunkId(id) }
  return cluster.client.api.call('getChunk', { params }).then(
    ({ state }) => state,
    () => undefined,
  )
}
