/**
 * XXH64, seed 0, by xxhash-wasm, whose module is compiled once, when this one is first imported.
 *
 * A WebAssembly hasher sees its own memory only. What lies elsewhere is copied in first; bytes in a {@link hashableMemory}
 * are hashed where they are, and a {@link RunningXxh64} does so while they arrive and are still in the core's cache.
 */
import xxhash from 'xxhash-wasm'
import type { Brand } from '../brand.js'
import { KiB } from '../units.js'
import { instantiateXxhash, WASM_PAGE_BYTES, type XxhashInstance } from './xxhash-module.js'

/** A 64-bit checksum as 16 lower-case hex digits, most significant first. */
export type Checksum64 = Brand<string, 'Checksum64'>

const hasher = await xxhash()
interface HashableMemory {
  readonly core: XxhashInstance
  /** Where the bytes begin, behind the states of running hashes. */
  readonly start: number
}
const MEMORIES = new WeakMap<ArrayBufferLike, HashableMemory>()

/** A running hash keeps its state (88 bytes) in front of the memory, in a place of its own for each 4 KiB of it. */
const STATE_BYTES = 128
const STATE_PER_BYTES = 4 * KiB
const SEED = 0n

/**
 * The hasher copies what it hashes into its own memory. Piece by piece the copy is still in the core's cache when it is
 * hashed. (Measured on 1 MiB leaves: 0.13 instead of 0.17 CPU-seconds per GB.)
 */
const PIECE_BYTES = 128 * KiB

/** Memory that starts on a page boundary and whose bytes are hashed in place. Never grows: views of it stay valid. */
export function hashableMemory(lengthBytes: number): Uint8Array<ArrayBuffer> {
  const core = instantiateXxhash()
  const statePages = Math.ceil(((lengthBytes / STATE_PER_BYTES) * STATE_BYTES) / WASM_PAGE_BYTES)
  const held = core.mem.buffer.byteLength / WASM_PAGE_BYTES
  core.mem.grow(statePages + Math.ceil(lengthBytes / WASM_PAGE_BYTES) - held)
  const { buffer } = core.mem
  const start = statePages * WASM_PAGE_BYTES
  MEMORIES.set(buffer, { core, start })
  return new Uint8Array(buffer, start, lengthBytes)
}

/** The XXH64 (seed 0) of the bytes. */
export function xxh64(bytes: Uint8Array): bigint {
  const memory = MEMORIES.get(bytes.buffer)
  if (memory) return BigInt.asUintN(64, memory.core.xxh64(bytes.byteOffset, bytes.length, SEED))
  if (bytes.length <= PIECE_BYTES) return hasher.h64Raw(bytes)
  const state = hasher.create64()
  for (let from = 0; from < bytes.length; from += PIECE_BYTES) state.update(bytes.subarray(from, from + PIECE_BYTES))
  return state.digest()
}

/** The XXH64 of bytes that arrive one after another in one place. One at a time for each 4 KiB of a {@link hashableMemory}. */
export class RunningXxh64 {
  readonly #target: Uint8Array
  readonly #core: XxhashInstance | undefined
  readonly #state: number
  #hashed = 0

  constructor(target: Uint8Array) {
    this.#target = target
    const memory = MEMORIES.get(target.buffer)
    this.#core = memory?.core
    this.#state = Math.floor((target.byteOffset - (memory?.start ?? 0)) / STATE_PER_BYTES) * STATE_BYTES
    if (this.#core) new Uint8Array(target.buffer, this.#state, STATE_BYTES).fill(0)
    this.#core?.init64(this.#state, SEED)
  }

  /** So many bytes of the target are there by now. */
  advance(filledBytes: number): void {
    if (filledBytes === this.#hashed) return
    this.#core?.update64(this.#state, this.#target.byteOffset + this.#hashed, filledBytes - this.#hashed)
    this.#hashed = filledBytes
  }

  /** The sum of what is there. */
  digest(): bigint {
    if (!this.#core) return xxh64(this.#target.subarray(0, this.#hashed))
    return BigInt.asUintN(64, this.#core.digest64(this.#state))
  }
}

const PATTERN = /^[0-9a-f]{16}$/

export const isChecksum64 = (value: unknown): value is Checksum64 => typeof value === 'string' && PATTERN.test(value)

export const checksumToHex = (value: bigint): Checksum64 => value.toString(16).padStart(16, '0') as Checksum64

export const checksumFromHex = (hex: string): bigint => BigInt(`0x${hex}`)
