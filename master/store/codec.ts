/** Between the text that ids are in code and on the wire, and the bytes that they are in tables. */

export const toBytes = (hex: string): Uint8Array => Buffer.from(hex, 'hex')

export const toHex = <Id extends string>(bytes: Uint8Array): Id =>
  Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString('hex') as Id

/** Below and above every id: bounds of a scan over all of them. */
export const BEFORE_ALL_IDS = new Uint8Array(0)

/** The ids of one of the 256 shards (by first byte): from the first, inclusive, to the next shard's first, exclusive. */
export const shardStart = (shard: number): Uint8Array => Uint8Array.of(shard)
export const shardEnd = (shard: number): Uint8Array => (shard === 255 ? new Uint8Array(17).fill(255) : Uint8Array.of(shard + 1))
