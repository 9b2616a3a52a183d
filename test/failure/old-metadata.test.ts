/** An older metadata database is put back: what it does not know is not deleted, until an operator decides. */
import { cpSync, existsSync, readdirSync, rmSync } from 'node:fs'
import path from 'node:path'
import { expect, test } from '@jest/globals'
import { MiB } from '../../common/units.js'
import { randomFile, sha256, TestCluster } from '../support/cluster.js'

const FLAGS = ['--heartbeat-interval', '200ms', '--suspect-after', '1s', '--dead-after', '3s', '--gc-grace', '1s']

const chunkFiles = (cluster: TestCluster): string[] =>
  [1, 2, 3].flatMap((number) => {
    const chunks = path.join(cluster.directory, `chunkserver-${number}`, 'chunks')
    return existsSync(chunks)
      ? readdirSync(chunks, { recursive: true, encoding: 'utf8' }).filter((name) => name.endsWith('.chunk'))
      : []
  })

const brakeOf = async (cluster: TestCluster): Promise<string> =>
  ((await cluster.ok('status')).json.repair.brake as string | null) ?? ''

test('an older database deletes nothing and says so; accepted, it goes on under a higher epoch', async () => {
  await using first = await TestCluster.start({ flags: FLAGS })
  const master = path.join(first.directory, 'master')
  const kept = first.file('master-kept')
  const sum = await randomFile(first.file('in'), 2 * MiB)
  await first.ok('put', first.file('in'), '/b/old', '--chunk-size', '1MiB')
  await first.stop()
  cpSync(master, kept, { recursive: true })

  const second = await TestCluster.start({ directory: first.directory, flags: FLAGS })
  await randomFile(second.file('in'), 3 * MiB)
  await second.ok('put', second.file('in'), '/b/new', '--chunk-size', '1MiB')
  await second.untilHealthy(5)
  await second[Symbol.asyncDispose]()
  rmSync(master, { recursive: true })
  cpSync(kept, master, { recursive: true })
  expect(chunkFiles(second)).toHaveLength(15)

  await using third = await TestCluster.start({ directory: first.directory, flags: FLAGS })
  await third.until('it says that it deletes nothing', async () => (await brakeOf(third)).includes('nothing is deleted'))
  const { json: state } = await third.ok('metadata', 'status')
  expect(state).toMatchObject({ own: { epoch: 1 }, seen: { epoch: 1 }, deletionsHeldSinceMs: expect.any(Number) })
  expect((await third.cli('stat', '/b/new')).code).toBe(3)
  await third.ok('get', '/b/old', third.file('out'))
  expect(await sha256(third.file('out'))).toBe(sum)

  // It does not lapse by the position growing past what was seen, nor by a restart.
  await randomFile(third.file('in'), 3 * MiB)
  await third.ok('put', third.file('in'), '/b/more', '--chunk-size', '1MiB')
  third.kill(third.process('master'))
  await third.until('the new master says so too', async () => {
    const status = await third.cli('status')
    return status.code === 0 && String(status.json.repair.brake).includes('nothing is deleted')
  })
  await third.ok('rm', '/b/more', '--purge')
  expect(chunkFiles(third).length).toBeGreaterThanOrEqual(15)

  const plan = await third.ok('metadata', 'accept')
  expect(plan.json.accepted).toBeNull()
  expect((await third.ok('metadata', 'accept', '--yes')).json.accepted.epoch).toBe(2)
  await third.until('deletions go on', async () => !(await brakeOf(third)).includes('nothing is deleted'))
  expect((await third.cli('metadata', 'accept', '--yes')).json.error.code).toBe('PRECONDITION_FAILED')
  await third.until('what was purged is gone', async () => chunkFiles(third).length === 15)
}, 120_000)
