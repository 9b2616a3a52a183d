/** What every `Transport` must do: aborts, broken connections and stalls. */
import { describe, expect, test } from '@jest/globals'
import { sleep } from '../../common/clock/clock.js'
import { CairnError } from '../../common/errors/cairn-error.js'
import { deferred } from '../../common/flow/deferred.js'
import { readAll } from '../../common/rpc/byte-pipe.js'
import { KiB, MiB } from '../../common/units.js'
import { dataOf } from './chunk-store.suite.js'
import {
  bodyOf,
  clock,
  echo,
  failsWith,
  receive,
  send,
  until,
  useTransports,
  type TransportUnderTest,
} from './transport-fixture.js'

export function transportFailuresSuite(name: string, open: () => TransportUnderTest): void {
  describe(`Transport: ${name}`, () => {
    const { listen, exchange } = useTransports(open)

    describe('broken exchanges', () => {
      test('memory may be reused once a write has resolved', async () => {
        const { url } = await listen(async (request) => {
          await sleep(clock, 20)
          return echo(request)
        })
        const upload = exchange(url, { contentLength: 4 * MiB })
        const piece = new Uint8Array(64 * KiB)
        for (let index = 0; index < 64; index += 1) {
          piece.fill(index)
          await upload.write(piece)
          piece.fill(255)
        }
        const back = await receive(await upload.response)
        for (let index = 0; index < 64; index += 1) {
          expect(back.subarray(index * 64 * KiB, (index + 1) * 64 * KiB).every((byte) => byte === index)).toBe(true)
        }
      })

      test('an abort in mid-body rejects with its reason here and with a typed error there', async () => {
        const outcome = deferred<unknown>()
        const arrived = deferred<AbortSignal>()
        const { url } = await listen(async (request) => {
          arrived.resolve(request.signal)
          await request.body.readInto(new Uint8Array(MiB)).then(outcome.resolve, outcome.resolve)
          return { status: 200 }
        })
        const abort = new AbortController()
        const reason = new Error('no longer wanted')
        const upload = exchange(url, { contentLength: MiB, signal: abort.signal })
        await upload.write(new Uint8Array(1000))
        const signal = await arrived.promise
        abort.abort(reason)
        await expect(upload.response).rejects.toBe(reason)
        await expect(upload.write(new Uint8Array(1000))).rejects.toBe(reason)
        expect(await outcome.promise).toEqual(failsWith('CONNECTION_FAILED'))
        await until('the handler hears of it', () => signal.aborted)
      })

      test('an abort while the server works reaches it', async () => {
        const arrived = deferred<AbortSignal>()
        const { url } = await listen(async (request) => {
          await readAll(request.body, request.contentLength)
          arrived.resolve(request.signal)
          return new Promise<never>(() => undefined)
        })
        for (const sizeBytes of [0, 100 * KiB]) {
          const abort = new AbortController()
          const upload = exchange(url, { contentLength: sizeBytes, signal: abort.signal })
          if (sizeBytes > 0) await upload.write(new Uint8Array(sizeBytes))
          const signal = await arrived.promise
          expect(signal.aborted).toBe(sizeBytes > 0)
          abort.abort(new Error('gone'))
          await until('the server hears of it', () => signal.aborted)
        }
      })

      test('a client that leaves in the middle of an answer fails the one who produces it', async () => {
        const outcome = deferred<unknown>()
        const { url } = await listen(async () =>
          bodyOf(512 * MiB, async (sink) => {
            try {
              for (;;) await sink.write(new Uint8Array(MiB))
            } catch (error) {
              outcome.resolve(error)
              throw error
            }
          }),
        )
        const download = exchange(url, { method: 'GET' })
        const { body } = await download.response
        await body.readInto(new Uint8Array(MiB))
        const reason = new CairnError('CHECKSUM_MISMATCH', 'Bad leaf.')
        download.destroy(reason)
        await expect(body.readInto(new Uint8Array(MiB))).rejects.toBe(reason)
        expect(await outcome.promise).toHaveProperty('code')
      })

      test.each([
        ['breaks off', true],
        ['says it is done too early', false],
      ])('an answer that %s fails the reader with CONNECTION_FAILED', async (_what, throws) => {
        const { url } = await listen(async () =>
          bodyOf(2 * MiB, async (sink) => {
            await sink.write(new Uint8Array(MiB))
            if (throws) throw new CairnError('CHUNK_CORRUPT', 'A leaf went bad.')
          }),
        )
        const response = await exchange(url, { method: 'GET' }).response
        const read = async (): Promise<void> => {
          for (let left = 2 * MiB; left > 0;) left -= await response.body.readInto(new Uint8Array(MiB))
        }
        await expect(read()).rejects.toEqual(failsWith('CONNECTION_FAILED'))
        expect((await exchange(url, { method: 'HEAD' }).response).status).toBe(200)
      })

      test('nobody there: ready, write and response all say CONNECTION_FAILED', async () => {
        const listener = await listen(echo)
        await listener.close()
        const upload = exchange(listener.url, { contentLength: 10 })
        await expect(upload.ready).rejects.toEqual(failsWith('CONNECTION_FAILED'))
        await expect(upload.write(new Uint8Array(10))).rejects.toEqual(failsWith('CONNECTION_FAILED'))
        await expect(upload.response).rejects.toEqual(failsWith('CONNECTION_FAILED'))
      })

      test('an abort beforehand sends nothing', async () => {
        let served = 0
        const { url } = await listen(async () => {
          served += 1
          return { status: 200 }
        })
        const reason = new Error('too late')
        const never = exchange(url, { contentLength: 10, signal: AbortSignal.abort(reason) })
        await expect(never.ready).rejects.toBe(reason)
        await expect(never.write(new Uint8Array(10))).rejects.toBe(reason)
        await expect(never.response).rejects.toBe(reason)
        await sleep(clock, 20)
        expect(served).toBe(0)
      })

      test('many exchanges at once, some of which fail, disturb no other', async () => {
        const { url } = await listen(async (request) => {
          if (request.path.endsWith('/3')) throw new CairnError('BUSY', 'Later.')
          return echo(request)
        })
        const body = dataOf(300 * KiB)
        const outcomes = await Promise.all(
          Array.from({ length: 60 }, async (_, index) => {
            const one = exchange(`${url}/${index % 6}`, { contentLength: body.length, expectContinue: index % 2 === 0 })
            if (index % 6 === 4) return (one.destroy(new CairnError('ABORTED', 'x')), 'destroyed')
            const response = await send(one, body, 64 * KiB)
            const back = await receive(response)
            return response.status === 200 ? Buffer.from(back).equals(body) : response.status
          }),
        )
        const expected = Array.from({ length: 60 }, (_, index) => (index % 6 === 3 ? 503 : index % 6 === 4 ? 'destroyed' : true))
        expect(outcomes).toEqual(expected)
      })
    })

    describe('stalls', () => {
      const STALL_MS = 150

      test('a server that never answers costs TIMEOUT, with and without a body', async () => {
        const { url } = await listen(() => new Promise<never>(() => undefined))
        const asked = exchange(url, { method: 'GET', stallTimeoutMs: STALL_MS })
        await expect(asked.response).rejects.toEqual(failsWith('TIMEOUT'))
        const waiting = exchange(url, { contentLength: 10, expectContinue: true, stallTimeoutMs: STALL_MS })
        await expect(waiting.ready).rejects.toEqual(failsWith('TIMEOUT'))
      })

      test('a server that stops taking the body costs TIMEOUT', async () => {
        const { url } = await listen(() => new Promise<never>(() => undefined))
        const upload = exchange(url, { contentLength: 512 * MiB, stallTimeoutMs: STALL_MS })
        const sending = (async () => {
          for (;;) await upload.write(new Uint8Array(MiB))
        })()
        await expect(sending).rejects.toEqual(failsWith('TIMEOUT'))
      })

      test('an answer that stops in the middle costs TIMEOUT', async () => {
        const { url } = await listen(async () =>
          bodyOf(2 * MiB, async (sink) => {
            await sink.write(new Uint8Array(MiB))
            await new Promise<never>(() => undefined)
          }),
        )
        const response = await exchange(url, { method: 'GET', stallTimeoutMs: STALL_MS }).response
        await response.body.readInto(new Uint8Array(MiB))
        await expect(response.body.readInto(new Uint8Array(MiB))).rejects.toEqual(failsWith('TIMEOUT'))
      })

      test('signs of life keep a slow server from being taken for a dead one', async () => {
        const { url } = await listen(async (request) => {
          for (let tick = 0; tick < 12; tick += 1) {
            await sleep(clock, STALL_MS / 4)
            request.interim(102)
          }
          return { status: 200, body: new Uint8Array([7]) }
        })
        const response = await exchange(url, { method: 'GET', stallTimeoutMs: STALL_MS }).response
        expect([...(await receive(response))]).toEqual([7])
      })

      test('a slow sender blames itself, not the server, before its first byte and between later ones', async () => {
        const { url } = await listen(echo)
        for (const expectContinue of [false, true]) {
          const upload = exchange(url, { contentLength: 3, expectContinue, stallTimeoutMs: STALL_MS })
          await upload.ready
          for (const byte of [1, 2, 3]) {
            await sleep(clock, STALL_MS * 2)
            await upload.write(new Uint8Array([byte]))
          }
          expect([...(await receive(await upload.response))]).toEqual([1, 2, 3])
        }
      })

      test('a slow but steady answer is no stall', async () => {
        const { url } = await listen(async () =>
          bodyOf(12, async (sink) => {
            for (let count = 0; count < 12; count += 1) {
              await sleep(clock, STALL_MS / 4)
              await sink.write(new Uint8Array([count]))
            }
          }),
        )
        const response = await exchange(url, { method: 'GET', stallTimeoutMs: STALL_MS }).response
        expect((await receive(response)).length).toBe(12)
      })
    })
  })
}
