/** The WebAssembly module of xxhash-wasm itself: the package wraps it so that all bytes are copied, and ships it beside. */
import { readFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import path from 'node:path'

/** What an instance exports. Numbers are addresses and lengths in its memory. */
export interface XxhashInstance {
  readonly mem: { readonly buffer: ArrayBuffer; grow(pages: number): number }
  xxh64(from: number, lengthBytes: number, seed: bigint): bigint
  /** Expects a state of zeroes. */
  init64(state: number, seed: bigint): void
  update64(state: number, from: number, lengthBytes: number): void
  digest64(state: number): bigint
}

export const WASM_PAGE_BYTES = 65_536

/** The only part used of an interface that TypeScript declares with the DOM, which this code does without. */
declare const WebAssembly: {
  readonly Module: new (bytes: Uint8Array) => object
  readonly Instance: new (module: object) => { readonly exports: unknown }
}

const packageDirectory = path.dirname(path.dirname(createRequire(import.meta.url).resolve('xxhash-wasm')))
const compiled = new WebAssembly.Module(readFileSync(path.join(packageDirectory, 'workerd', 'xxhash.wasm')))

/** With a memory of its own. */
export const instantiateXxhash = (): XxhashInstance => new WebAssembly.Instance(compiled).exports as XxhashInstance
