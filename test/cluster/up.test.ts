/** `cairn up`: the whole cluster under one supervisor. Started, stopped, killed and started again, with its data in place. */
import { existsSync, mkdirSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import net from 'node:net'
import path from 'node:path'
import { expect, test } from '@jest/globals'
import { KiB } from '../../common/units.js'
import { metricsDocument, metricsIn, type MetricInfo } from '../../scripts/generate/metrics-doc.js'
import { randomFile, runCairn, sha256, TestCluster, until } from '../support/cluster.js'

const SIZE = 300 * KiB
const ID = /^[0-9a-f]{32}$/

const isAlive = (pid: number): boolean => {
  try {
    process.kill(pid, 0)
    return true
  } catch {
    return false
  }
}

/** What the directory of a finished test cluster is used for once more. */
async function again(before: TestCluster, flags: string[] = []): Promise<TestCluster> {
  return TestCluster.start({ directory: before.directory, flags })
}

test('tells on one line where everything is, and keeps the token from other users', async () => {
  await using cluster = await TestCluster.start()
  const { master, gateway, token, processes } = cluster.ready
  expect(processes.map((one) => one.role)).toEqual(['master', 'chunkserver', 'chunkserver', 'chunkserver', 'gateway'])
  for (const one of processes) {
    expect(one).toEqual({
      role: expect.any(String),
      id: expect.stringMatching(ID),
      pid: expect.any(Number),
      url: expect.stringMatching(/^http:\/\/127\.0\.0\.1:\d+$/),
      dir: expect.stringContaining(cluster.directory),
    })
    expect(isAlive(one.pid)).toBe(true)
  }
  expect(master).toBe(cluster.process('master').url)
  expect(gateway).toBe(cluster.process('gateway').url)
  expect(token.length).toBeGreaterThanOrEqual(32)
  expect(statSync(path.join(cluster.directory, 'tokens.json')).mode & 0o077).toBe(0)
  const { servers } = (await cluster.ok('status')).json as { servers: { id: string; state: string }[] }
  expect(servers.map((server) => server.id).sort()).toEqual(
    processes
      .filter((one) => one.role === 'chunkserver')
      .map((one) => one.id)
      .sort(),
  )
  expect(servers.every((server) => server.state === 'serving')).toBe(true)
})

test('a later up goes on where the first stopped, with ids, addresses, token and data as they were', async () => {
  await using first = await TestCluster.start()
  const sum = await randomFile(first.file('in'), SIZE)
  await first.ok('put', first.file('in'), '/b/x', '--chunk-size', '64KiB')
  await first.stop()
  for (const one of first.ready.processes) expect(isAlive(one.pid)).toBe(false)

  await using second = await again(first)
  const named = (cluster: TestCluster): object[] =>
    cluster.ready.processes.map(({ role, id, url, dir }) =>
      role === 'master' || role === 'gateway' ? { role, dir } : { role, id, url, dir },
    )
  expect(named(second)).toEqual(named(first))
  expect(second.ready.token).toBe(first.ready.token)
  await second.ok('get', '/b/x', second.file('out'))
  expect(await sha256(second.file('out'))).toBe(sum)
})

test('when the supervisor is killed its children end, and the next up goes on', async () => {
  await using first = await TestCluster.start()
  const sum = await randomFile(first.file('in'), SIZE)
  await first.ok('put', first.file('in'), '/b/x')
  await first.stop('SIGKILL')
  await using second = await again(first)
  await until('the first children are gone', async () => first.ready.processes.every((one) => !isAlive(one.pid)), 10_000)
  await second.ok('get', '/b/x', second.file('out'))
  expect(await sha256(second.file('out'))).toBe(sum)
})

test('what dies is started again under its id and address', async () => {
  await using cluster = await TestCluster.start()
  const before = cluster.ready.processes
  for (const one of before) cluster.kill(one)
  await until(
    'every process runs again',
    async () => cluster.ready.processes.every((one, index) => one.pid !== before[index]?.pid && isAlive(one.pid)),
    30_000,
  )
  for (const one of before.filter(({ role }) => role === 'chunkserver')) expect(cluster.server(one.id).url).toBe(one.url)
  await cluster.until('all are serving', async () => {
    const status = await cluster.cli('status')
    return status.code === 0 && (status.json.servers as { state: string }[]).every((server) => server.state === 'serving')
  })
})

test('with --no-restart it stays dead', async () => {
  await using cluster = await TestCluster.start({
    flags: ['--no-restart', '--heartbeat-interval', '200ms', '--suspect-after', '600ms', '--dead-after', '1200ms'],
  })
  const victim = cluster.process('chunkserver', 1)
  cluster.kill(victim)
  await cluster.until('the master has declared it dead', async () => {
    const { servers } = (await cluster.ok('status')).json as { servers: { id: string; state: string }[] }
    return servers.find((server) => server.id === victim.id)?.state === 'dead'
  })
  expect(isAlive(victim.pid)).toBe(false)
  expect(cluster.server(victim.id).pid).toBe(victim.pid)
})

test('more chunkservers can be asked for later', async () => {
  await using first = await TestCluster.start({ chunkservers: 2 })
  await first.stop()
  await using second = await TestCluster.start({ directory: first.directory, chunkservers: 4 })
  expect(second.ready.processes.filter((one) => one.role === 'chunkserver')).toHaveLength(4)
  expect(second.process('chunkserver', 0).id).toBe(first.process('chunkserver', 0).id)
})

test('a directory in use, a taken port and a damaged state file are each their own error', async () => {
  await using cluster = await TestCluster.start({ chunkservers: 1 })
  const locked = await runCairn(['up', '--dir', cluster.directory, '--port', '0', '--json'], {}).done
  expect(locked).toMatchObject({ code: 1, json: { error: { code: 'DIRECTORY_LOCKED' } } })

  const listener = net.createServer().listen(0, '127.0.0.1')
  await new Promise((resolve) => listener.once('listening', resolve))
  const { port } = listener.address() as net.AddressInfo
  const taken = await runCairn(['up', '--dir', cluster.file('other'), '--port', String(port), '--json'], {}).done
  expect(taken).toMatchObject({ code: 1, json: { error: { code: 'PORT_IN_USE' } } })
  listener.close()

  const damaged = cluster.file('damaged')
  mkdirSync(damaged)
  writeFileSync(path.join(damaged, 'up.json'), '{"formatVersion":')
  const refused = await runCairn(['up', '--dir', damaged, '--port', '0', '--json'], {}).done
  expect(refused).toMatchObject({ code: 1, json: { error: { code: 'LOCAL_IO_ERROR' } } })
  expect(existsSync(path.join(damaged, 'master'))).toBe(false)
})

test('one request id is found in the logs of every server it touched', async () => {
  await using cluster = await TestCluster.start()
  await randomFile(cluster.file('in'), SIZE)
  const response = await cluster.gateway('/v1/files/b/traced/content', {
    method: 'PUT',
    body: readFileSync(cluster.file('in')),
    headers: { 'x-request-id': 'trace-me-1' },
  })
  expect(response.status).toBe(201)
  expect(response.headers.get('x-request-id')).toBe('trace-me-1')
  const logs = ['master', 'gateway', 'chunkserver-1', 'chunkserver-2', 'chunkserver-3']
  for (const name of logs) {
    const log = path.join(cluster.directory, 'logs', `${name}.log`)
    await cluster.until(`${name} has logged it`, async () => readFileSync(log, 'utf8').includes('trace-me-1'), 5_000)
  }
})

test('the metrics that servers expose are those that are documented', async () => {
  await using cluster = await TestCluster.start({ chunkservers: 1 })
  const byRole: Record<string, MetricInfo[]> = {}
  for (const role of ['master', 'chunkserver', 'gateway'])
    byRole[role] = metricsIn(await (await fetch(`${cluster.process(role).url}/metrics`)).text())
  const documented = readFileSync(new URL('../../../docs/operations/metrics.md', import.meta.url), 'utf8')
  expect(metricsDocument(byRole)).toBe(documented)
})
