/** The writer's thread: fsync blocks it, not the event loop that answers heartbeats. Takes whatever has queued up as one batch. */
import { parentPort, receiveMessageOnPort, workerData } from 'node:worker_threads'
import { assert } from '../../../common/assert.js'
import { SystemClock } from '../../../common/clock/system-clock.js'
import { toCairnError } from '../../../common/errors/cairn-error.js'
import { SystemRandom } from '../../../common/random/system-random.js'
import { SqliteConnection } from './sqlite-connection.js'
import { runWriteBatch, type WriteRequest } from './write-batch.js'

export interface WriterRequest extends WriteRequest {
  readonly id: number
}

export type WriterAnswer =
  | { readonly id: number; readonly ok: true; readonly value: unknown }
  | { readonly id: number; readonly ok: false; readonly error: unknown }

/** Bounds how long the first of a batch waits for the last: no further message is taken from here on. */
const BATCH_MAX = 512

assert(parentPort, 'this module runs as a worker')
const port = parentPort
const clock = new SystemClock()
const random = new SystemRandom()
/** Opened with the first write: the thread is started while the schema is still being brought up to date. */
let connection: SqliteConnection | undefined

function open(): SqliteConnection {
  const opened = new SqliteConnection((workerData as { file: string }).file, { readOnly: false })
  // What a savepoint could have to undo stays in memory: it would spill into a file after a few pages.
  opened.native.pragma('temp_store = MEMORY')
  return opened
}

type Message = readonly WriterRequest[] | 'close'

port.on('message', (first: Message) => {
  const batch: WriterRequest[] = []
  let closing = false
  for (let next: Message | undefined = first; next !== undefined; next = receive()) {
    if (next === 'close') closing = true
    else batch.push(...next)
    if (batch.length >= BATCH_MAX) break
  }
  if (batch.length > 0) answer(batch)
  if (closing) {
    connection?.close()
    port.close()
  }
})

function receive(): Message | undefined {
  return (receiveMessageOnPort(port) as { message: Message } | undefined)?.message
}

function answer(batch: readonly WriterRequest[]): void {
  const outcomes = runWriteBatch((connection ??= open()), batch, { now: () => clock.now(), random })
  const answers: WriterAnswer[] = outcomes.map((outcome, index) => {
    const id = batch[index]?.id ?? -1
    return outcome.ok ? { id, ok: true, value: outcome.value } : { id, ok: false, error: toCairnError(outcome.error).toJSON() }
  })
  port.postMessage(answers)
}
