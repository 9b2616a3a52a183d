/** What every `Transport` must do: exchanges, their bodies, refusals and back-pressure. */
import { describe, expect, test } from '@jest/globals'
import { sleep } from '../../common/clock/clock.js'
import { CairnError } from '../../common/errors/cairn-error.js'
import { deferred } from '../../common/flow/deferred.js'
import type { IncomingRequest } from '../../common/rpc/transport.js'
import { KiB, MiB } from '../../common/units.js'
import { dataOf } from './chunk-store.suite.js'
import {
  bodyOf,
  clock,
  echo,
  receive,
  send,
  standstill,
  streamOf,
  useTransports,
  type TransportUnderTest,
} from './transport-fixture.js'

/** Some of them fit into what lies between two processes of one machine. */
const SMALL_PIECE_BYTES = 32 * KiB

export function transportBodiesSuite(name: string, open: () => TransportUnderTest): void {
  describe(`Transport: ${name}`, () => {
    const { listen, exchange } = useTransports(open)

    describe('exchanges', () => {
      test.each([0, 1, 4095, 64 * KiB, 5 * MiB + 3])('carry %i bytes both ways, asked first or not', async (sizeBytes) => {
        const { url } = await listen(echo)
        const body = dataOf(sizeBytes)
        for (const expectContinue of [false, true]) {
          const response = await send(exchange(url, { contentLength: sizeBytes, expectContinue }), body)
          expect(response).toMatchObject({ status: 200, contentLength: sizeBytes })
          expect(Buffer.from(await receive(response)).equals(body)).toBe(true)
        }
      })

      test('carry pieces of odd sizes into reads of odd sizes', async () => {
        const body = dataOf(777_777)
        const { url } = await listen(async (request) => {
          const out = new Uint8Array(body.length)
          let at = 0
          for (let size = 1; at < out.length; size = (size * 7 + 1) % 50_000) {
            at += await request.body.readInto(out.subarray(at, Math.min(at + size + 1, out.length)))
          }
          expect(await request.body.readInto(new Uint8Array(10))).toBe(0)
          return streamOf(out, 3_333)
        })
        const response = await send(exchange(url, { contentLength: body.length }), body, 9_999)
        const out = new Uint8Array(body.length)
        for (let at = 0; at < out.length;) at += await response.body.readInto(out.subarray(at, at + 12_345))
        expect(Buffer.from(out).equals(body)).toBe(true)
        expect(await response.body.readInto(new Uint8Array(1))).toBe(0)
      })

      test('bring method, path, query and headers across, names in lower case', async () => {
        const seen = deferred<IncomingRequest>()
        const { url } = await listen(async (request) => {
          seen.resolve(request)
          return { status: 206, headers: { 'X-Answer': 'as it is', 'x-latin': 'né' } }
        })
        const headers = { 'x-request-id': 'abc', 'x-cairn-chain': 'a=http://b:1,c=http://d:2' }
        const response = await exchange(`${url}/v1/a%2Fb/c?x=1&y=%C3%A9`, { method: 'GET', headers }).response
        const request = await seen.promise
        expect([request.method, request.path, [...request.query]]).toEqual([
          'GET',
          '/v1/a%2Fb/c',
          [
            ['x', '1'],
            ['y', 'é'],
          ],
        ])
        expect(request.headers).toMatchObject(headers)
        expect(request.contentLength).toBe(0)
        expect(response.status).toBe(206)
        expect(response.headers).toMatchObject({ 'x-answer': 'as it is', 'x-latin': 'né' })
      })

      test('a HEAD has an answer without a body, and its body is let go of', async () => {
        let discarded = 0
        const { url } = await listen(async () => ({
          status: 200,
          headers: { 'x-size': '1000' },
          body: {
            contentLength: 1000,
            produce: async () => {
              throw new Error('not asked for')
            },
            discard: async () => void (discarded += 1),
          },
        }))
        for (let round = 0; round < 3; round += 1) {
          const response = await exchange(url, { method: 'HEAD' }).response
          expect([response.status, response.contentLength, response.headers['x-size']]).toEqual([200, 0, '1000'])
          expect(await response.body.readInto(new Uint8Array(10))).toBe(0)
        }
        expect(discarded).toBe(3)
      })

      test('a handler that throws is answered for, and the next exchange is served', async () => {
        const { url } = await listen(async (request) => {
          if (request.path === '/typed') throw new CairnError('FENCED', 'No master.')
          if (request.path === '/bug') throw new TypeError('oops')
          return { status: 200 }
        })
        const codes: unknown[] = []
        for (const path of ['/typed', '/bug']) {
          const response = await exchange(url + path).response
          codes.push(response.status, JSON.parse(new TextDecoder().decode(await receive(response))).error.code)
        }
        expect(codes).toEqual([503, 'FENCED', 500, 'INTERNAL'])
        expect((await exchange(url).response).status).toBe(200)
      })

      test('a refusal before the go-ahead: not a byte of the body is taken', async () => {
        const { url } = await listen(async () => {
          throw new CairnError('DISK_FULL', 'No room.')
        })
        const refused = exchange(url, { contentLength: MiB, expectContinue: true })
        await refused.ready
        expect(refused.answered).toBe(true)
        await refused.write(new Uint8Array(MiB))
        const response = await refused.response
        expect(response.status).toBe(507)
        expect(new TextDecoder().decode(await receive(response))).toContain('DISK_FULL')
      })

      test('a refusal in the middle of the body stops the sender, and the answer is whole', async () => {
        const answer = dataOf(100 * KiB)
        const { url } = await listen(async (request) => {
          await request.body.readInto(new Uint8Array(MiB))
          return { status: 507, body: answer }
        })
        for (let round = 0; round < 3; round += 1) {
          const refused = exchange(url, { contentLength: 512 * MiB })
          let sentBytes = 0
          const piece = new Uint8Array(MiB)
          while (!refused.answered && sentBytes < 512 * MiB) {
            await refused.write(piece)
            sentBytes += piece.length
          }
          expect(sentBytes).toBeLessThan(512 * MiB)
          const response = await refused.response
          expect(response.status).toBe(507)
          expect(Buffer.from(await receive(response)).equals(answer)).toBe(true)
        }
      })

      test('the go-ahead comes when the handler says so, or when it reads', async () => {
        const decide = deferred<void>()
        const { url } = await listen(async (request) => {
          await decide.promise
          if (request.path === '/says') request.interim(100)
          return echo(request)
        })
        const exchanges = ['/says', '/reads'].map((path) => exchange(url + path, { contentLength: 3, expectContinue: true }))
        let ready = 0
        for (const one of exchanges) void one.ready.then(() => (ready += 1))
        await sleep(clock, 30)
        expect(ready).toBe(0)
        decide.resolve()
        for (const one of exchanges) {
          await one.ready
          expect(one.answered).toBe(false)
          expect([...(await receive(await send(one, new Uint8Array([1, 2, 3]))))]).toEqual([1, 2, 3])
        }
      })

      test('a writer is held back by a reader that does not read', async () => {
        const goOn = deferred<void>()
        const total = 64 * MiB
        const { url } = await listen(async (request) => {
          await goOn.promise
          const scratch = new Uint8Array(MiB)
          let read = 0
          for (let count = 1; count > 0; read += count) count = await request.body.readInto(scratch)
          return { status: read === total ? 200 : 500 }
        })
        const upload = exchange(url, { contentLength: total })
        const piece = new Uint8Array(SMALL_PIECE_BYTES)
        let sentBytes = 0
        const sending = (async () => {
          for (; sentBytes < total; sentBytes += piece.length) await upload.write(piece)
        })()
        const settled = await standstill(() => sentBytes)
        expect(settled).toBeLessThan(24 * MiB)
        goOn.resolve()
        await sending
        expect((await upload.response).status).toBe(200)
      })

      test('an answer is held back by a client that does not read it', async () => {
        const total = 64 * MiB
        let sentBytes = 0
        const piece = new Uint8Array(SMALL_PIECE_BYTES)
        const { url } = await listen(async () =>
          bodyOf(total, async (sink) => {
            for (; sentBytes < total; sentBytes += piece.length) await sink.write(piece)
          }),
        )
        const response = await exchange(url, { method: 'GET', stallTimeoutMs: 100 }).response
        expect(await standstill(() => sentBytes)).toBeLessThan(24 * MiB)
        // The slowness was ours: it does not count as a stall of theirs.
        expect((await receive(response)).length).toBe(total)
      })
    })
  })
}
