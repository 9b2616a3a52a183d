/** A chunkserver on the machine it runs on: real disk, clock and network. */
import { hostname } from 'node:os'
import { SystemClock } from '../common/clock/system-clock.js'
import { NodeDisk } from '../common/disk/node-disk.js'
import type { Logger } from '../common/observe/logger.js'
import { SystemRandom } from '../common/random/system-random.js'
import { HttpTransport } from '../common/rpc/http/http-transport.js'
import type { RunningServer } from '../common/rpc/http/node-server.js'
import type { ListenOptions } from '../common/rpc/transport.js'
import { Chunkserver } from './chunkserver.js'

export interface ChunkserverProcessOptions {
  readonly directories: readonly string[]
  readonly listen: ListenOptions
  readonly advertisedUrl: string | undefined
  readonly masters: readonly string[]
  readonly token: string | undefined
  readonly zone: string
  readonly rack: string
  readonly capacityBytes: number | undefined
  readonly reserveBytes: number | undefined
  readonly log: Logger
  readonly signal?: AbortSignal
}

/** Of the threads that all file calls of a process share, some are left for calls that are not about chunks. */
const SPARE_THREADS = 4

/** @throws `DIRECTORY_LOCKED`, `PORT_IN_USE`, `WRONG_CLUSTER`, `SERVER_ID_CONFLICT`, `UNAUTHENTICATED` */
export async function runChunkserver(options: ChunkserverProcessOptions): Promise<RunningServer> {
  const transport = new HttpTransport()
  const threads = Number(process.env['UV_THREADPOOL_SIZE'] ?? 4)
  const server = await Chunkserver.open(
    {
      clock: new SystemClock(),
      random: new SystemRandom(),
      log: options.log,
      transport,
      disk: new NodeDisk(),
      directories: options.directories,
      listen: options.listen,
      advertisedUrl: options.advertisedUrl,
      masters: options.masters,
      token: options.token,
      zone: options.zone,
      rack: options.rack,
      host: hostname(),
      capacityBytes: options.capacityBytes,
      reserveBytes: options.reserveBytes,
      ioConcurrency: Math.max(2, threads - SPARE_THREADS),
      processMetrics: true,
    },
    options.signal,
  )
  return {
    url: server.url,
    id: server.serverId,
    close: async () => {
      await server.close()
      await transport.close()
    },
  }
}
