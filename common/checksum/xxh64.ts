/** XXH64, seed 0, by xxhash-wasm. The WebAssembly module is compiled once, when this module is first imported. */
import xxhash from 'xxhash-wasm'
import type { Brand } from '../brand.js'

/** A 64-bit checksum as 16 lower-case hex digits, most significant first. */
export type Checksum64 = Brand<string, 'Checksum64'>

const hasher = await xxhash()

/** The XXH64 (seed 0) of the bytes. */
export const xxh64 = (bytes: Uint8Array): bigint => hasher.h64Raw(bytes)

const PATTERN = /^[0-9a-f]{16}$/

export const isChecksum64 = (value: unknown): value is Checksum64 => typeof value === 'string' && PATTERN.test(value)

export const checksumToHex = (value: bigint): Checksum64 => value.toString(16).padStart(16, '0') as Checksum64

export const checksumFromHex = (hex: string): bigint => BigInt(`0x${hex}`)
