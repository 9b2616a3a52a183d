/** Random bytes into a file, and the SHA-256 of one. */
import { createHash, randomFillSync } from 'node:crypto'
import { createReadStream } from 'node:fs'
import { open } from 'node:fs/promises'
import { MiB } from '../../common/units.js'

const BLOCK_BYTES = 8 * MiB

export async function writeRandomFile(file: string, sizeBytes: number): Promise<void> {
  const handle = await open(file, 'w')
  try {
    const block = Buffer.allocUnsafe(BLOCK_BYTES)
    for (let offset = 0; offset < sizeBytes;) {
      const piece = block.subarray(0, Math.min(BLOCK_BYTES, sizeBytes - offset))
      randomFillSync(piece)
      await handle.write(piece)
      offset += piece.length
    }
  } finally {
    await handle.close()
  }
}

export async function sha256Of(file: string): Promise<string> {
  const hash = createHash('sha256')
  for await (const piece of createReadStream(file, { highWaterMark: BLOCK_BYTES })) hash.update(piece as Buffer)
  return hash.digest('hex')
}
