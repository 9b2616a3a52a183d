/** A chunkserver on the machine it runs on: real disk, clock and network. */
import { hostname } from 'node:os'
import type { Clock } from '../common/clock/clock.js'
import { SystemClock } from '../common/clock/system-clock.js'
import type { Disk } from '../common/disk/disk.js'
import { NodeDisk } from '../common/disk/node-disk.js'
import type { Logger } from '../common/observe/logger.js'
import { SystemRandom } from '../common/random/system-random.js'
import { HttpTransport } from '../common/rpc/http/http-transport.js'
import type { RunningServer } from '../common/rpc/http/node-server.js'
import type { ListenOptions } from '../common/rpc/transport.js'
import { Chunkserver } from './chunkserver.js'
import { PACKED_CHUNK_BYTES_MAX } from './store/pack-record.js'

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
  /** Chunks up to this length share pack files; undefined: as many as can. */
  readonly packedBytesMax: number | undefined
  readonly log: Logger
  readonly signal?: AbortSignal
}

/** Of the threads that all file calls of a process share, some are left for calls that are not about chunks. */
const SPARE_THREADS = 4

/** @throws `DIRECTORY_LOCKED`, `PORT_IN_USE`, `WRONG_CLUSTER`, `SERVER_ID_CONFLICT`, `UNAUTHENTICATED` */
export async function runChunkserver(options: ChunkserverProcessOptions): Promise<RunningServer> {
  const transport = new HttpTransport()
  const threads = Number(process.env['UV_THREADPOOL_SIZE'] ?? 4)
  const clock = new SystemClock()
  const server = await Chunkserver.open(
    {
      clock,
      random: new SystemRandom(),
      log: options.log,
      transport,
      disk: await openDisk(clock),
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
      packedBytesMax: options.packedBytesMax ?? PACKED_CHUNK_BYTES_MAX,
      ioConcurrency: Math.max(2, threads - SPARE_THREADS),
      processMetrics: true,
    },
    options.signal,
  )
  return {
    url: server.url,
    id: server.serverId,
    listenUrl: server.listenUrl,
    close: async () => {
      await server.close()
      await transport.close()
    },
  }
}

/** The machine's, unless a test asks for one that fails at its command. */
async function openDisk(clock: Clock): Promise<Disk> {
  const faults = process.env['CAIRN_TEST_DISK_FAULTS']
  if (faults === undefined) return new NodeDisk()
  const { FaultyDisk } = await import('../common/disk/faulty-disk.js')
  return new FaultyDisk(new NodeDisk(), clock, faults)
}
