/**
 * A digest of a set of ids: how many, and the exclusive or of their lower halves. Ids are random, so two sets that
 * differ have different digests but for one chance in 2^64; and one id more or less costs one step to keep it current.
 */
export interface IdSetDigest {
  readonly count: number
  readonly hash: bigint
}

export const EMPTY_DIGEST: IdSetDigest = { count: 0, hash: 0n }

/** The part of an id that goes into the hash. @param id 16 bytes */
export function idHash(id: Uint8Array): bigint {
  return new DataView(id.buffer, id.byteOffset, id.byteLength).getBigUint64(8)
}

export function digestOfIds(ids: Iterable<Uint8Array>): IdSetDigest {
  let count = 0
  let hash = 0n
  for (const id of ids) {
    count += 1
    hash ^= idHash(id)
  }
  return { count, hash }
}
