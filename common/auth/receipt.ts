/** Receipts: a chunkserver's signed word that it holds one whole, synced copy. History, not a copy: the master checks what is current. */
import type { ReceiptJson } from '../protocol/chunk-data.js'
import { sign, verifySignature, type SigningKey } from './signing.js'

export type ReceiptFacts = Omit<ReceiptJson, 'keyId' | 'mac'>

const text = (facts: ReceiptFacts): string =>
  [facts.chunkId, facts.serverId, facts.diskId, facts.lengthBytes, facts.root, facts.storeSeq].join('|')

export const signReceipt = (key: SigningKey, facts: ReceiptFacts): ReceiptJson => ({
  ...facts,
  keyId: key.keyId,
  mac: sign(key, text(facts)),
})

export const isReceiptGenuine = (key: SigningKey, receipt: ReceiptJson): boolean =>
  key.keyId === receipt.keyId && verifySignature(key, text(receipt), receipt.mac)
