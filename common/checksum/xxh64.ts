/** XXH64, seed 0, by xxhash-wasm. The WebAssembly module is compiled once, when this module is first imported. */
import xxhash from 'xxhash-wasm'
import type { Brand } from '../brand.js'
import { KiB } from '../units.js'

/** A 64-bit checksum as 16 lower-case hex digits, most significant first. */
export type Checksum64 = Brand<string, 'Checksum64'>

const hasher = await xxhash()

/**
 * The hasher copies what it hashes into its own memory. Piece by piece the copy is still in the core's cache when it is
 * hashed. (Measured on 1 MiB leaves: 0.13 instead of 0.17 CPU-seconds per GB.)
 */
const PIECE_BYTES = 128 * KiB

/** The XXH64 (seed 0) of the bytes. */
export function xxh64(bytes: Uint8Array): bigint {
  if (bytes.length <= PIECE_BYTES) return hasher.h64Raw(bytes)
  const state = hasher.create64()
  for (let from = 0; from < bytes.length; from += PIECE_BYTES) state.update(bytes.subarray(from, from + PIECE_BYTES))
  return state.digest()
}

const PATTERN = /^[0-9a-f]{16}$/

export const isChecksum64 = (value: unknown): value is Checksum64 => typeof value === 'string' && PATTERN.test(value)

export const checksumToHex = (value: bigint): Checksum64 => value.toString(16).padStart(16, '0') as Checksum64

export const checksumFromHex = (hex: string): bigint => BigInt(`0x${hex}`)
