/** Reading a large target in one go, told of each part as it arrives: over a socket and over the simulated network. */
import { describe, expect, test } from '@jest/globals'
import { SystemClock } from '../../../../common/clock/system-clock.js'
import { SeededRandom } from '../../../../common/random/seeded-random.js'
import { HttpTransport } from '../../../../common/rpc/http/http-transport.js'
import { MemoryNetwork } from '../../../../common/rpc/memory-network.js'
import type { IncomingRequest, StreamResponse, Transport } from '../../../../common/rpc/transport.js'
import { KiB, MiB } from '../../../../common/units.js'

const LENGTH = 3 * MiB + 17
const TARGET = MiB
const data = new SeededRandom(7).bytes(LENGTH)

const makers: Record<string, () => { transport: Transport; host: string }> = {
  'real network': () => ({ transport: new HttpTransport(), host: '127.0.0.1' }),
  'simulated network': () => ({ transport: new MemoryNetwork(new SystemClock()).transport('one'), host: 'one' }),
}

interface Heard {
  readonly received: Uint8Array
  /** How much of its target each word of progress spoke of, and whether so much of it was there. */
  readonly progress: { readonly target: number; readonly filled: number; readonly there: boolean }[]
}

/** Reads a body in targets of 1 MiB. */
async function readAll({
  body,
  contentLength,
}: Pick<IncomingRequest | StreamResponse, 'body' | 'contentLength'>): Promise<Heard> {
  const received = new Uint8Array(contentLength)
  const progress: Heard['progress'] = []
  for (let at = 0; at < contentLength; at += TARGET) {
    const target = received.subarray(at, Math.min(at + TARGET, contentLength))
    await body.readInto(target, (filled) => {
      const there = Buffer.compare(target.subarray(0, filled), data.subarray(at, at + filled)) === 0
      progress.push({ target: at / TARGET, filled, there })
    })
  }
  return { received, progress }
}

describe.each(Object.keys(makers))('%s', (name) => {
  test('a request body and an answer are told of as they arrive', async () => {
    const { transport, host } = (makers[name] as () => { transport: Transport; host: string })()
    const heard: Heard[] = []
    const listener = await transport.listen({ host, port: 0 }, async (request) => {
      heard.push(await readAll(request))
      return { status: 200, body: data }
    })
    try {
      const exchange = transport.exchange({
        method: 'PUT',
        url: `${listener.url}/x`,
        contentLength: LENGTH,
        stallTimeoutMs: 10_000,
      })
      for (let at = 0; at < LENGTH; at += 100 * KiB) await exchange.write(data.subarray(at, at + 100 * KiB))
      heard.push(await readAll(await exchange.response))
    } finally {
      await listener.close()
      await transport.close()
    }
    expect(heard).toHaveLength(2)
    for (const { received, progress } of heard) {
      expect(Buffer.compare(received, data)).toBe(0)
      expect(progress.filter(({ there }) => !there)).toEqual([])
      for (let target = 0; target * TARGET < LENGTH; target += 1) {
        const filled = progress.filter((one) => one.target === target).map((one) => one.filled)
        expect(filled).toEqual([...new Set(filled)].sort((one, other) => one - other))
        expect(filled.at(-1)).toBe(Math.min(TARGET, LENGTH - target * TARGET))
      }
    }
    // Several parts per target: the point is to pass on what is there while the rest arrives.
    expect((heard[0] as Heard).progress.length).toBeGreaterThan(Math.ceil(LENGTH / TARGET))
  })
})
