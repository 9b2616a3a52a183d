/** Many small files, put, looked up and read over a number of connections: what is to be done, and the loop that does it. */
import { createHash } from 'node:crypto'
import { randomPieces } from './random-data.js'

export interface LoadTask {
  readonly kind: 'put' | 'stat' | 'get'
  /** Files `PREFIX/0` and so on. */
  readonly prefix: string
  readonly files: number
  /** Size of each; an empty file is metadata alone. */
  readonly bytes: number
  readonly seed: number
  /** As many at once. */
  readonly connections: number
}

export interface LoadResult {
  readonly seconds: number
  readonly tookMs: readonly number[]
  /** Of what was put or read, in the order of the files; of their sizes for a stat. */
  readonly sha256: string
}

/** What one operation of a task does. @returns the content that was read, or the size that was told; nothing for a put */
export type Operation = (file: string, content: Uint8Array, connection: number) => Promise<Uint8Array | number | void>

/** All contents of a task, one after the other. */
export const contentsOf = ({ files, bytes, seed }: Pick<LoadTask, 'files' | 'bytes' | 'seed'>): Buffer =>
  Buffer.concat([...randomPieces(files * bytes, seed)])

/** Does all of a task, the next file on whichever connection is free. @throws when something else comes back than was put */
export async function performTask(task: LoadTask, operation: Operation): Promise<LoadResult> {
  const contents = contentsOf(task)
  const seen: (Uint8Array | string)[] = []
  const tookMs: number[] = []
  let next = 0
  const work = async (_: unknown, connection: number): Promise<void> => {
    while (next < task.files) {
      const index = next++
      const content = contents.subarray(index * task.bytes, (index + 1) * task.bytes)
      const startedMs = performance.now()
      const found = await operation(`${task.prefix}/${index}`, content, connection)
      tookMs.push(performance.now() - startedMs)
      seen[index] = typeof found === 'number' ? `${found}\n` : (found ?? content)
    }
  }
  const startedMs = performance.now()
  await Promise.all(Array.from({ length: task.connections }, work))
  const seconds = (performance.now() - startedMs) / 1000
  const hash = createHash('sha256')
  for (const piece of seen) hash.update(piece)
  return { seconds, tookMs, sha256: hash.digest('hex') }
}

/** What {@link performTask} must have come to. */
export function expectedSha256(task: LoadTask): string {
  const hash = createHash('sha256')
  if (task.kind === 'stat') hash.update(`${task.bytes}\n`.repeat(task.files))
  else hash.update(contentsOf(task))
  return hash.digest('hex')
}
