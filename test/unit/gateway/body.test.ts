import type { ServerResponse } from 'node:http'
import { EventEmitter } from 'node:events'
import { PassThrough } from 'node:stream'
import { describe, expect, test } from '@jest/globals'
import { abortOnDisconnect, bodyOf } from '../../../gateway/body.js'
import { VirtualClock } from '../../../common/clock/virtual-clock.js'

async function collect(body: AsyncIterable<Uint8Array>): Promise<string> {
  const pieces: Uint8Array[] = []
  for await (const piece of body) pieces.push(piece)
  return Buffer.concat(pieces).toString()
}

describe('the body of a request', () => {
  test('is what was sent', async () => {
    const stream = new PassThrough()
    stream.write('one ')
    stream.end('two')
    expect(await collect(bodyOf(stream, new VirtualClock()))).toBe('one two')
  })

  test('a sender that is silent for a minute is given up; one that trickles is not', async () => {
    const clock = new VirtualClock()
    const stream = new PassThrough()
    const outcome = collect(bodyOf(stream, clock)).catch((error: unknown) => error)
    for (let piece = 0; piece < 5; piece += 1) {
      await clock.advance(59_000)
      stream.write('x')
    }
    await clock.advance(59_000)
    expect(stream.destroyed).toBe(false)
    await clock.advance(2_000)
    expect(await outcome).toMatchObject({ code: 'TIMEOUT' })
    expect(stream.destroyed).toBe(true)
  })

  test('the time our own side takes is not held against the sender', async () => {
    const clock = new VirtualClock()
    const stream = new PassThrough()
    stream.write('x')
    const body = bodyOf(stream, clock)
    expect((await body.next()).done).toBe(false)
    await clock.advance(600_000)
    stream.end('y')
    expect(Buffer.from((await body.next()).value as Uint8Array).toString()).toBe('y')
    expect((await body.next()).done).toBe(true)
  })

  test.each([
    ['an error of its socket', Object.assign(new Error('aborted'), { code: 'ECONNRESET' })],
    ['nothing more', undefined],
  ])('a sender that breaks off with %s is no end of the body', async (_what, error) => {
    const stream = new PassThrough()
    const outcome = collect(bodyOf(stream, new VirtualClock())).catch((thrown: unknown) => thrown)
    stream.write('half')
    await new Promise((resolve) => setImmediate(resolve))
    stream.destroy(error)
    expect(await outcome).toMatchObject({ code: 'CONNECTION_FAILED' })
  })

  test('a reader that leaves early keeps the connection for the answer', async () => {
    const stream = new PassThrough()
    stream.write('x')
    for await (const _piece of bodyOf(stream, new VirtualClock())) break
    expect(stream.destroyed).toBe(false)
  })
})

test('only a connection that closes before the answer is out aborts the work', () => {
  for (const writableFinished of [true, false]) {
    const response = Object.assign(new EventEmitter(), { writableFinished }) as unknown as ServerResponse
    const signal = abortOnDisconnect(response)
    expect(signal.aborted).toBe(false)
    response.emit('close')
    expect(signal.aborted).toBe(!writableFinished)
    if (signal.aborted) expect(signal.reason).toMatchObject({ code: 'ABORTED' })
  }
})
