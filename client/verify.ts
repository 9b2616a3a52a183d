/**
 * Checking copies where they lie: every server that holds a chunk is asked to read its copy from the disk and to compare
 * each leaf. A copy that turns out bad is set aside and rebuilt as any other. Nothing is transferred but the outcome.
 */
import { Semaphore } from '../common/flow/semaphore.js'
import { toCairnError } from '../common/errors/cairn-error.js'
import type { ChunkId, ServerId } from '../common/ids.js'
import { CAPABILITY_HEADER, chunkPath, verifyAnswer, type VerifyAnswer } from '../common/protocol/chunk-data.js'
import type { ChunkEntry, FileInfo, ServerAddress } from '../common/protocol/files.js'
import type { Endpoints, EndpointTypes } from '../common/protocol/index.js'
import { errorOf } from '../common/rpc/endpoint-client.js'
import type { Transport } from '../common/rpc/transport.js'
import { MINUTE_MS } from '../common/units.js'
import type { MasterApi } from './master-api.js'

const PAGE = 64
type ManifestPage = EndpointTypes<Endpoints['listManifestChunks']>['result']
/** Copies checked at once, over all servers. */
const CHECKS_AT_ONCE = 16
/** The largest chunk on a slow disk. */
const CHECK_TIMEOUT_MS = 5 * MINUTE_MS

/** `unreachable`: its server did not answer, or could not read for another reason than damage. */
export type CopyOutcome = VerifyAnswer['outcome'] | 'unreachable'

export interface CheckedCopy {
  readonly path: string
  readonly chunkId: ChunkId
  readonly chunkIndex: number
  readonly serverId: ServerId
  readonly lengthBytes: number
  readonly outcome: CopyOutcome
  /** Of an unreachable copy: why. */
  readonly reason?: string
}

export interface CheckedChunk {
  readonly path: string
  readonly chunkId: ChunkId
  readonly copies: readonly CheckedCopy[]
}

export interface VerifyServices {
  readonly api: MasterApi
  readonly transport: Transport
}

/** Checks every copy of a file, chunk by chunk, in no particular order. Memory is bounded by a page of chunks. */
export async function* verifyFile(
  { api, transport }: VerifyServices,
  file: FileInfo,
  signal?: AbortSignal,
): AsyncGenerator<CheckedChunk> {
  const gate = new Semaphore(CHECKS_AT_ONCE)
  for (let from: number | null = 0; from !== null;) {
    const page: ManifestPage = await api.call('listManifestChunks', {
      params: { manifestId: file.manifestId },
      query: { from, limit: PAGE, capabilities: true },
      signal,
    })
    const servers = new Map(page.servers.map((server) => [server.id, server]))
    const checks = page.chunks.map((chunk) => checkChunk(transport, gate, file.path, chunk, servers, signal))
    for (const check of checks) check.catch(() => undefined)
    for (const check of checks) yield await check
    from = page.next
  }
}

async function checkChunk(
  transport: Transport,
  gate: Semaphore,
  path: string,
  chunk: ChunkEntry,
  servers: ReadonlyMap<ServerId, ServerAddress>,
  signal: AbortSignal | undefined,
): Promise<CheckedChunk> {
  const holders = [...chunk.replicas, ...chunk.fallbacks].map((id) => servers.get(id)).filter((server) => server !== undefined)
  const copies = await Promise.all(
    holders.map(async (server) => {
      const permit = await gate.acquire(1, signal)
      try {
        const about = { path, chunkId: chunk.id, chunkIndex: chunk.index, serverId: server.id, lengthBytes: chunk.sizeBytes }
        return { ...about, ...(await checkCopy(transport, server, chunk, signal)) }
      } finally {
        permit.release()
      }
    }),
  )
  // A copy that is on its way out may be gone by now; one that counts may not.
  const expected = new Set(chunk.replicas)
  return { path, chunkId: chunk.id, copies: copies.filter((copy) => copy.outcome !== 'missing' || expected.has(copy.serverId)) }
}

async function checkCopy(
  transport: Transport,
  server: ServerAddress,
  chunk: ChunkEntry,
  signal: AbortSignal | undefined,
): Promise<{ outcome: CopyOutcome; reason?: string }> {
  try {
    const answer = await transport.call({
      method: 'POST',
      url: `${server.url}${chunkPath(chunk.id)}/verify`,
      headers: { [CAPABILITY_HEADER]: chunk.capability ?? '' },
      timeoutMs: CHECK_TIMEOUT_MS,
      ...(signal ? { signal } : {}),
    })
    const json = JSON.parse(new TextDecoder().decode(answer.body)) as unknown
    if (answer.status !== 200) return { outcome: 'unreachable', reason: errorOf(json, answer, server.url).message }
    return { outcome: verifyAnswer.parse(json).outcome }
  } catch (error) {
    if (signal?.aborted) throw error
    return { outcome: 'unreachable', reason: toCairnError(error).message }
  }
}
