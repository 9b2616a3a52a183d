/** What the parts of the transport's contract suite share. */
import { afterEach, beforeEach, expect } from '@jest/globals'
import { sleep, type Clock } from '../../common/clock/clock.js'
import { SystemClock } from '../../common/clock/system-clock.js'
import { readAll } from '../../common/rpc/byte-pipe.js'
import type {
  Exchange,
  ExchangeRequest,
  Listener,
  OutgoingResponse,
  RequestHandler,
  StreamingBody,
  StreamResponse,
  Transport,
} from '../../common/rpc/transport.js'
import { KiB } from '../../common/units.js'

export interface TransportUnderTest {
  readonly server: Transport
  readonly client: Transport
  readonly host: string
}

export const PIECE_BYTES = 256 * KiB
/** Longer than anything here takes: where a test waits for it, it is broken. */
export const PATIENT_MS = 20_000
export const clock: Clock = new SystemClock()
export const failsWith = (code: string) => expect.objectContaining({ name: 'CairnError', code }) as unknown

/** Sends a whole body in pieces and ends with the answer. */
export async function send(exchange: Exchange, body: Uint8Array, pieceBytes = PIECE_BYTES): Promise<StreamResponse> {
  for (let at = 0; at < body.length && !exchange.answered; at += pieceBytes) {
    await exchange.write(body.subarray(at, Math.min(at + pieceBytes, body.length)))
  }
  return exchange.response
}

export async function receive(response: StreamResponse): Promise<Uint8Array> {
  return readAll(response.body, response.contentLength)
}

/** A body that is produced in pieces. */
export const streamOf = (body: Uint8Array, pieceBytes = PIECE_BYTES): OutgoingResponse => ({
  status: 200,
  body: {
    contentLength: body.length,
    produce: async (sink) => {
      for (let at = 0; at < body.length; at += pieceBytes) await sink.write(body.subarray(at, at + pieceBytes))
    },
    discard: async () => undefined,
  },
})

export const echo: RequestHandler = async (request) => streamOf(await readAll(request.body, request.contentLength))

/** Polls: the other side learns of things in its own time. */
export async function until(what: string, condition: () => boolean): Promise<void> {
  for (const deadline = clock.monotonic() + PATIENT_MS; !condition(); await sleep(clock, 2)) {
    if (clock.monotonic() > deadline) throw new Error(`never happened: ${what}`)
  }
}

/** The value once it has not changed for a while. */
export async function standstill(value: () => number): Promise<number> {
  for (let last = -1; ; last = value()) {
    await sleep(clock, 150)
    if (value() === last && last > 0) return last
  }
}

/** A body of which nothing comes, or not all, or in its own way. */
export const bodyOf = (contentLength: number, produce: StreamingBody['produce']): OutgoingResponse => ({
  status: 200,
  body: { contentLength, produce, discard: async () => undefined },
})

export interface TransportFixture {
  readonly client: () => Transport
  readonly listen: (handler: RequestHandler, port?: number) => Promise<Listener>
  readonly exchange: (url: string, options?: Partial<ExchangeRequest>) => Exchange
}

/** A fresh pair of transports for each test of the block that calls it. */
export function useTransports(open: () => TransportUnderTest): TransportFixture {
  let under: TransportUnderTest
  let listeners: Listener[]
  beforeEach(() => {
    under = open()
    listeners = []
  })
  afterEach(async () => {
    for (const listener of listeners) await listener.close()
    await under.client.close()
    await under.server.close()
  })
  return {
    client: () => under.client,
    listen: async (handler, port = 0) => {
      const listener = await under.server.listen({ host: under.host, port }, handler)
      listeners.push(listener)
      return listener
    },
    exchange: (url, options = {}) =>
      under.client.exchange({ method: 'PUT', url, contentLength: 0, stallTimeoutMs: PATIENT_MS, ...options }),
  }
}
