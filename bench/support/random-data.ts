/** Bytes that no disk or network can compress, the same for the same seed: the key stream of AES-128 in counter mode. */
import { createCipheriv, createHash } from 'node:crypto'
import { createReadStream } from 'node:fs'
import { open } from 'node:fs/promises'
import { MiB } from '../../common/units.js'

const PIECE_BYTES = 4 * MiB

/** Yields pieces of up to 4 MiB. Each is valid for good: none is reused. */
export function* randomPieces(sizeBytes: number, seed: number): Generator<Buffer> {
  const key = createHash('sha256').update(`cairn-bench ${seed}`).digest()
  const cipher = createCipheriv('aes-128-ctr', key.subarray(0, 16), key.subarray(16, 32))
  const zeros = Buffer.alloc(Math.min(PIECE_BYTES, sizeBytes))
  for (let done = 0; done < sizeBytes; done += PIECE_BYTES) {
    yield cipher.update(zeros.subarray(0, Math.min(PIECE_BYTES, sizeBytes - done)))
  }
}

/** Writes the bytes to a new file and syncs it, so that no write-back disturbs what is measured. @returns their SHA-256 */
export async function writeRandomFile(file: string, sizeBytes: number, seed: number): Promise<string> {
  const hash = createHash('sha256')
  const handle = await open(file, 'wx')
  try {
    for (const piece of randomPieces(sizeBytes, seed)) {
      hash.update(piece)
      await handle.writeFile(piece)
    }
    await handle.sync()
  } finally {
    await handle.close()
  }
  return hash.digest('hex')
}

export async function sha256OfFile(file: string): Promise<string> {
  const hash = createHash('sha256')
  for await (const piece of createReadStream(file, { highWaterMark: MiB })) hash.update(piece as Buffer)
  return hash.digest('hex')
}
