import { expect, test } from '@jest/globals'
import { isReceiptGenuine, signReceipt, type ReceiptFacts } from '../../../../common/auth/receipt.js'
import { hashToken, sign, verifySignature } from '../../../../common/auth/signing.js'
import { checksumToHex } from '../../../../common/checksum/xxh64.js'
import { newId, type ChunkId, type DiskId, type ServerId } from '../../../../common/ids.js'
import { SeededRandom } from '../../../../common/random/seeded-random.js'

const random = new SeededRandom(6)
const key = { keyId: 'k1', secret: '11'.repeat(32) }
const facts: ReceiptFacts = {
  chunkId: newId<ChunkId>(random),
  serverId: newId<ServerId>(random),
  diskId: newId<DiskId>(random),
  lengthBytes: 1000,
  root: checksumToHex(77n),
  storeSeq: 12,
}

test('a receipt is genuine under the key it was signed with, and no other', () => {
  const receipt = signReceipt(key, facts)
  expect(receipt).toMatchObject(facts)
  expect(isReceiptGenuine(key, receipt)).toBe(true)
  expect(isReceiptGenuine({ ...key, secret: '12'.repeat(32) }, receipt)).toBe(false)
  expect(isReceiptGenuine({ ...key, keyId: 'k2' }, receipt)).toBe(false)
})

test('a receipt with any field changed is not', () => {
  const receipt = signReceipt(key, facts)
  const changes = [
    { chunkId: newId<ChunkId>(random) },
    { serverId: newId<ServerId>(random) },
    { diskId: newId<DiskId>(random) },
    { lengthBytes: 1001 },
    { root: checksumToHex(78n) },
    { storeSeq: 13 },
    { keyId: 'k2' },
    { mac: '' },
    { mac: receipt.mac.slice(0, -1) },
    { mac: `${receipt.mac}A` },
    { mac: sign(key, 'something else') },
  ]
  for (const change of changes) expect(isReceiptGenuine(key, { ...receipt, ...change })).toBe(false)
})

test('digits cannot move from one number of a receipt to the next', () => {
  const receipt = signReceipt(key, { ...facts, lengthBytes: 11, storeSeq: 1 })
  expect(isReceiptGenuine(key, { ...receipt, lengthBytes: 1, storeSeq: 11 })).toBe(false)
})

test('a signature is 128 bits that depend on key and text', () => {
  const signature = sign(key, 'text')
  expect(Buffer.from(signature, 'base64url')).toHaveLength(16)
  expect(verifySignature(key, 'text', signature)).toBe(true)
  expect(verifySignature(key, 'texts', signature)).toBe(false)
  expect(verifySignature({ ...key, secret: '00'.repeat(32) }, 'text', signature)).toBe(false)
  for (const wrong of ['', 'é'.repeat(11), `${signature}=`, signature.toLowerCase()])
    expect(verifySignature(key, 'text', wrong)).toBe(false)
})

test('a token is kept as its SHA-256', () => {
  expect(hashToken('abc')).toBe('ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad')
})
