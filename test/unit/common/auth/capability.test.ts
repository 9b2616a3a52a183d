import { describe, expect, test } from '@jest/globals'
import fc from 'fast-check'
import { openCapability, sealCapability, type Capability, type WriteCapability } from '../../../../common/auth/capability.js'
import type { SigningKey } from '../../../../common/auth/signing.js'
import { newId, type ChunkId, type ServerId, type UploadId } from '../../../../common/ids.js'
import { SeededRandom } from '../../../../common/random/seeded-random.js'

const random = new SeededRandom(5)
const key: SigningKey = { keyId: 'k1', secret: '11'.repeat(32) }
const newer: SigningKey = { keyId: 'k2', secret: '22'.repeat(32) }
const chunkId = newId<ChunkId>(random)
const write: WriteCapability = {
  kind: 'write',
  chunkId,
  uploadId: newId<UploadId>(random),
  chunkIndex: 3,
  lengthBytes: 1000,
  targets: [
    [newId<ServerId>(random), 1],
    [newId<ServerId>(random), 7],
  ],
  metadataEpoch: 2,
  expiresMs: 5000,
}
const open = (sealed: string | undefined, changes: Partial<Parameters<typeof openCapability<'write'>>[1]> = {}) =>
  openCapability(sealed, { kind: 'write', chunkId, keys: [key], nowMs: 4000, ...changes })
const INVALID = expect.objectContaining({ code: 'CAPABILITY_INVALID' })

describe('capabilities', () => {
  test('what was sealed is opened, until it expires', () => {
    const sealed = sealCapability(key, write)
    expect(open(sealed)).toEqual(write)
    expect(open(sealed, { nowMs: 5000 })).toEqual(write)
    expect(() => open(sealed, { nowMs: 5001 })).toThrow(expect.objectContaining({ code: 'CAPABILITY_EXPIRED' }))
  })

  test('a change of any field under the old signature is refused', () => {
    const [, keyId, mac] = sealCapability(key, write).split('.')
    const changes: Partial<Record<keyof WriteCapability, unknown>>[] = [
      { kind: 'read' },
      { chunkId: newId<ChunkId>(random) },
      { uploadId: newId<UploadId>(random) },
      { chunkIndex: 4 },
      { lengthBytes: 1001 },
      { targets: [...write.targets, [newId<ServerId>(random), 1]] },
      { targets: write.targets.map(([id]) => [id, 9]) },
      { metadataEpoch: 3 },
      { expiresMs: 9e15 },
    ]
    for (const change of changes) {
      const payload = Buffer.from(JSON.stringify({ ...write, ...change })).toString('base64url')
      expect(() => open(`${payload}.${keyId}.${mac}`)).toThrow(INVALID)
    }
  })

  test('property: any other text than the sealed one is refused with an error of ours', () => {
    const sealed = sealCapability(key, write)
    const damaged = fc
      .tuple(fc.nat(sealed.length - 1), fc.constantFrom(...'Az09-_.%{ '))
      .map(([at, character]) => sealed.slice(0, at) + character + sealed.slice(at + 1))
    const cut = fc.nat(sealed.length - 1).map((length) => sealed.slice(0, length))
    fc.assert(
      fc.property(fc.oneof(damaged, cut, fc.string()), (text) => {
        fc.pre(text !== sealed)
        expect(() => open(text)).toThrow(INVALID)
      }),
      { numRuns: 500 },
    )
    expect(() => open(undefined)).toThrow(INVALID)
    expect(() => open(`${sealed}.`)).toThrow(INVALID)
  })

  test('it is good for its own chunk and purpose only', () => {
    const read: Capability = { kind: 'read', chunkId, expiresMs: 5000 }
    expect(() => open(sealCapability(key, read))).toThrow(INVALID)
    expect(() => open(sealCapability(key, write), { chunkId: newId<ChunkId>(random) })).toThrow(INVALID)
    expect(openCapability(sealCapability(key, read), { kind: 'read', chunkId, keys: [key], nowMs: 0 })).toEqual(read)
    expect(() => openCapability(sealCapability(key, write), { kind: 'read', chunkId, keys: [key], nowMs: 0 })).toThrow(INVALID)
  })

  test('while keys rotate both are good, and afterwards only the new one', () => {
    const [old, fresh] = [sealCapability(key, write), sealCapability(newer, write)]
    for (const keys of [
      [key, newer],
      [newer, key],
    ]) {
      expect(open(old, { keys })).toEqual(write)
      expect(open(fresh, { keys })).toEqual(write)
    }
    expect(() => open(old, { keys: [newer] })).toThrow(INVALID)
    expect(() => open(old, { keys: [] })).toThrow(INVALID)
  })

  test('the id of a key is no proof of it', () => {
    expect(() => open(sealCapability({ keyId: key.keyId, secret: newer.secret }, write))).toThrow(INVALID)
  })
})
