/**
 * Sending several small chunks in one answer. Each is verified before it is sent; one that cannot be sent is an error in its
 * place, as the answer to a GET of its own would be.
 */
import { encodeLeafSums } from '../../common/checksum/tree.js'
import { CairnError, toCairnError } from '../../common/errors/cairn-error.js'
import {
  encodeFound,
  parseList,
  readList,
  SMALL_CHUNK_BYTES_MAX,
  SMALL_CHUNKS_DATA_BYTES_MAX,
  type FoundList,
  type ReadList,
  type SmallData,
} from '../../common/protocol/small-chunks.js'
import { readAll } from '../../common/rpc/byte-pipe.js'
import type { IncomingRequest, OutgoingResponse } from '../../common/rpc/transport.js'
import type { ChunkserverContext } from '../server-context.js'
import type { ChunkReader } from '../store/chunk-store.js'
import { releaseAfter } from '../store/disk-io.js'
import type { Admitted } from './admission.js'
import { checkReadCapability } from './get-chunk.js'
import { smallBodyBytes } from './small-body.js'

type Wanted = ReadList['chunks'][number]

export async function readTogether(context: ChunkserverContext, request: IncomingRequest): Promise<OutgoingResponse> {
  const length = smallBodyBytes(request)
  const text = new TextDecoder().decode(await readAll(request.body, length))
  const { chunks } = parseList(text, readList)
  const dataBytes = chunks.reduce((sum, { chunkId }) => sum + (context.store.find(chunkId)?.lengthBytes ?? 0), 0)
  if (dataBytes > SMALL_CHUNKS_DATA_BYTES_MAX)
    throw new CairnError(
      'INVALID_ARGUMENT',
      `The chunks have ${dataBytes} bytes, at most ${SMALL_CHUNKS_DATA_BYTES_MAX} go into one answer.`,
    )
  const admitted = await context.admission.withSignsOfLife(request, () => context.admission.admitRead(request.signal))
  try {
    const body = await context.admission.withSignsOfLife(request, () => read(context, admitted, chunks))
    return { status: 200, headers: { 'content-type': 'application/octet-stream' }, body }
  } finally {
    admitted.release()
  }
}

async function read(context: ChunkserverContext, admitted: Admitted, chunks: readonly Wanted[]): Promise<Uint8Array> {
  // Opening a packed chunk is reading it: all at once. What has a file of its own is read one after the other.
  const opening = chunks.map((wanted) => open(context, wanted))
  const list: FoundList['chunks'] = []
  const found: SmallData[] = []
  for (const opened of opening) {
    try {
      const data = await readOne(admitted, await opened)
      context.onBytes('out', data.data.length, 'client')
      list.push({ lengthBytes: data.data.length })
      found.push(data)
    } catch (error) {
      list.push({ error: toCairnError(error) })
    }
  }
  return encodeFound({ chunks: list }, found)
}

function open(context: ChunkserverContext, { chunkId, capability }: Wanted): Promise<ChunkReader> {
  const opening = (async () => {
    checkReadCapability(context, capability, chunkId)
    return context.store.open(chunkId)
  })()
  // Each is looked at in its turn.
  opening.catch(() => undefined)
  return opening
}

async function readOne(admitted: Admitted, reader: ChunkReader): Promise<SmallData> {
  try {
    const { lengthBytes, leafSums } = reader
    if (lengthBytes > SMALL_CHUNK_BYTES_MAX)
      throw new CairnError('INVALID_ARGUMENT', `A chunk of ${lengthBytes} bytes is read by itself.`)
    const block = await admitted.blocks.take()
    try {
      const count = await reader.readLeaf(0, block.bytes)
      const data = block.bytes.slice(0, count)
      block.release()
      return { data, leafSum: encodeLeafSums(leafSums) }
    } catch (error) {
      releaseAfter(error, block)
      throw error
    }
  } finally {
    await reader.close()
  }
}
