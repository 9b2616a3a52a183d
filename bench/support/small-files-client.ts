/** `CAIRN_MASTER=… CAIRN_TOKEN=… node small-files-client.js`: does what it is told with small files, through the client library. */
import { openNodeClient } from '../../client/index.js'
import { serveTasks } from './load-client.js'
import type { LoadTask, Operation } from './load-task.js'

const client = openNodeClient({ masters: [process.env['CAIRN_MASTER'] ?? ''], token: process.env['CAIRN_TOKEN'] })

async function* pieces(content: Uint8Array): AsyncGenerator<Uint8Array> {
  if (content.length > 0) yield content
}

const OPERATIONS: Record<LoadTask['kind'], Operation> = {
  put: async (path, content) => {
    await client.uploadStream(pieces(content), path, { sizeBytes: content.length })
  },
  stat: async (path) => (await client.stat(path)).sizeBytes,
  get: async (path) => {
    const parts: Uint8Array[] = []
    for await (const piece of client.download(await client.stat(path))) parts.push(Buffer.from(piece))
    return Buffer.concat(parts)
  },
}

serveTasks(
  ({ kind }) => OPERATIONS[kind],
  () => client.close(),
)
