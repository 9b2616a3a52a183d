/** A bounded in-memory pipe of bytes: the body of a simulated exchange, and of streams that meet inside one process. */
import { assert } from '../assert.js'
import type { ByteReader, ByteSink } from './transport.js'

/** What the pipe takes before its writer waits, like a socket's buffers. */
const BUFFERED_BYTES_MAX = 1024 * 1024

interface PendingRead {
  readonly target: Uint8Array
  filled: number
  readonly onProgress: ((filledBytes: number) => void) | undefined
  readonly resolve: (count: number) => void
  readonly reject: (error: Error) => void
}

export class BytePipe implements ByteReader, ByteSink {
  #queue: Uint8Array[] = []
  #queuedBytes = 0
  #ended = false
  #discarded = false
  #error: Error | undefined
  #pending: PendingRead | undefined
  #drainWaiters: { resolve: () => void; reject: (error: Error) => void }[] = []

  /** Copies the bytes; resolves when there is room for more. Writers call one at a time. */
  write(bytes: Uint8Array): Promise<void> {
    if (this.#error) return Promise.reject(this.#error)
    assert(!this.#ended, 'no write after end')
    if (this.#discarded) return Promise.resolve()
    this.#queue.push(bytes.slice())
    this.#queuedBytes += bytes.length
    this.#feed()
    if (this.#queuedBytes <= BUFFERED_BYTES_MAX) return Promise.resolve()
    return new Promise((resolve, reject) => this.#drainWaiters.push({ resolve, reject }))
  }

  end(): void {
    this.#ended = true
    this.#feed()
  }

  fail(error: Error): void {
    this.#error ??= error
    this.#queue = []
    const pending = this.#pending
    this.#pending = undefined
    pending?.reject(this.#error)
    for (const waiter of this.#drainWaiters.splice(0)) waiter.reject(this.#error)
  }

  /** The writer goes on as if everything were read: nobody will read any more. */
  discard(): void {
    this.#queue = []
    this.#queuedBytes = 0
    this.#discarded = true
    for (const waiter of this.#drainWaiters.splice(0)) waiter.resolve()
  }

  readInto(target: Uint8Array, onProgress?: (filledBytes: number) => void): Promise<number> {
    assert(!this.#pending, 'one read at a time')
    if (this.#error) return Promise.reject(this.#error)
    return new Promise((resolve, reject) => {
      this.#pending = { target, filled: 0, onProgress, resolve, reject }
      this.#feed()
    })
  }

  #feed(): void {
    const pending = this.#pending
    if (!pending) return
    while (pending.filled < pending.target.length) {
      const piece = this.#queue.shift()
      if (!piece) break
      const count = Math.min(piece.length, pending.target.length - pending.filled)
      pending.target.set(piece.subarray(0, count), pending.filled)
      pending.filled += count
      pending.onProgress?.(pending.filled)
      this.#queuedBytes -= count
      if (count < piece.length) this.#queue.unshift(piece.subarray(count))
    }
    if (pending.filled === pending.target.length || this.#ended) {
      this.#pending = undefined
      pending.resolve(pending.filled)
    }
    if (this.#queuedBytes <= BUFFERED_BYTES_MAX) for (const waiter of this.#drainWaiters.splice(0)) waiter.resolve()
  }
}

/** Reads a whole body of known length. */
export async function readAll(body: ByteReader, length: number): Promise<Uint8Array> {
  const out = new Uint8Array(length)
  const count = await body.readInto(out)
  return count === length ? out : out.subarray(0, count)
}
