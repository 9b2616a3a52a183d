/**
 * What the machine can do at all, without any of our protocol: direct writes and reads of its disk, bytes over loopback,
 * hashing on one core. Measured in the run whose figures are set beside them.
 */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { rmSync } from 'node:fs'
import { createServer, type Socket } from 'node:net'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { BlockPool } from '../../common/bytes/block-pool.js'
import { xxh64 } from '../../common/checksum/xxh64.js'
import { NodeDisk } from '../../common/disk/node-disk.js'
import { MiB } from '../../common/units.js'
import { dropCaches, mayDropCaches } from './caches.js'
import { limitTool } from './disk-limit.js'
import { randomPieces, writeRandomFile } from './random-data.js'
import { round, summary } from './statistics.js'

const SENDER = fileURLToPath(new URL('local-sender.js', import.meta.url))
const READS_IN_FLIGHT = 4

export interface MachineLimits {
  /** Three writers together, each a file of its own, past the page cache, synced. A third of it is the bound of three copies. */
  readonly directWriteBytesPerSecond: number
  /** One file, read past the page cache, four blocks of 1 MiB in flight. */
  readonly directReadBytesPerSecond: number
  /** From one process to another on this machine, by one TCP connection. */
  readonly loopbackBytesPerSecond: number
  /** The same by a Unix socket. */
  readonly localSocketBytesPerSecond: number
  /** XXH64 of blocks of 1 MiB, where they lie, on one core. */
  readonly hashBytesPerSecond: number
}

/** @param atMostBytes of each file written or read, and sent and hashed: whole blocks of 1 MiB, at least one */
export async function measureLimits(directory: string, atMostBytes: number): Promise<MachineLimits> {
  const bytes = Math.max(MiB, atMostBytes - (atMostBytes % MiB))
  const { bytesPerSecond } = await (await limitTool()).measure(directory, bytes)
  return {
    directWriteBytesPerSecond: bytesPerSecond,
    directReadBytesPerSecond: await directRead(path.join(directory, 'limit-read'), bytes),
    loopbackBytesPerSecond: await sending({ port: 0, host: '127.0.0.1' }, bytes),
    localSocketBytesPerSecond: await sending({ path: path.join(directory, 'limit-socket') }, bytes),
    hashBytesPerSecond: await hashing(bytes),
  }
}

async function directRead(file: string, bytes: number): Promise<number> {
  await writeRandomFile(file, bytes, 7)
  try {
    if (mayDropCaches()) dropCaches()
    const source = await new NodeDisk().openFile(file, { mode: 'read', direct: true })
    const pool = new BlockPool(READS_IN_FLIGHT)
    let next = 0
    const read = async (): Promise<void> => {
      const block = await pool.acquire()
      while (next < bytes) {
        const position = next
        next += MiB
        await source.read(block.bytes, position)
      }
    }
    const seconds = await timed(() => Promise.all(Array.from({ length: READS_IN_FLIGHT }, read)))
    await source.close()
    return round(bytes / seconds, 0)
  } finally {
    rmSync(file, { force: true })
  }
}

async function sending(at: { port: number; host: string } | { path: string }, bytes: number): Promise<number> {
  const server = createServer().listen(at)
  await once(server, 'listening')
  const address = server.address()
  const target = address !== null && typeof address === 'object' ? String(address.port) : String(address)
  const sender = spawn(process.execPath, [SENDER, target, String(bytes)], { stdio: ['ignore', 'ignore', 'inherit'] })
  const [socket] = (await once(server, 'connection')) as [Socket]
  const seconds = await timed(async () => {
    socket.resume()
    await once(socket, 'end')
  })
  if (socket.bytesRead !== bytes) throw new Error(`${socket.bytesRead} bytes came instead of ${bytes}`)
  server.close()
  if (sender.exitCode === null) await once(sender, 'exit')
  return round(bytes / seconds, 0)
}

async function hashing(bytes: number): Promise<number> {
  const block = await new BlockPool(1).acquire()
  for (const piece of randomPieces(MiB, 7)) block.bytes.set(piece)
  const seconds = await timed(() => {
    for (let done = 0; done < bytes; done += MiB) xxh64(block.bytes)
  })
  return round(bytes / seconds, 0)
}

async function timed(work: () => unknown): Promise<number> {
  const startedMs = performance.now()
  await work()
  return (performance.now() - startedMs) / 1000
}

/** Medians over the runs of a workload, in which they were measured turn by turn with the rest. */
export const limitsSummary = (limits: readonly MachineLimits[]) => {
  const names = Object.keys(limits[0] ?? {}) as (keyof MachineLimits)[]
  return Object.fromEntries(
    names.map((name) => [
      name,
      summary(
        limits.map((one) => one[name]),
        0,
      ),
    ]),
  )
}
