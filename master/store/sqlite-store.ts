/**
 * The embedded {@link MetadataStore}: one SQLite file, one writer in a thread of its own, reads on the caller's thread.
 * With `:memory:` everything runs inline on one connection, on the injected clock: for tests and simulation.
 */
import { closeSync, openSync } from 'node:fs'
import { Worker } from 'node:worker_threads'
import { CairnError } from '../../common/errors/cairn-error.js'
import { SystemClock } from '../../common/clock/system-clock.js'
import type { Clock } from '../../common/clock/clock.js'
import { deferred, type Deferred } from '../../common/flow/deferred.js'
import type { Random } from '../../common/random/random.js'
import type { Operation } from './engine/statement.js'
import { IN_MEMORY, SqliteConnection } from './engine/sqlite-connection.js'
import type { WriterAnswer, WriterRequest } from './engine/sqlite-writer-worker.js'
import { runWriteBatch, type WriteRequest } from './engine/write-batch.js'
import type { MetadataStore } from './metadata-store.js'
import { reads, writes, type ReadName, type WriteName } from './operations/index.js'
import type { OperationContext } from './operations/context.js'

interface Writer {
  write(request: WriteRequest): Promise<unknown>
  close(): Promise<void>
}

const READ_ONLY: Pick<OperationContext, 'newId' | 'lane'> = {
  newId: () => {
    throw new Error('a read makes no ids')
  },
  lane: 0,
}

/** Opens, or makes, the metadata at `file`. @param onFatal told when the writer has failed: the process must end, nothing may be retried. */
export async function openSqliteStore(file: string, onFatal: (error: unknown) => void): Promise<MetadataStore> {
  // It holds signing keys: nobody else may read it. SQLite gives its side files the same rights.
  closeSync(openSync(file, 'a', 0o600))
  // Its thread loads its modules meanwhile, which takes longer than all else here.
  const writer = new ThreadWriter(file, onFatal)
  try {
    const migrating = await sqliteConnection(file)
    migrating.close()
    const reader = new SqliteConnection(file, { readOnly: true })
    return assemble(new SystemClock(), writer, reader, () => reader.close())
  } catch (error) {
    await writer.close()
    throw error
  }
}

/** The database itself, up to date and without a store: for those who fill one with rows by the million. */
export async function sqliteConnection(file: string): Promise<SqliteConnection> {
  const connection = new SqliteConnection(file, { readOnly: false })
  await connection.migrate()
  return connection
}

/**
 * A store that lives as long as the process. Durable to nobody; for tests and simulation.
 * @param connection to a fresh database in memory, for those who want to look at its rows
 */
export async function openMemoryStore(
  clock: Clock,
  random: Random,
  connection = new SqliteConnection(IN_MEMORY, { readOnly: false }),
): Promise<MetadataStore> {
  await connection.migrate()
  const inline: Writer = {
    write: async (request) => {
      const [outcome] = runWriteBatch(connection, [request], { now: () => clock.now(), random })
      if (!outcome?.ok) throw outcome?.error
      return outcome.value
    },
    close: async () => undefined,
  }
  return assemble(clock, inline, connection, () => connection.close())
}

function assemble(clock: Clock, writer: Writer, reader: SqliteConnection, closeReader: () => void): MetadataStore {
  const operations: Record<string, (args: unknown) => Promise<unknown>> = {}
  for (const name of Object.keys(writes) as WriteName[]) operations[name] = (args) => writer.write({ name, args })
  for (const name of Object.keys(reads) as ReadName[]) {
    const read = reads[name] as unknown as (ctx: OperationContext, args: unknown) => Operation<unknown>
    operations[name] = async (args) => reader.execute(read({ ...READ_ONLY, nowMs: clock.now() }, args))
  }
  const close = async (): Promise<void> => {
    await writer.close()
    closeReader()
  }
  return { ...operations, now: () => clock.now(), close, [Symbol.asyncDispose]: close } as unknown as MetadataStore
}

class ThreadWriter implements Writer {
  readonly #worker: Worker
  readonly #waiting = new Map<number, Deferred<unknown>>()
  #outgoing: WriterRequest[] = []
  #nextId = 1
  #closing = false

  constructor(file: string, onFatal: (error: unknown) => void) {
    this.#worker = new Worker(new URL('./engine/sqlite-writer-worker.js', import.meta.url), { workerData: { file } })
    this.#worker.on('message', (answers: readonly WriterAnswer[]) => answers.forEach((answer) => this.#settle(answer)))
    const fail = (error: unknown): void => {
      for (const waiter of this.#waiting.values()) waiter.reject(error)
      this.#waiting.clear()
      if (!this.#closing) onFatal(error)
    }
    this.#worker.on('error', fail)
    this.#worker.on('exit', () => fail(new CairnError('SHUTTING_DOWN', 'The metadata store is closed.')))
  }

  write(request: WriteRequest): Promise<unknown> {
    if (this.#closing) return Promise.reject(new CairnError('SHUTTING_DOWN', 'The metadata store is closed.'))
    const id = this.#nextId++
    const waiter = deferred<unknown>()
    this.#waiting.set(id, waiter)
    // eslint-disable-next-line no-restricted-syntax -- with its thread, the writer is below the seams
    if (this.#outgoing.push({ id, name: request.name, args: request.args }) === 1) setImmediate(() => this.#send())
    return waiter.promise
  }

  async close(): Promise<void> {
    if (this.#closing) return
    this.#closing = true
    const exited = new Promise<void>((resolve) => this.#worker.once('exit', () => resolve()))
    this.#send()
    this.#worker.postMessage('close')
    await exited
  }

  /** What has come up since the event loop's last turn travels as one message. */
  #send(): void {
    if (this.#outgoing.length > 0) this.#worker.postMessage(this.#outgoing)
    this.#outgoing = []
  }

  #settle(answer: WriterAnswer): void {
    const waiter = this.#waiting.get(answer.id)
    this.#waiting.delete(answer.id)
    if (answer.ok) waiter?.resolve(answer.value)
    else waiter?.reject(CairnError.fromJSON(answer.error))
  }
}
