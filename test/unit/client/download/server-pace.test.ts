import { expect, test } from '@jest/globals'
import { ServerPace } from '../../../../client/download/server-pace.js'
import { newId, type ServerId } from '../../../../common/ids.js'
import { SeededRandom } from '../../../../common/random/seeded-random.js'

const random = new SeededRandom(1)
const [one, two, three] = [newId<ServerId>(random), newId<ServerId>(random), newId<ServerId>(random)]

test('patience is long while little is known, then a multiple of what nearly all leaves take, within bounds', () => {
  const pace = new ServerPace()
  expect(pace.patienceMs).toBe(2_000)
  for (let leaf = 0; leaf < 100; leaf += 1) pace.note(one, leaf < 98 ? 100 : 900)
  expect(pace.patienceMs).toBe(300)
  for (let leaf = 0; leaf < 300; leaf += 1) pace.note(one, 1)
  expect(pace.patienceMs).toBe(250)
  for (let leaf = 0; leaf < 300; leaf += 1) pace.note(one, 30_000)
  expect(pace.patienceMs).toBe(2_000)
})

test('a server is slow when it is far slower than the others, until it is quick again', () => {
  const pace = new ServerPace()
  for (let leaf = 0; leaf < 10; leaf += 1) for (const server of [one, two]) pace.note(server, 5)
  expect([one, two, three].map((server) => pace.isSlow(server))).toEqual([false, false, false])
  pace.note(three, 400)
  expect([one, two, three].map((server) => pace.isSlow(server))).toEqual([false, false, true])
  for (let leaf = 0; leaf < 15; leaf += 1) pace.note(three, 5)
  expect(pace.isSlow(three)).toBe(false)
})
