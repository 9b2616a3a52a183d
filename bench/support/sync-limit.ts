/** How often a second the machine's disk makes a small append durable: one writer, 4 KiB and fdatasync, one after the other. */
import { closeSync, fdatasyncSync, openSync, rmSync, writeSync } from 'node:fs'
import path from 'node:path'
import { round } from './statistics.js'

const PIECE_BYTES = 4096

export function syncedAppendsPerSecond(directory: string, forMs: number): number {
  const file = path.join(directory, 'sync-limit')
  const handle = openSync(file, 'wx')
  const piece = Buffer.alloc(PIECE_BYTES, 1)
  let count = 0
  const startedMs = performance.now()
  try {
    while (performance.now() - startedMs < forMs) {
      writeSync(handle, piece, 0, PIECE_BYTES, count * PIECE_BYTES)
      fdatasyncSync(handle)
      count += 1
    }
  } finally {
    closeSync(handle)
    rmSync(file)
  }
  return round((count * 1000) / (performance.now() - startedMs), 0)
}
