/** Listening with Node's own HTTP server: for Express applications. */
import type http from 'node:http'
import type { AddressInfo } from 'node:net'
import type { ListenOptions } from '../transport.js'
import { bind } from './http-server.js'

/** A server process's handle. */
export interface RunningServer {
  readonly url: string
  readonly id: string
  /** Where it listens, when others are told to reach it elsewhere. */
  readonly listenUrl?: string
  close(): Promise<void>
}

/** Idle connections outlive those of clients, so that it is the client who closes them. */
const KEEP_ALIVE_MS = 75_000

export async function listenNode(
  server: http.Server,
  options: ListenOptions,
): Promise<{ readonly url: string; close(graceMs: number): Promise<void> }> {
  server.keepAliveTimeout = KEEP_ALIVE_MS
  server.headersTimeout = KEEP_ALIVE_MS + 5_000
  // Uploads through a gateway may take hours; what stands still is cut by whoever reads it.
  server.requestTimeout = 0
  await bind(server, options)
  const { port } = server.address() as AddressInfo
  const host = options.host.includes(':') ? `[${options.host}]` : options.host
  return {
    url: `http://${host}:${port}`,
    close: async (graceMs) => {
      const closed = new Promise<void>((resolve) => server.close(() => resolve()))
      server.closeIdleConnections()
      const timer = setTimeout(() => server.closeAllConnections(), graceMs)
      await closed
      clearTimeout(timer)
    },
  }
}
