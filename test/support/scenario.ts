/** What scenarios of the failure suite share. */
import { createHash, randomBytes } from 'node:crypto'
import { existsSync, readdirSync } from 'node:fs'
import path from 'node:path'
import { Readable } from 'node:stream'
import type { Cluster, TestMember, WaitOptions } from '../../testing/index.js'

export const stateOf = async (cluster: Cluster, member: TestMember): Promise<string | undefined> =>
  (await cluster.status()).servers.find(({ id }) => id === member.id)?.state

export const untilState = (cluster: Cluster, member: TestMember, state: string, options?: WaitOptions): Promise<void> =>
  cluster.until(`${member.name} is ${state}`, async () => (await stateOf(cluster, member)) === state, options)

/** Ids of the chunks that a server has files of, whatever it or the master thinks of them. */
export function chunkFiles(member: TestMember): string[] {
  return member.directories.flatMap((directory) => {
    const chunks = path.join(directory, 'chunks')
    if (!existsSync(chunks)) return []
    const names = readdirSync(chunks, { recursive: true, encoding: 'utf8' }).filter((name) => name.endsWith('.chunk'))
    return names.map((name) => path.basename(name, '.chunk'))
  })
}

export interface WriteOptions {
  readonly chunkSizeBytes?: number
  /** Done once so many bytes have been handed to the upload, which goes on only then. */
  readonly at?: { readonly bytes: number; readonly run: () => Promise<void> }
}

export interface WrittenFile {
  readonly path: string
  /** @throws when the file does not hold what was written */
  verify(): Promise<void>
}

const PIECE_BYTES = 256 * 1024

/** Uploads random bytes. @returns once they are acknowledged */
export async function writeFile(
  cluster: Cluster,
  filePath: string,
  sizeBytes: number,
  options: WriteOptions = {},
): Promise<WrittenFile> {
  const content = randomBytes(sizeBytes)
  const { at, ...rest } = options
  async function* pieces(): AsyncGenerator<Buffer> {
    for (let from = 0; from < sizeBytes; from += PIECE_BYTES) {
      if (at && from <= at.bytes && at.bytes < from + PIECE_BYTES) await at.run()
      yield content.subarray(from, from + PIECE_BYTES)
    }
  }
  await cluster.client.uploadStream(Readable.from(pieces()), filePath, { sizeBytes, ...rest })
  const sum = createHash('sha256').update(content).digest('hex')
  return { path: filePath, verify: () => verifyFile(cluster, filePath, sum) }
}

async function verifyFile(cluster: Cluster, filePath: string, sum: string): Promise<void> {
  const hash = createHash('sha256')
  for await (const piece of cluster.client.download(await cluster.client.stat(filePath))) hash.update(piece)
  if (hash.digest('hex') !== sum) throw new Error(`${filePath} does not hold what was written`)
}
