/** Keyed signatures (HMAC-SHA-256, 128 bits kept) over short texts; keys have ids so that two can be active at once. */
import { createHash, createHmac, timingSafeEqual } from 'node:crypto'

export interface SigningKey {
  readonly keyId: string
  /** 64 hex digits. */
  readonly secret: string
}

const MAC_BYTES = 16

export function sign(key: SigningKey, text: string): string {
  return createHmac('sha256', Buffer.from(key.secret, 'hex')).update(text).digest().subarray(0, MAC_BYTES).toString('base64url')
}

/** Compares in constant time. */
export function verifySignature(key: SigningKey, text: string, signature: string): boolean {
  const expected = Buffer.from(sign(key, text))
  const given = Buffer.from(signature)
  return expected.length === given.length && timingSafeEqual(expected, given)
}

/** How API tokens are kept: the SHA-256 of a token of 256 random bits needs no salt and no stretching. */
export const hashToken = (token: string): string => createHash('sha256').update(token).digest('hex')
