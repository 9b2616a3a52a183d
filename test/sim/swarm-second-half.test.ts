/** The second half of swarm.test.ts: Jest runs two files at a time. */
import { expect, test } from '@jest/globals'
import { runSwarm, SWARM_MS_MAX } from './swarm/child.js'

test(
  'a hundred further clusters keep their promises, and each does the same when it is done again',
  async () => {
    expect(await runSwarm({ from: 101, seeds: 100, twice: 20 })).toMatchObject({ seeds: 100, failures: [] })
  },
  SWARM_MS_MAX,
)
