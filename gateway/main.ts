/** A gateway on the machine it runs on. */
import http from 'node:http'
import { openNodeClient } from '../client/index.js'
import { SystemClock } from '../common/clock/system-clock.js'
import { bytesToHex } from '../common/ids.js'
import type { Logger } from '../common/observe/logger.js'
import { SystemRandom } from '../common/random/system-random.js'
import { HttpTransport } from '../common/rpc/http/http-transport.js'
import { listenNode, type RunningServer } from '../common/rpc/http/node-server.js'
import type { ListenOptions } from '../common/rpc/transport.js'
import { Gateway } from './gateway.js'

export interface GatewayProcessOptions {
  readonly listen: ListenOptions
  readonly masters: readonly string[]
  readonly zone: string | undefined
  readonly budgetBytes: number | undefined
  readonly log: Logger
}

const CLOSE_GRACE_MS = 5_000
const READY_TIMEOUT_MS = 2_000

/** @throws `PORT_IN_USE` */
export async function runGateway(options: GatewayProcessOptions): Promise<RunningServer> {
  const random = new SystemRandom()
  const transport = new HttpTransport()
  const client = openNodeClient({
    masters: options.masters,
    zone: options.zone,
    budgetBytes: options.budgetBytes,
    log: options.log,
  })
  const masterReady = async (): Promise<boolean> => {
    for (const master of options.masters) {
      const answer = await transport
        .call({ method: 'GET', url: `${master}/readyz`, timeoutMs: READY_TIMEOUT_MS })
        .catch(() => undefined)
      if (answer?.status === 200) return true
    }
    return false
  }
  const gateway = new Gateway({ client, clock: new SystemClock(), random, log: options.log, masterReady })
  // Bodies are read in large pieces: each costs an event.
  const app = gateway.app()
  const http1 = http.createServer({ highWaterMark: 256 * 1024 }, app)
  // The go-ahead for a body is given by whoever reads it, so that a refusal can come instead.
  http1.on('checkContinue', app)
  const server = await listenNode(http1, options.listen)
  return {
    url: server.url,
    id: bytesToHex(random.bytes(16)),
    close: async () => {
      await server.close(CLOSE_GRACE_MS)
      await client.close()
      await transport.close()
    },
  }
}
