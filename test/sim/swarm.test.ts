/**
 * Goal: no seed of the swarm breaks a promise. Method: each half of the first two hundred seeds in a process of its own,
 * outside Jest's module registry, where the code runs at its usual speed; some run twice, and must do exactly the same.
 * docs/design/simulation.md says what a seed is. `npm run sim` runs more of them.
 */
import { expect, test } from '@jest/globals'
import { runSwarm, SWARM_MS_MAX } from './swarm/child.js'

test(
  'a hundred clusters keep their promises whatever is done to them, and each does the same when it is done again',
  async () => {
    expect(await runSwarm({ from: 1, seeds: 100, twice: 20 })).toMatchObject({ seeds: 100, failures: [] })
  },
  SWARM_MS_MAX,
)
