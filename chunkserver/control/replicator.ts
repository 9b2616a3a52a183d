/** Re-replication, the source's side: reads a chunk, verifying it, and pushes it along the ordinary write path. */
import { encodeLeafSums, leafCount, leafLength } from '../../common/checksum/tree.js'
import { toCairnError } from '../../common/errors/cairn-error.js'
import { linkedAbort } from '../../common/flow/abort.js'
import { Semaphore } from '../../common/flow/semaphore.js'
import type { TaskId } from '../../common/ids.js'
import { putBodyLength } from '../../common/protocol/chunk-data.js'
import type { Command, TaskResult } from '../../common/protocol/cluster.js'
import type { Exchange } from '../../common/rpc/transport.js'
import { SECOND_MS } from '../../common/units.js'
import { openPut, readPutResult } from '../data/forward.js'
import type { ChunkserverContext } from '../server-context.js'
import type { ChunkReader } from '../store/chunk-store.js'
import { withBlock } from '../store/disk-io.js'
import type { RepairBudget } from './repair-budget.js'

type ReplicateCommand = Extract<Command, { kind: 'replicate' }>

const PUSH_STALL_TIMEOUT_MS = 15 * SECOND_MS
/** Few enough that each moves on within the stall timeout even at the lowest budget; the others wait in line. */
const PUSHES_AT_ONCE = 6

export class Replicator {
  readonly #context: ChunkserverContext
  readonly #report: (result: TaskResult) => void
  readonly #running = new Set<TaskId>()
  readonly #budget: RepairBudget
  readonly #pushes = new Semaphore(PUSHES_AT_ONCE)
  readonly #abort = linkedAbort()

  constructor(context: ChunkserverContext, budget: RepairBudget, report: (result: TaskResult) => void) {
    this.#context = context
    this.#budget = budget
    this.#report = report
  }

  /** Begun and not ended. */
  get tasks(): TaskId[] {
    return [...this.#running]
  }

  /** Begins a copy. The same task twice is one. */
  start(command: ReplicateCommand): void {
    if (this.#running.has(command.taskId)) return
    this.#running.add(command.taskId)
    void this.#run(command)
      .catch((error: unknown): TaskResult => {
        const { code, message } = toCairnError(error)
        return { kind: 'failed', taskId: command.taskId, code, message }
      })
      .then((result) => {
        this.#running.delete(command.taskId)
        this.#report(result)
      })
  }

  stop(): void {
    this.#abort.abort(new Error('the chunkserver is stopping'))
  }

  async #run(command: ReplicateCommand): Promise<TaskResult> {
    const permit = await this.#pushes.acquire(1, this.#abort.signal)
    try {
      return await this.#copy(command)
    } finally {
      permit.release()
    }
  }

  async #copy(command: ReplicateCommand): Promise<TaskResult> {
    const admitted = await this.#context.admission.admitRead(this.#abort.signal)
    try {
      const reader = await this.#context.store.open(command.chunkId)
      try {
        return await this.#push(command, reader, admitted.blocks)
      } finally {
        await reader.close()
      }
    } finally {
      admitted.release()
    }
  }

  async #push(
    command: ReplicateCommand,
    reader: ChunkReader,
    blocks: { take(): Promise<{ bytes: Uint8Array; release(): void }> },
  ): Promise<TaskResult> {
    const { chunkId, capability, target, taskId } = command
    const exchange = openPut(this.#context.transport, {
      chunkId,
      capability,
      hop: target,
      rest: [],
      place: 0,
      timeoutMs: PUSH_STALL_TIMEOUT_MS,
      contentLength: putBodyLength(reader.lengthBytes),
      requestId: taskId,
      purpose: 'repair',
      signal: this.#abort.signal,
    })
    try {
      await this.#send(exchange, reader, blocks, command.urgent)
      const { receipts } = await readPutResult(await exchange.response, target.url)
      const receipt = receipts[0]
      return receipt
        ? { kind: 'replicated', taskId, receipt }
        : { kind: 'failed', taskId, code: 'PROTOCOL_ERROR', message: 'the target answered without a receipt' }
    } catch (error) {
      exchange.destroy(toCairnError(error))
      throw error
    }
  }

  async #send(
    exchange: Exchange,
    reader: ChunkReader,
    blocks: { take(): Promise<{ bytes: Uint8Array; release(): void }> },
    urgent: boolean,
  ): Promise<void> {
    await exchange.ready
    for (let index = 0; index < leafCount(reader.lengthBytes) && !exchange.answered; index += 1) {
      await this.#budget.take(leafLength(reader.lengthBytes, index), urgent, this.#abort.signal)
      await withBlock(blocks.take(), async (block) => {
        const length = await reader.readLeaf(index, block.bytes)
        await exchange.write(block.bytes.subarray(0, length))
        this.#context.onBytes('out', length, 'repair')
      })
    }
    await exchange.write(encodeLeafSums(reader.leafSums))
  }
}
