/** What commands end with. */
import { expect, test } from '@jest/globals'
import { TestCluster } from '../support/cluster.js'

test('what is not there ends with exit code 3, whatever it is', async () => {
  await using cluster = await TestCluster.start()
  const missing = [
    ['chunk', 'locate', '0'.repeat(32)],
    ['stat', '/b/none'],
    ['get', '/b/none', cluster.file('none')],
    ['rm', '/b/none'],
    ['mv', '/b/none', '/b/other'],
    ['undelete', '/b/none'],
    ['ls', '/nowhere'],
    ['put', cluster.file('no-such-file'), '/b/k'],
  ]
  for (const args of missing) expect([args[0], (await cluster.cli(...args)).code]).toEqual([args[0], 3])
})
