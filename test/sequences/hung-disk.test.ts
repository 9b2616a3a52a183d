/** One disk of four hangs: what is begun on it never ends. The server goes on with the other three, and its chunks come back. */
import { expect, test } from '@jest/globals'
import { Chunkserver } from '../../chunkserver/index.js'
import type { Disk } from '../../common/disk/disk.js'
import { MemoryDisk } from '../../common/disk/memory-disk.js'
import { silentLogger } from '../../common/observe/logger.js'
import { SeededRandom } from '../../common/random/seeded-random.js'
import { KiB, MINUTE_MS, SECOND_MS } from '../../common/units.js'
import { SimCluster, type SimServer } from '../support/sim-cluster.js'
import { pieces } from './one-file.js'

const DIRECTORIES = ['/d0', '/d1', '/d2', '/d3']

/** Below the directories in `hung` nothing ever ends. */
function withHungDirectories<T extends object>(disk: T, hung: ReadonlySet<string>, under = ''): T {
  const isHung = (file: unknown): boolean => [...hung].some((one) => String(file).startsWith(one))
  return new Proxy(disk, {
    get(target, name) {
      const member: unknown = Reflect.get(target, name)
      if (typeof member !== 'function') return member
      return (...args: unknown[]) => {
        const file = under === '' ? args[0] : under
        if (isHung(file)) return new Promise(() => undefined)
        const result: unknown = Reflect.apply(member as () => unknown, target, args)
        return name === 'openFile'
          ? (result as Promise<object>).then((opened) => withHungDirectories(opened, hung, String(file)))
          : result
      }
    },
  })
}

test('one hung disk of four costs its own chunks: reads and writes go on, and the chunks are rebuilt elsewhere', async () => {
  await using cluster = await SimCluster.start({ seed: 1001, chunkservers: 3 })
  const hung = new Set<string>()
  const memory = new MemoryDisk()
  const disk: Disk = withHungDirectories(memory, hung)
  const server = await cluster.run(
    Chunkserver.open({
      clock: cluster.clock,
      random: new SeededRandom(5),
      log: silentLogger,
      transport: cluster.network.transport('many'),
      disk,
      directories: DIRECTORIES,
      listen: { host: 'many', port: 1 },
      masters: ['http://master:1'],
      token: 'simulated-token',
      zone: 'zone-0',
      rack: '',
      host: 'many',
    }),
  )
  cluster.servers.push({ ...(cluster.servers[0] as SimServer), node: 'many', disk: memory, running: server })
  const put = (index: number): Promise<unknown> =>
    cluster.client.uploadStream(pieces(new SeededRandom(index).bytes(100 * KiB)), `/b/${index}`)
  for (let index = 0; index < 40; index += 1) await cluster.run(put(index))
  const on = (directory: string): number =>
    [...server.store.chunkIds()].filter((id) => server.store.locate(id)?.dir === directory).length
  const victim = DIRECTORIES.find((directory) => on(directory) > 0) as string
  hung.add(victim)
  // Nobody waits for it longer than for a server that is slow.
  for (let index = 40; index < 60; index += 1) await cluster.run(put(index), MINUTE_MS)
  for (let index = 0; index < 40; index += 1) expect(await cluster.read(`/b/${index}`)).toHaveLength(100 * KiB)
  await cluster.clock.advance(MINUTE_MS)
  await cluster.untilHealthy(5 * MINUTE_MS)
  const status = await cluster.status()
  expect(status.servers.map(({ state }) => state)).toEqual(['serving', 'serving', 'serving', 'serving'])
  expect(status.chunks).toMatchObject({ total: 60, healthy: 60 })
  expect(
    server.store
      .disks()
      .map(({ state }) => state)
      .sort(),
  ).toEqual(['failed', 'ok', 'ok', 'ok'])
  // And the server still takes what is new.
  const before = server.store.disks().reduce((sum, { chunkCount }) => sum + chunkCount, 0)
  for (let index = 60; index < 70; index += 1) await cluster.run(put(index), 10 * SECOND_MS)
  expect(server.store.disks().reduce((sum, { chunkCount }) => sum + chunkCount, 0)).toBeGreaterThan(before)
  hung.clear()
})
