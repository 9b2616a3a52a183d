/** Small files: few requests for each, and the same care. */
import { expect, test } from '@jest/globals'
import { KiB, MINUTE_MS, SECOND_MS } from '../../common/units.js'
import type { MetadataStore } from '../../master/store/metadata-store.js'
import { delivered, lost, OneFile, pieces } from './one-file.js'

const SMALL = new Uint8Array(1 * KiB).fill(7)
const put = (file: OneFile, path: string, content: Uint8Array, options: object = {}) =>
  file.cluster.client.uploadStream(pieces(content), path, { sizeBytes: SMALL.length, ...options })

/** The names of the operations that change something for a client, as they come. */
function watch(file: OneFile): string[] {
  const names: string[] = []
  const store = file.cluster.store as unknown as Record<string, (args: unknown) => Promise<unknown>>
  for (const name of ['openUpload', 'startUpload', 'allocateChunks', 'reportChunks', 'commitUpload', 'finishUpload']) {
    const operation = store[name] as (args: unknown) => Promise<unknown>
    store[name] = (args) => {
      names.push(name)
      return operation(args)
    }
  }
  return names
}

test('a file whose size is known to be small takes two operations of the master', async () => {
  await using file = await OneFile.start({ seed: 521, chunkservers: 3 })
  const names = watch(file)
  await file.cluster.run(put(file, '/b/small', SMALL))
  expect(names).toEqual(['startUpload', 'finishUpload'])
  const info = await file.cluster.run(file.cluster.client.stat('/b/small'))
  expect(info).toMatchObject({ sizeBytes: SMALL.length, generation: 1 })
  expect(await readAll(file, '/b/small')).toEqual(Buffer.from(SMALL))
})

test('a commit of a small file that is answered into the void is done once', async () => {
  await using file = await OneFile.start({ seed: 522, chunkservers: 3 })
  const { cluster } = file
  const store = cluster.store as { -readonly [Name in keyof MetadataStore]: MetadataStore[Name] }
  const finish = store.finishUpload
  store.finishUpload = async (args) => {
    const committed = await finish(args)
    store.finishUpload = finish
    cluster.network.fate = (from, to) => (from === 'master' && to === 'client' ? lost : delivered)
    return committed
  }
  const uploading = put(file, '/b/small', SMALL, { precondition: { kind: 'absent' } })
  uploading.catch(() => undefined)
  await cluster.clock.until(async () => (await store.statFile({ path: '/b/small' })) !== undefined, MINUTE_MS)
  await cluster.clock.advance(30 * SECOND_MS)
  cluster.network.fate = () => delivered
  expect(await cluster.run(uploading)).toMatchObject({ generation: 1 })
})

test('a small file whose copies stopped counting before the commit is sent again', async () => {
  await using file = await OneFile.start({ seed: 523, chunkservers: 5 })
  const { cluster } = file
  const store = cluster.store as { -readonly [Name in keyof MetadataStore]: MetadataStore[Name] }
  const finish = store.finishUpload
  let finishes = 0
  store.finishUpload = async (args) => {
    finishes += 1
    if (finishes > 1) return finish(args)
    // The receipts of all but one server are held to be of disks that are gone.
    const chunks = args.chunks.map((chunk) => ({ ...chunk, receipts: chunk.receipts.slice(0, 1) }))
    return finish({ ...args, chunks })
  }
  expect(await cluster.run(put(file, '/b/small', SMALL))).toMatchObject({ generation: 1 })
  expect(finishes).toBe(2)
  expect(await readAll(file, '/b/small')).toEqual(Buffer.from(SMALL))
})

test.each([
  ['shorter', SMALL.subarray(1)],
  ['longer', new Uint8Array(SMALL.length + 1)],
])('a stream that is %s than announced commits nothing and leaves nothing', async (_, content) => {
  await using file = await OneFile.start({ seed: 524, chunkservers: 3 })
  await expect(file.cluster.run(put(file, '/b/small', content))).rejects.toMatchObject({ code: 'SOURCE_CHANGED' })
  expect(await file.cluster.store.statFile({ path: '/b/small' })).toBeUndefined()
  expect(await file.cluster.store.listUploads({ after: '', limit: 10 })).toEqual([])
})

test('a condition that fails at the commit of a small file is said at once', async () => {
  await using file = await OneFile.start({ seed: 525, chunkservers: 3 })
  const { cluster } = file
  const store = cluster.store as { -readonly [Name in keyof MetadataStore]: MetadataStore[Name] }
  const finish = store.finishUpload
  store.finishUpload = async (args) => {
    store.finishUpload = finish
    await cluster.client.copy(file.path, '/b/small')
    return finish(args)
  }
  const startedMs = cluster.clock.monotonic()
  const uploading = cluster.run(put(file, '/b/small', SMALL, { precondition: { kind: 'absent' } }))
  await expect(uploading).rejects.toMatchObject({ code: 'ALREADY_EXISTS' })
  expect(cluster.clock.monotonic() - startedMs).toBeLessThan(5 * SECOND_MS)
})

async function readAll(file: OneFile, path: string): Promise<Buffer> {
  const { client } = file.cluster
  const parts: Uint8Array[] = []
  const reading = (async () => {
    for await (const piece of client.download(await client.stat(path))) parts.push(Buffer.from(piece))
  })()
  await file.cluster.run(reading)
  return Buffer.concat(parts)
}
