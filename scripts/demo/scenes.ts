/** The scenes: a transfer with a server killed half-way, and the repair after it. */
import { statSync } from 'node:fs'
import { readdir } from 'node:fs/promises'
import path from 'node:path'
import { SystemClock } from '../../common/clock/system-clock.js'
import { sleep } from '../../common/clock/clock.js'
import { SECOND_MS } from '../../common/units.js'
import type { DemoCluster } from './cluster.js'
import { note, progress } from './report.js'

export interface TransferResult {
  readonly seconds: number
  /** The data directory's name of the server that was killed. */
  readonly killed: string
  /** How much was done when it was. */
  readonly killedAtShare: number
}

export interface RepairResult {
  readonly seconds: number
  readonly chunks: number
  /** The most chunks seen without all their copies. */
  readonly lackedCopies: number
}

const clock = new SystemClock()
const POLL_MS = 20
const REPAIR_POLL_MS = 200
const REPAIR_PATIENCE_MS = 300 * SECOND_MS
const KILL_FROM_SHARE = 0.3
/** The size of blocks in which the system says how much of a sparse file is there. */
const STAT_BLOCK_BYTES = 512

export function uploadAndKill(
  cluster: DemoCluster,
  options: { readonly source: string; readonly target: string; readonly sizeBytes: number },
): Promise<TransferResult> {
  const uploadedBytes = async (): Promise<number> => {
    const { uploads } = await cluster.get<{ uploads: { path: string; uploadedBytes: number }[] }>('/v1/uploads')
    return uploads.find((one) => one.path === options.target)?.uploadedBytes ?? 0
  }
  return transferAndKill(cluster, ['put', options.source, options.target], options.sizeBytes, uploadedBytes)
}

export function downloadAndKill(
  cluster: DemoCluster,
  options: { readonly source: string; readonly target: string; readonly sizeBytes: number },
): Promise<TransferResult> {
  const directory = path.dirname(options.target)
  const partial = `.${path.basename(options.target)}.`
  const downloadedBytes = async (): Promise<number> => {
    const name = (await readdir(directory)).find((one) => one.startsWith(partial))
    return name === undefined ? 0 : (statSync(path.join(directory, name), { throwIfNoEntry: false })?.blocks ?? 0)
  }
  const measure = async (): Promise<number> => (await downloadedBytes()) * STAT_BLOCK_BYTES
  return transferAndKill(cluster, ['get', options.source, options.target], options.sizeBytes, measure)
}

async function transferAndKill(
  cluster: DemoCluster,
  command: readonly string[],
  sizeBytes: number,
  doneBytes: () => Promise<number>,
): Promise<TransferResult> {
  const startedMs = clock.monotonic()
  let ended = false
  const transfer = cluster.cairn(command).finally(() => (ended = true))
  transfer.catch(() => undefined)
  let share = 0
  while (!ended && share < KILL_FROM_SHARE) {
    await sleep(clock, POLL_MS)
    share = (await doneBytes()) / sizeBytes
    progress(share)
  }
  if (ended) {
    await transfer
    throw new Error('the transfer ended before anything could be killed: choose a larger --size')
  }
  const victim = await cluster.killOne()
  const killed = path.basename(victim.dir)
  note(`killed ${killed} (process ${victim.pid}) with SIGKILL at ${Math.round(share * 100)} %`)
  await transfer
  return { seconds: (clock.monotonic() - startedMs) / SECOND_MS, killed, killedAtShare: share }
}

/** Watches from now on; `finish` shows progress and waits until both deaths are noticed and every chunk has its copies. */
export function watchRepair(cluster: DemoCluster): { finish(): Promise<RepairResult> } {
  const startedMs = clock.monotonic()
  let shown = false
  let lackedCopies = 0
  const done = (async (): Promise<RepairResult> => {
    for (;;) {
      const { servers, chunks } = await cluster.status()
      lackedCopies = Math.max(lackedCopies, chunks.total - chunks.healthy)
      const elapsedMs = clock.monotonic() - startedMs
      if (shown) progress(chunks.healthy / chunks.total)
      const noticed = cluster.killed.every((one) => servers.find((server) => server.id === one.id)?.state === 'dead')
      if (noticed && chunks.healthy === chunks.total)
        return { seconds: elapsedMs / SECOND_MS, chunks: chunks.total, lackedCopies }
      if (elapsedMs > REPAIR_PATIENCE_MS)
        throw new Error(`${chunks.total - chunks.healthy} chunks still lack copies after five minutes`)
      await sleep(clock, REPAIR_POLL_MS)
    }
  })()
  done.catch(() => undefined)
  return {
    finish: () => {
      shown = true
      return done
    },
  }
}
