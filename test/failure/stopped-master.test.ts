/** A master that stands still for longer than the dead time and goes on: its own silence is nobody's death. */
import { expect, test } from '@jest/globals'
import { readFileSync } from 'node:fs'
import path from 'node:path'
import { MiB } from '../../common/units.js'
import { QUICK_TIMERS, randomFile, sha256, TestCluster } from '../support/cluster.js'

const sleep = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms))

test('a master that was stopped for longer than the dead time declares no server dead, and uploads go on', async () => {
  await using cluster = await TestCluster.start({ flags: QUICK_TIMERS })
  const sum = await randomFile(cluster.file('in'), 24 * MiB)
  const putting = cluster.begin(['put', cluster.file('in'), '/b/k', '--chunk-size', '256KiB', '--json'])
  const master = cluster.process('master')
  cluster.kill(master, 'SIGSTOP')
  await sleep(5_000)
  cluster.kill(master, 'SIGCONT')
  const put = await putting.done
  expect(put.code).toBe(0)
  const log = (): string => readFileSync(path.join(cluster.directory, 'logs', 'master.log'), 'utf8')
  const { servers } = (await cluster.ok('status')).json as { servers: { state: string }[] }
  expect(servers.map(({ state }) => state)).toEqual(['serving', 'serving', 'serving'])
  expect(log()).not.toContain('"to":"dead"')
  await cluster.ok('get', '/b/k', cluster.file('out'))
  expect(await sha256(cluster.file('out'))).toBe(sum)
})
