/** What every `Transport` must do: listening and calls. Run on each implementation by transport.test.ts, as are its other parts. */
import { describe, expect, test, beforeEach } from '@jest/globals'
import { z } from 'zod'
import { sleep } from '../../common/clock/clock.js'
import { CairnError } from '../../common/errors/cairn-error.js'
import { deferred } from '../../common/flow/deferred.js'
import type { RequestId } from '../../common/ids.js'
import { silentLogger } from '../../common/observe/logger.js'
import { endpoint } from '../../common/protocol/endpoint.js'
import { SystemRandom } from '../../common/random/system-random.js'
import { callEndpoint } from '../../common/rpc/endpoint-client.js'
import { bindRoutes, routeHandler } from '../../common/rpc/routes.js'
import type { IncomingRequest, Listener } from '../../common/rpc/transport.js'
import { MiB } from '../../common/units.js'
import { dataOf } from './chunk-store.suite.js'
import {
  bodyOf,
  clock,
  echo,
  failsWith,
  PATIENT_MS,
  receive,
  until,
  useTransports,
  type TransportUnderTest,
} from './transport-fixture.js'

const portOf = (listener: Listener): number => Number(listener.url.slice(listener.url.lastIndexOf(':') + 1))

export function transportSuite(name: string, open: () => TransportUnderTest): void {
  describe(`Transport: ${name}`, () => {
    const { client, listen, exchange } = useTransports(open)

    describe('listening', () => {
      test('two listeners have addresses of their own, and one address is had by one', async () => {
        const first = await listen(async () => ({ status: 201 }))
        const second = await listen(async () => ({ status: 202 }))
        expect(first.url).toMatch(/^http:\/\/[^/]+:\d+$/)
        expect((await exchange(first.url).response).status).toBe(201)
        expect((await exchange(second.url).response).status).toBe(202)
        await expect(listen(echo, portOf(first))).rejects.toEqual(failsWith('PORT_IN_USE'))
      })

      test('a closed address refuses, and can be had again', async () => {
        const listener = await listen(async () => ({ status: 201 }))
        await listener.close()
        await expect(exchange(listener.url).response).rejects.toEqual(failsWith('CONNECTION_FAILED'))
        await expect(client().call({ method: 'GET', url: listener.url, timeoutMs: PATIENT_MS })).rejects.toEqual(
          failsWith('CONNECTION_FAILED'),
        )
        await listen(async () => ({ status: 204 }), portOf(listener))
        expect((await exchange(listener.url).response).status).toBe(204)
      })

      test('closing cuts what is in flight once the grace is over, and both sides see it', async () => {
        const arrived = deferred<IncomingRequest>()
        const listener = await listen(async (request) => {
          arrived.resolve(request)
          return new Promise<never>(() => undefined)
        })
        const stuck = exchange(`${listener.url}/stuck`)
        const { signal } = await arrived.promise
        await listener.close(20)
        await expect(stuck.response).rejects.toEqual(failsWith('CONNECTION_FAILED'))
        await until('the handler hears of it', () => signal.aborted)
      })

      test('closing waits for what is in flight, and no longer than for that', async () => {
        const arrived = deferred<void>()
        const finish = deferred<void>()
        const listener = await listen(async () => {
          arrived.resolve()
          await finish.promise
          return { status: 200, body: new Uint8Array([1, 2, 3]) }
        })
        const slow = exchange(listener.url)
        await arrived.promise
        const closed = listener.close(PATIENT_MS * 10)
        finish.resolve()
        expect([...(await receive(await slow.response))]).toEqual([1, 2, 3])
        await closed
      })

      test('closing in the middle of a streamed answer waits for its end, and no longer', async () => {
        const halfway = deferred<void>()
        const goOn = deferred<void>()
        const data = dataOf(2 * MiB)
        const listener = await listen(async () =>
          bodyOf(data.length, async (sink) => {
            await sink.write(data.subarray(0, MiB))
            halfway.resolve()
            await goOn.promise
            await sink.write(data.subarray(MiB))
          }),
        )
        const slow = receive(await exchange(listener.url).response)
        await halfway.promise
        const closed = listener.close(PATIENT_MS * 10)
        goOn.resolve()
        expect(Buffer.from(await slow).equals(data)).toBe(true)
        await closed
      })
    })

    describe('calls', () => {
      const table = {
        double: endpoint({
          name: 'double',
          method: 'POST',
          path: '/v1/double/:word/*rest',
          scope: 'none',
          summary: '',
          tag: 'test',
          params: z.object({ word: z.string(), rest: z.string() }),
          query: z.object({ flag: z.string().optional() }),
          body: z.object({ number: z.number() }),
          result: z.object({ number: z.number(), word: z.string(), rest: z.string(), flag: z.string().optional() }),
        }),
      }
      let url: string
      let seenRequestIds: string[]

      beforeEach(async () => {
        seenRequestIds = []
        const routes = bindRoutes(table, {
          double: async ({ params, query, body }, context) => {
            seenRequestIds.push(context.requestId)
            if (body.number === 13) throw new CairnError('DISK_FULL', 'No room for 13.', { data: { freeBytes: 12 } })
            if (body.number === 14) throw new Error('an accident')
            return { number: body.number * 2, word: params.word, rest: params.rest, flag: query.flag }
          },
        })
        const handler = routeHandler(routes, {
          random: new SystemRandom(),
          log: silentLogger,
          authenticate: async () => ({ name: 'x', scopes: new Set() }),
          monotonic: () => clock.monotonic(),
        })
        url = (await listen(handler)).url
      })

      const double = (number: number, requestId = 'request-1') =>
        callEndpoint(client(), url, table.double, {
          params: { word: 'a/b é?', rest: 'x/y z/%41' },
          query: { flag: 'ü&=#+' },
          body: { number },
          requestId: requestId as RequestId,
          token: 'secret',
          timeoutMs: PATIENT_MS,
        })

      test('carry JSON, parameters and query there and back, and the request id with them', async () => {
        expect(await double(21)).toEqual({ number: 42, word: 'a/b é?', rest: 'x/y z/%41', flag: 'ü&=#+' })
        expect(seenRequestIds).toEqual(['request-1'])
      })

      test('bring an error across as what it is: code, message, data, request id, what to do about it', async () => {
        const error = await double(13, 'request-13').catch((caught: unknown) => caught)
        expect(error).toBeInstanceOf(CairnError)
        expect(error).toMatchObject({
          code: 'DISK_FULL',
          message: 'No room for 13.',
          data: { freeBytes: 12 },
          requestId: 'request-13',
          retryable: true,
          action: 'reallocate',
        })
      })

      test('answer an accident with INTERNAL and the request id', async () => {
        await expect(double(14, 'request-14')).rejects.toMatchObject({ code: 'INTERNAL', requestId: 'request-14' })
      })

      test('answer an unknown route and a body that is no JSON with errors that say so', async () => {
        const call = (path: string, body: string) =>
          client().call({ method: 'POST', url: url + path, body: new TextEncoder().encode(body), timeoutMs: PATIENT_MS })
        const codeOf = (body: Uint8Array): unknown => JSON.parse(new TextDecoder().decode(body)).error.code
        const unknown = await call('/v1/nowhere', '')
        expect([unknown.status, codeOf(unknown.body)]).toEqual([404, 'ROUTE_NOT_FOUND'])
        const garbled = await call('/v1/double/a/b', '{"number":')
        expect([garbled.status, codeOf(garbled.body)]).toEqual([400, 'INVALID_ARGUMENT'])
        const echoed = await call('/v1/double/a/b', '{"number":1}')
        expect(echoed.headers['x-request-id']).toMatch(/^[0-9a-f]{32}$/)
      })

      test('hundreds at once each get their own answer', async () => {
        const answers = await Promise.all(Array.from({ length: 300 }, (_, index) => double(index + 20)))
        expect(answers.map((answer) => answer.number)).toEqual(Array.from({ length: 300 }, (_, index) => (index + 20) * 2))
      })

      test('of 5 MiB both ways arrive whole', async () => {
        const echoUrl = (await listen(echo)).url
        const body = dataOf(5 * MiB + 3)
        const answer = await client().call({ method: 'POST', url: echoUrl, body, timeoutMs: PATIENT_MS })
        expect(Buffer.from(answer.body).equals(body)).toBe(true)
      })

      test('time out as a whole, also when the answer has begun and also when bytes keep trickling', async () => {
        const silent = await listen(() => new Promise<never>(() => undefined))
        const trickle = await listen(async (request) =>
          bodyOf(MiB, async (sink) => {
            for (let at = 0; at < MiB && !stopped; at += 1) {
              await sink.write(new Uint8Array(1))
              await sleep(clock, 10)
              if (request.signal.aborted) break
            }
          }),
        )
        let stopped = false
        for (const { url: target } of [silent, trickle]) {
          await expect(client().call({ method: 'GET', url: target, timeoutMs: 80 })).rejects.toEqual(failsWith('TIMEOUT'))
        }
        stopped = true
      })

      test('reject with the reason of an abort, beforehand and under way', async () => {
        const arrived = deferred<AbortSignal>()
        const silent = await listen((request) => {
          arrived.resolve(request.signal)
          return new Promise<never>(() => undefined)
        })
        const abort = new AbortController()
        const reason = new Error('changed my mind')
        const call = client().call({ method: 'GET', url: silent.url, timeoutMs: PATIENT_MS, signal: abort.signal })
        const caught = call.catch((error: unknown) => error)
        const serverSide = await arrived.promise
        abort.abort(reason)
        expect(await caught).toBe(reason)
        await until('the server hears of it', () => serverSide.aborted)
        const again = client().call({ method: 'GET', url: silent.url, timeoutMs: PATIENT_MS, signal: abort.signal })
        await expect(again).rejects.toBe(reason)
      })
    })
  })
}
