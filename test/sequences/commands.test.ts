/** What a chunkserver makes of orders: of a master that knows less than it has seen, late ones, those for an earlier life. */
import { beforeEach, afterEach, expect, test } from '@jest/globals'
import { Chunkserver } from '../../chunkserver/index.js'
import { sealCapability } from '../../common/auth/capability.js'
import { encodeLeafSums } from '../../common/checksum/tree.js'
import { xxh64 } from '../../common/checksum/xxh64.js'
import { sleep } from '../../common/clock/clock.js'
import { VirtualClock } from '../../common/clock/virtual-clock.js'
import { MemoryDisk } from '../../common/disk/memory-disk.js'
import { newId, type ChunkId } from '../../common/ids.js'
import { silentLogger } from '../../common/observe/logger.js'
import type { Command, HeartbeatBody, MetadataPosition } from '../../common/protocol/cluster.js'
import { CHUNKS_PATH, encodePuts } from '../../common/protocol/small-chunks.js'
import { SeededRandom } from '../../common/random/seeded-random.js'
import { MemoryNetwork } from '../../common/rpc/memory-network.js'
import { readAll } from '../../common/rpc/byte-pipe.js'
import { MINUTE_MS, SECOND_MS } from '../../common/units.js'
import { dataOf, newChunk, put } from '../contract/chunk-store.suite.js'
import { delivered, lost, sendChunk } from './one-file.js'

const KEY = { keyId: 'k', secret: 'ab'.repeat(32) }
const SERVER_ID = '5'.repeat(32)
const random = new SeededRandom(8)

let clock: VirtualClock
let network: MemoryNetwork
let disk: MemoryDisk
let server: Chunkserver
/** What the next heartbeat is answered with. */
let commands: Command[]
let metadata: MetadataPosition
let incarnation: number

/** A master that says what the test wants it to. */
async function startMaster(): Promise<void> {
  const settings = { heartbeatIntervalMs: SECOND_MS, deadAfterMs: MINUTE_MS }
  const common = () => ({ masterTimeMs: clock.now(), metadata, settings, capabilityKeys: [KEY] })
  await network.transport('master').listen({ host: 'master', port: 1 }, async (request) => {
    const body = JSON.parse(new TextDecoder().decode(await readAll(request.body, request.contentLength))) as HeartbeatBody
    const answer = request.path.endsWith('/register')
      ? { serverId: SERVER_ID, clusterId: 'c'.repeat(32), incarnation, receiptKey: KEY, ...common() }
      : request.path.endsWith('/heartbeat') && body.incarnation === incarnation
        ? { ...common(), commands: commands.splice(0) }
        : { added: 0, removed: 0 }
    return {
      status: 200,
      headers: { 'content-type': 'application/json' },
      body: new TextEncoder().encode(JSON.stringify(answer)),
    }
  })
}

async function run<T>(work: Promise<T>): Promise<T> {
  let settled = false
  const done = work.finally(() => (settled = true))
  done.catch(() => undefined)
  await clock.until(() => settled, 10 * MINUTE_MS)
  return done
}

beforeEach(async () => {
  clock = new VirtualClock()
  network = new MemoryNetwork(clock)
  commands = []
  metadata = { epoch: 3, position: 100 }
  incarnation = 4
  disk = new MemoryDisk()
  await startMaster()
  server = await run(
    Chunkserver.open({
      clock,
      random,
      log: silentLogger,
      transport: network.transport('cs'),
      disk,
      directories: ['/data'],
      listen: { host: 'cs', port: 1 },
      masters: ['http://master:1'],
      token: undefined,
      zone: '',
      rack: '',
      host: 'cs',
    }),
  )
})

afterEach(async () => {
  network.fate = () => delivered
  await run(server.close())
})

async function storedChunk(): Promise<ChunkId> {
  const chunk = newChunk(1000)
  await run(put(server.store, chunk, dataOf(1000)))
  await clock.advance(2 * SECOND_MS)
  return chunk.chunkId
}

const deletion = (chunkId: ChunkId, changes: Partial<Extract<Command, { kind: 'delete' }>> = {}): Command => ({
  kind: 'delete',
  chunkIds: [chunkId],
  incarnation,
  metadata,
  expiresMs: clock.now() + MINUTE_MS,
  ...changes,
})

test('a delete command in order moves the copy to quarantine', async () => {
  const chunkId = await storedChunk()
  commands.push(deletion(chunkId))
  await clock.advance(3 * SECOND_MS)
  expect(server.store.find(chunkId)).toBeUndefined()
})

test('a delete command for an earlier life of the server is void', async () => {
  const chunkId = await storedChunk()
  commands.push(deletion(chunkId, { incarnation: incarnation - 1 }))
  await clock.advance(3 * SECOND_MS)
  expect(server.store.find(chunkId)).toBeDefined()
})

test("a delete command that has expired by the master's clock is void", async () => {
  const chunkId = await storedChunk()
  commands.push(deletion(chunkId, { expiresMs: clock.now() - 1 }))
  await clock.advance(3 * SECOND_MS)
  expect(server.store.find(chunkId)).toBeDefined()
})

test('a delete command that expires while its list is worked off goes no further', async () => {
  const chunkIds = [await storedChunk(), await storedChunk(), await storedChunk()]
  // Each takes four seconds, the command lives for six.
  disk.fault = (operation) => (operation === 'rename' ? sleep(clock, 4 * SECOND_MS) : undefined)
  commands.push({ ...deletion(chunkIds[0] as ChunkId), chunkIds, expiresMs: clock.now() + 6 * SECOND_MS } as Command)
  await clock.advance(MINUTE_MS)
  expect(chunkIds.filter((chunkId) => server.store.find(chunkId))).toEqual(chunkIds.slice(2))
})

test.each([
  ['an earlier position', { epoch: 3, position: 99 }],
  ['an earlier epoch', { epoch: 2, position: 5_000 }],
])('a delete command of a master at %s than has been seen is void', async (_what, behind) => {
  const chunkId = await storedChunk()
  metadata = behind
  commands.push(deletion(chunkId))
  await clock.advance(3 * SECOND_MS)
  expect(server.store.find(chunkId)).toBeDefined()
})

const capabilityFor = (chunkId: ChunkId, lengthBytes: number): string =>
  sealCapability(KEY, {
    kind: 'write',
    chunkId,
    uploadId: newId(random),
    chunkIndex: 0,
    lengthBytes,
    targets: [[SERVER_ID as never, incarnation]],
    metadataEpoch: 3,
    expiresMs: clock.now() + 60 * MINUTE_MS,
  })

const send = (chunkId: ChunkId, data: Uint8Array): Promise<unknown> =>
  run(sendChunk(network.transport('client'), { chunkId, capability: capabilityFor(chunkId, data.length) }, ['http://cs:1'], data))

test('a server that has not reached a master for half the dead time takes no writes, and takes them again once it has', async () => {
  const data = dataOf(1000)
  network.fate = (from, to) => (from === 'master' || to === 'master' ? lost : delivered)
  await clock.advance(20 * SECOND_MS)
  await send(newChunk(1000).chunkId, data)
  await clock.advance(15 * SECOND_MS)
  await expect(send(newChunk(1000).chunkId, data)).rejects.toThrow('FENCED')
  network.fate = () => delivered
  await clock.advance(15 * SECOND_MS)
  await send(newChunk(1000).chunkId, data)
})

test('a write that began in time and ends after the server has lost its master is not acknowledged', async () => {
  network.fate = (from, to) => (from === 'master' || to === 'master' ? lost : delivered)
  await clock.advance(25 * SECOND_MS)
  // The request is taken; its answer depends on how things stand at the end.
  const chunk = newChunk(1000)
  const create = server.store.create.bind(server.store)
  server.store.create = async (asked) => {
    await clock.advance(10 * SECOND_MS)
    return create(asked)
  }
  await expect(send(chunk.chunkId, dataOf(1000))).rejects.toThrow('FENCED')
})

/** Sends one chunk as several small ones are sent. @returns the codes that the chunks, or all of it, were refused with */
async function sendTogether(chunkId: ChunkId, data: Uint8Array): Promise<(string | undefined)[]> {
  const leafSum = encodeLeafSums(BigUint64Array.of(xxh64(data)))
  const capability = capabilityFor(chunkId, data.length)
  const body = encodePuts([{ chunkId, lengthBytes: data.length, capability, data, leafSum }])
  const call = network.transport('client').call({ method: 'POST', url: `http://cs:1${CHUNKS_PATH}`, body, timeoutMs: MINUTE_MS })
  type Refusal = { readonly error?: { readonly code: string } }
  const answer = JSON.parse(new TextDecoder().decode((await run(call)).body)) as Refusal & { readonly chunks?: Refusal[] }
  return (answer.chunks ?? [answer]).map(({ error }) => error?.code)
}

test('small chunks in one request are not taken by a server that has lost its master, nor acknowledged if it has lost it meanwhile', async () => {
  network.fate = (from, to) => (from === 'master' || to === 'master' ? lost : delivered)
  await clock.advance(25 * SECOND_MS)
  const create = server.store.create.bind(server.store)
  server.store.create = async (asked) => {
    await clock.advance(10 * SECOND_MS)
    return create(asked)
  }
  expect(await sendTogether(newChunk(1000).chunkId, dataOf(1000))).toEqual(['FENCED'])
  server.store.create = create
  const refused = newChunk(1000)
  expect(await sendTogether(refused.chunkId, dataOf(1000))).toEqual(['FENCED'])
  expect(server.store.find(refused.chunkId)).toBeUndefined()
  network.fate = () => delivered
  await clock.advance(15 * SECOND_MS)
  expect(await sendTogether(newChunk(1000).chunkId, dataOf(1000))).toEqual([undefined])
})
