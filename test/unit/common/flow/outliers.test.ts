import { expect, test } from '@jest/globals'
import { slowOnes } from '../../../../common/flow/outliers.js'

const slowOf = (latencies: readonly (number | undefined)[]): number[] =>
  [...slowOnes([...latencies.keys()], (index) => latencies[index])].sort()

test.each([
  ['one far above the rest is slow', [1, 2, 200, 3], [2]],
  ['of two the faster one is the measure', [200, 1], [0]],
  ['where all are slow none is', [200, 210, 300], []],
  ['a minority of slow ones is found', [10, 10, 10, 400, 500], [3, 4]],
  ['a few milliseconds are never slow', [0, 0, 49], []],
  ['what is not known is not slow', [undefined, 1, 1], []],
  ['nothing at all', [], []],
  ['one alone has nothing to be measured by', [5000], []],
])('%s', (_what, latencies, slow) => {
  expect(slowOf(latencies)).toEqual(slow)
})
