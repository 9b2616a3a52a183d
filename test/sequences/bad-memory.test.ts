/** A client whose memory flips bits reports good copies as bad: its word condemns nothing. */
import { expect, test } from '@jest/globals'
import { KiB, MiB, MINUTE_MS, SECOND_MS } from '../../common/units.js'
import { ReplicaState } from '../../master/store/schema.js'
import { CairnClient } from '../../client/index.js'
import { encodeLeafSums } from '../../common/checksum/tree.js'
import { xxh64 } from '../../common/checksum/xxh64.js'
import { silentLogger } from '../../common/observe/logger.js'
import { SeededRandom } from '../../common/random/seeded-random.js'
import type { ByteReader, Exchange, ExchangeRequest, StreamResponse, Transport } from '../../common/rpc/transport.js'
import { DATA, leafSumsOf, OneFile } from './one-file.js'

test('a client with bad memory that reports every good copy as corrupt, again and again, costs no copy', async () => {
  await using file = await OneFile.start({ seed: 901, chunkservers: 4 })
  const { cluster, chunkId } = file
  const before = file.holders()
  for (let round = 0; round < 20; round += 1) {
    for (const index of before) {
      for (const code of ['CHECKSUM_MISMATCH', 'CHUNK_CORRUPT', 'CHUNK_NOT_FOUND'] as const) {
        const report = { params: { chunkId }, body: { serverId: file.serverId(index), code } }
        await cluster.run(cluster.client.api.call('reportBadReplica', report))
      }
    }
    await cluster.clock.advance(500)
  }
  await cluster.clock.advance(10 * SECOND_MS)
  expect(file.holders()).toEqual(before)
  expect([...(await file.states()).values()]).toEqual([ReplicaState.good, ReplicaState.good, ReplicaState.good])
  expect((await cluster.status()).chunks).toMatchObject({ total: 1, healthy: 1 })
  await file.expectWhole()
})

test('its word about a copy that is bad has the server look, and the copy is rebuilt long before a scrub would find it', async () => {
  await using file = await OneFile.start({ seed: 902, chunkservers: 3 })
  const { cluster, chunkId } = file
  const { disk, running } = file.server(1)
  disk.corrupt(running?.store.locate(chunkId)?.file ?? '', (content) => (content[3 * KiB] = (content[3 * KiB] ?? 0) ^ 1))
  const report = { params: { chunkId }, body: { serverId: file.serverId(1), code: 'CHECKSUM_MISMATCH' } } as const
  await cluster.run(cluster.client.api.call('reportBadReplica', report))
  await cluster.clock.until(() => !file.holders().includes(1), 10 * SECOND_MS)
  await cluster.clock.until(() => file.holders().includes(1), MINUTE_MS)
  await file.expectWhole()
})

/** A way to the chunkservers on which answers change: `change` gets each answer whole. */
function changing(transport: Transport, change: (answer: Uint8Array, url: string) => void): Transport {
  const wrapBody = (body: ByteReader, length: number, url: string): ByteReader => {
    let whole: Uint8Array | undefined
    let position = 0
    return {
      readInto: async (target) => {
        if (!whole) {
          whole = new Uint8Array(length)
          await body.readInto(whole)
          change(whole, url)
        }
        const piece = whole.subarray(position, position + target.length)
        target.set(piece)
        position += piece.length
        return piece.length
      },
    }
  }
  const exchange = (request: ExchangeRequest): Exchange => {
    const real = transport.exchange(request)
    if (request.method !== 'GET') return real
    const response = real.response.then((one): StreamResponse => ({
      ...one,
      body: one.status === 200 ? wrapBody(one.body, one.contentLength, request.url) : one.body,
    }))
    response.catch(() => undefined)
    return {
      ready: real.ready,
      response,
      answered: false,
      write: (bytes) => real.write(bytes),
      destroy: (why) => real.destroy(why),
    }
  }
  return {
    exchange,
    call: (request) => transport.call(request),
    listen: (options, handler) => transport.listen(options, handler),
    close: () => transport.close(),
  }
}

async function readThrough(file: OneFile, change: (answer: Uint8Array, url: string) => void): Promise<Uint8Array> {
  const { cluster } = file
  const client = new CairnClient(
    {
      clock: cluster.clock,
      random: new SeededRandom(4),
      log: silentLogger,
      transport: changing(cluster.network.transport('client'), change),
      disk: cluster.clientDisk,
      owner: { name: 'test', isGone: () => undefined },
    },
    { masters: ['http://master:1'], token: 'simulated-token', budgetBytes: 32 * MiB },
  )
  return cluster.run(
    (async () => {
      const out: Uint8Array[] = []
      for await (const piece of client.download(await client.stat(file.path))) out.push(piece.slice())
      return Buffer.concat(out)
    })(),
  )
}

test('a bit that flips on the way from one server is never handed out: the leaf comes from another', async () => {
  await using file = await OneFile.start({ seed: 903, chunkservers: 3 })
  let first: string | undefined
  const got = await readThrough(file, (answer, url) => {
    first ??= url
    if (url === first) answer[5000] = (answer[5000] ?? 0) ^ 8
  })
  expect(first).toBeDefined()
  expect(xxh64(got)).toBe(xxh64(DATA))
})

test('other bytes with sums that fit them are never handed out: the sums are held against the manifest', async () => {
  await using file = await OneFile.start({ seed: 904, chunkservers: 3 })
  const other = new SeededRandom(12).bytes(DATA.length)
  const sums = encodeLeafSums(leafSumsOf(other))
  let first: string | undefined
  const got = await readThrough(file, (answer, url) => {
    first ??= url
    if (url !== first) return
    answer.set(sums)
    answer.set(other, sums.length)
  })
  expect(xxh64(got)).toBe(xxh64(DATA))
})
