/**
 * The client of the small-files workload, a process of its own so that its cost can be told from that of the workload: does
 * what it is told with so many files at once through the client library, and says how long each took.
 */
import { createHash } from 'node:crypto'
import { openNodeClient } from '../../client/index.js'
import { randomPieces } from './random-data.js'

export interface SmallFilesTask {
  readonly kind: 'put' | 'stat' | 'get'
  /** Files `PREFIX/0` and so on. */
  readonly prefix: string
  readonly files: number
  readonly bytes: number
  readonly seed: number
  readonly connections: number
}

export interface SmallFilesResult {
  readonly seconds: number
  readonly tookMs: readonly number[]
  /** Of what was put or read, in the order of the files; of names and sizes for a stat. */
  readonly sha256: string
}

const client = openNodeClient({ masters: [process.env['CAIRN_MASTER'] ?? ''], token: process.env['CAIRN_TOKEN'] })

process.on('message', (message: SmallFilesTask | 'end') => {
  if (message === 'end') {
    process.disconnect()
    return void client.close()
  }
  perform(message).then(
    (result) => process.send?.(result),
    (error: unknown) => {
      process.stderr.write(`${error instanceof Error ? error.stack : String(error)}\n`)
      process.exit(1)
    },
  )
})

async function perform(task: SmallFilesTask): Promise<SmallFilesResult> {
  const contents = [...randomPieces(task.files * task.bytes, task.seed)]
  const all = Buffer.concat(contents)
  const seen: (Uint8Array | string)[] = []
  const tookMs: number[] = []
  let next = 0
  const worker = async (): Promise<void> => {
    while (next < task.files) {
      const index = next++
      const startedMs = performance.now()
      seen[index] = await one(task, index, all.subarray(index * task.bytes, (index + 1) * task.bytes))
      tookMs.push(performance.now() - startedMs)
    }
  }
  const startedMs = performance.now()
  await Promise.all(Array.from({ length: task.connections }, worker))
  const seconds = (performance.now() - startedMs) / 1000
  const hash = createHash('sha256')
  for (const piece of seen) hash.update(piece)
  return { seconds, tookMs, sha256: hash.digest('hex') }
}

/** @returns what the file holds, or says of itself */
async function one(task: SmallFilesTask, index: number, content: Uint8Array): Promise<Uint8Array | string> {
  const path = `${task.prefix}/${index}`
  if (task.kind === 'put') {
    await client.uploadStream(pieces(content), path, { sizeBytes: content.length })
    return content
  }
  const file = await client.stat(path)
  if (task.kind === 'stat') return `${file.path} ${file.sizeBytes}\n`
  const parts: Uint8Array[] = []
  for await (const piece of client.download(file)) parts.push(Buffer.from(piece))
  return Buffer.concat(parts)
}

async function* pieces(content: Uint8Array): AsyncGenerator<Uint8Array> {
  yield content
}
