/** Damage to copies of chunks, done to the files behind a chunkserver's back. */
import { existsSync, openSync, closeSync, readSync, renameSync, rmSync, statSync, truncateSync, writeSync } from 'node:fs'
import path from 'node:path'
import { CairnError } from '../common/errors/cairn-error.js'
import type { CairnClient, FileInfo } from '../client/index.js'
import type { TestMember } from './member.js'

/** `swap` exchanges the copy with one of another chunk on the same server: each is whole, and in the wrong place. */
export type Damage = 'flip-bit' | 'truncate' | 'zero' | 'swap' | 'delete'

export interface CorruptOptions {
  /** Default `flip-bit`. */
  readonly damage?: Damage
  /** Index of the chunk in the file. Default 0. */
  readonly chunk?: number
  /** Which copy. Default: that of the first server that `stat` lists. */
  readonly server?: TestMember
  /** Which byte, for `flip-bit`; from where on, for `zero` and `truncate`. Default: the middle of the data. */
  readonly offset?: number
}

/** One copy of one chunk. */
export interface ChunkCopy {
  readonly chunkId: string
  readonly index: number
  readonly sizeBytes: number
  readonly server: TestMember
  readonly file: string
}

const ZERO_BYTES = 4096

/** Where the copies of a file's chunks lie, as metadata and disks have it now. */
export async function copiesOf(client: CairnClient, filePath: string, servers: readonly TestMember[]): Promise<ChunkCopy[]> {
  const { manifestId } = await client.stat(filePath)
  const copies: ChunkCopy[] = []
  for (let from: number | null = 0; from !== null;) {
    const page: Awaited<ReturnType<typeof pageOf>> = await pageOf(client, manifestId, from)
    for (const { id, index, sizeBytes, replicas } of page.chunks)
      for (const serverId of replicas) {
        const server = servers.find((one) => one.id === serverId)
        const file = server && chunkFile(server, id)
        if (server && file) copies.push({ chunkId: id, index, sizeBytes, server, file })
      }
    from = page.next
  }
  return copies
}

const pageOf = (client: CairnClient, manifestId: FileInfo['manifestId'], from: number) =>
  client.api.call('listManifestChunks', { params: { manifestId }, query: { from, limit: 256 } })

/** The file of a server's copy, docs/formats/chunk-file.md; undefined when there is none. */
export function chunkFile(server: TestMember, chunkId: string): string | undefined {
  return server.directories
    .map((directory) => path.join(directory, 'chunks', chunkId.slice(0, 2), `${chunkId}.chunk`))
    .find((file) => existsSync(file))
}

export function damageCopy(victim: ChunkCopy, copies: readonly ChunkCopy[], options: CorruptOptions): void {
  const { file } = victim
  const offset = options.offset ?? Math.floor(victim.sizeBytes / 2)
  switch (options.damage ?? 'flip-bit') {
    case 'flip-bit':
      return editFile(file, offset, 1, (bytes) => (bytes[0] = (bytes[0] as number) ^ 1))
    case 'zero':
      return editFile(file, offset, Math.min(ZERO_BYTES, victim.sizeBytes - offset), (bytes) => bytes.fill(0))
    case 'truncate':
      return truncateSync(file, offset)
    case 'delete':
      return rmSync(file)
    case 'swap':
      return swapFiles(file, otherThan(victim, copies).file)
  }
}

function otherThan(victim: ChunkCopy, copies: readonly ChunkCopy[]): ChunkCopy {
  const other = copies.find(({ chunkId, server }) => chunkId !== victim.chunkId && server === victim.server)
  if (!other) throw new CairnError('USAGE', `${victim.server.name} holds no other chunk of the file to swap with.`)
  return other
}

function editFile(file: string, offset: number, length: number, edit: (bytes: Uint8Array) => void): void {
  if (offset < 0 || offset + length > statSync(file).size)
    throw new CairnError('USAGE', `${file} has no ${length} bytes at ${offset}.`)
  const bytes = new Uint8Array(length)
  const handle = openSync(file, 'r+')
  try {
    readSync(handle, bytes, 0, length, offset)
    edit(bytes)
    writeSync(handle, bytes, 0, length, offset)
  } finally {
    closeSync(handle)
  }
}

function swapFiles(one: string, other: string): void {
  renameSync(one, `${one}.swap`)
  renameSync(other, one)
  renameSync(`${one}.swap`, other)
}
