/** Re-replication with real processes: what a dead server held comes back elsewhere, and what it brings back is trimmed. */
import { existsSync, mkdirSync, readdirSync, rmSync } from 'node:fs'
import path from 'node:path'
import { describe, expect, test } from '@jest/globals'
import { MiB } from '../../common/units.js'
import { QUICK_TIMERS, randomFile, runCairn, sha256, TestCluster, until, type RunningCommand } from '../support/cluster.js'

const CHUNK = 1 * MiB
const CHUNKS = 24

const chunkFiles = (directory: string): string[] => {
  const chunks = path.join(directory, 'chunks')
  if (!existsSync(chunks)) return []
  return readdirSync(chunks, { recursive: true, encoding: 'utf8' }).filter((name) => name.endsWith('.chunk'))
}

const stateOf = async (cluster: TestCluster, id: string): Promise<string> => {
  const { servers } = (await cluster.ok('status')).json as { servers: { id: string; state: string }[] }
  return servers.find((server) => server.id === id)?.state ?? 'unknown'
}

async function fill(cluster: TestCluster): Promise<string> {
  const sum = await randomFile(cluster.file('in'), CHUNKS * CHUNK)
  await cluster.ok('put', cluster.file('in'), '/b/x', '--chunk-size', '1MiB')
  return sum
}

async function replicasOf(cluster: TestCluster): Promise<string[][]> {
  const { chunks } = (await cluster.ok('stat', '/b/x')).json as { chunks: { replicas: string[] }[] }
  return chunks.map((chunk) => chunk.replicas)
}

/** A chunkserver of its own beside those that `up` runs, as an operator would start it on another machine. */
class ExtraServer implements AsyncDisposable {
  readonly #command: RunningCommand

  constructor(cluster: TestCluster, directories: readonly string[], flags: readonly string[] = []) {
    for (const directory of directories) mkdirSync(directory, { recursive: true })
    const args = ['chunkserver', '--master', cluster.ready.master, '--dir', ...directories, '--port', '0', ...flags]
    this.#command = runCairn(args, cluster.env)
  }

  kill(): void {
    this.#command.child.kill('SIGKILL')
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#command.child.kill('SIGTERM')
    await this.#command.done
  }
}

test('two servers die at once: no byte is lost, and every chunk is back at three copies on the others', async () => {
  await using cluster = await TestCluster.start({ chunkservers: 5, flags: [...QUICK_TIMERS, '--no-restart'] })
  const sum = await fill(cluster)
  const dead = [cluster.process('chunkserver', 0), cluster.process('chunkserver', 3)]
  for (const one of dead) cluster.kill(one)
  await cluster.ok('get', '/b/x', cluster.file('during'))
  expect(await sha256(cluster.file('during'))).toBe(sum)
  for (const one of dead) await cluster.until('its death is noticed', async () => (await stateOf(cluster, one.id)) === 'dead')
  await cluster.untilHealthy(CHUNKS)
  for (const replicas of await replicasOf(cluster)) {
    expect(new Set(replicas).size).toBe(3)
    for (const one of dead) expect(replicas).not.toContain(one.id)
  }
  await cluster.ok('get', '/b/x', cluster.file('after'))
  expect(await sha256(cluster.file('after'))).toBe(sum)
})

test('a server that returns after its chunks were rebuilt has its surplus copies trimmed', async () => {
  await using cluster = await TestCluster.start({ chunkservers: 4, flags: [...QUICK_TIMERS, '--gc-grace', '1s'] })
  const sum = await fill(cluster)
  // Paused rather than killed: the supervisor leaves it alone, and it comes back with everything it had.
  const away = cluster.process('chunkserver', 1)
  const held = chunkFiles(away.dir).length
  expect(held).toBeGreaterThan(0)
  cluster.kill(away, 'SIGSTOP')
  await cluster.until('it is declared dead', async () => (await stateOf(cluster, away.id)) === 'dead')
  await cluster.untilHealthy(CHUNKS)
  cluster.kill(away, 'SIGCONT')
  await cluster.until('it serves again', async () => (await stateOf(cluster, away.id)) === 'serving')
  const copies = (): number => cluster.ready.processes.reduce((sum, one) => sum + chunkFiles(one.dir).length, 0)
  await until('no surplus copy is left on any disk', async () => copies() === 3 * CHUNKS, 60_000)
  for (const replicas of await replicasOf(cluster)) expect(replicas).toHaveLength(3)
  await cluster.ok('get', '/b/x', cluster.file('out'))
  expect(await sha256(cluster.file('out'))).toBe(sum)
})

test('a server that comes back with an empty disk is filled again', async () => {
  await using cluster = await TestCluster.start({ chunkservers: 3, flags: [...QUICK_TIMERS] })
  const sum = await fill(cluster)
  const emptied = cluster.process('chunkserver', 2)
  rmSync(path.join(emptied.dir, 'chunks'), { recursive: true })
  cluster.kill(emptied)
  await cluster.until('the loss is known or mended', async () => chunkFiles(emptied.dir).length > 0)
  await cluster.untilHealthy(CHUNKS)
  expect(chunkFiles(emptied.dir)).toHaveLength(CHUNKS)
  await cluster.ok('get', '/b/x', cluster.file('out'))
  expect(await sha256(cluster.file('out'))).toBe(sum)
})

describe('zones', () => {
  test('copies of a chunk lie in different zones, and a fourth zone is used when there is one', async () => {
    await using cluster = await TestCluster.start({ chunkservers: 1, flags: QUICK_TIMERS })
    const zones = ['north', 'east', 'south', 'west']
    const servers = zones.map((zone) => new ExtraServer(cluster, [cluster.file(`extra-${zone}`)], ['--zone', zone]))
    await cluster.until('all have joined', async () => (await cluster.ok('status')).json.servers.length === 5)
    await fill(cluster)
    const { servers: known } = (await cluster.ok('status')).json as { servers: { id: string; zone: string }[] }
    const zoneOf = new Map(known.map((server) => [server.id, server.zone]))
    const used = new Set<string>()
    for (const replicas of await replicasOf(cluster)) {
      const placed = replicas.map((id) => zoneOf.get(id) as string)
      expect(new Set(placed).size).toBe(3)
      for (const zone of placed) used.add(zone)
    }
    for (const zone of zones) expect(used).toContain(zone)
    for (const server of servers) await server[Symbol.asyncDispose]()
  })
})

test('a server with several data directories spreads chunks over them, and serves on without one', async () => {
  await using cluster = await TestCluster.start({ chunkservers: 2, flags: [...QUICK_TIMERS] })
  const directories = ['disk-a', 'disk-b', 'disk-c'].map((name) => cluster.file(name))
  const first = new ExtraServer(cluster, directories)
  await cluster.until('it has joined', async () => (await cluster.ok('status')).json.servers.length === 3)
  const sum = await fill(cluster)
  for (const directory of directories) expect(chunkFiles(directory).length).toBeGreaterThan(0)
  first.kill()
  rmSync(directories[1] as string, { recursive: true })
  await using _second = new ExtraServer(cluster, directories)
  const held = (): number => directories.reduce((total, directory) => total + chunkFiles(directory).length, 0)
  await cluster.until('what the lost directory held is back', async () => held() === CHUNKS)
  await cluster.untilHealthy(CHUNKS)
  await cluster.ok('get', '/b/x', cluster.file('out'))
  expect(await sha256(cluster.file('out'))).toBe(sum)
})

test('full disks refuse clearly, keep what is there, and take more once there is room', async () => {
  await using cluster = await TestCluster.start({
    chunkservers: 3,
    flags: [...QUICK_TIMERS, '--capacity', '24MiB', '--gc-grace', '1s'],
  })
  const small = await randomFile(cluster.file('small'), 8 * MiB)
  await cluster.ok('put', cluster.file('small'), '/b/small', '--chunk-size', '1MiB')
  await randomFile(cluster.file('large'), 40 * MiB)
  const refused = await cluster.cli('put', cluster.file('large'), '/b/large', '--chunk-size', '1MiB')
  expect(refused.code).toBe(5)
  expect(['NOT_ENOUGH_SERVERS', 'DISK_FULL']).toContain(refused.json.error.code)
  expect((await cluster.cli('stat', '/b/large')).code).toBe(3)
  await cluster.ok('get', '/b/small', cluster.file('out'))
  expect(await sha256(cluster.file('out'))).toBe(small)
  // The session is kept for another try. Given up, its space comes back and other files fit.
  const { uploads } = (await cluster.rest('GET', '/v1/uploads')).json as { uploads: { uploadId: string }[] }
  for (const upload of uploads) await cluster.ok('upload', 'abort', upload.uploadId)
  const medium = await randomFile(cluster.file('medium'), 10 * MiB)
  await cluster.until(
    'there is room again',
    async () => (await cluster.cli('put', cluster.file('medium'), '/b/medium', '--chunk-size', '1MiB')).code === 0,
    90_000,
  )
  await cluster.ok('get', '/b/medium', cluster.file('out'))
  expect(await sha256(cluster.file('out'))).toBe(medium)
}, 150_000)
