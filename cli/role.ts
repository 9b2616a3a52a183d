/** Running a server role in the foreground: ready message, signals, and an end when the supervisor is gone. */
import { CairnError, toCairnError } from '../common/errors/cairn-error.js'
import type { Logger } from '../common/observe/logger.js'
import { createPinoLogger, type LogLevel } from '../common/observe/pino-logger.js'
import type { RunningServer } from '../common/rpc/http/node-server.js'
import { reportFailure } from './context.js'

export type Role = 'master' | 'chunkserver' | 'gateway'

export interface RoleOptions {
  readonly role: Role
  readonly json: boolean
  readonly logLevel: LogLevel
  /** Told to whoever reads stdout when the server is ready. */
  readonly readyExtra?: Readonly<Record<string, unknown>>
  readonly start: (services: {
    readonly log: Logger
    readonly signal: AbortSignal
    readonly onFatal: (error: unknown) => void
  }) => Promise<RunningServer>
}

/** Set by `cairn up` for its children: they talk to it over IPC, and end with it. */
export const isSupervised = (): boolean => process.send !== undefined

export type ChildMessage =
  | { readonly event: 'ready'; readonly role: Role; readonly url: string; readonly id: string }
  | { readonly event: 'failed'; readonly error: unknown }

export async function runRole(options: RoleOptions): Promise<void> {
  const log = createPinoLogger({ level: options.logLevel, role: options.role })
  const stopping = new AbortController()
  let server: RunningServer | undefined
  const stop = async (why: string): Promise<void> => {
    if (stopping.signal.aborted) return
    log.info({ why }, 'stopping')
    stopping.abort(new CairnError('SHUTTING_DOWN', `The ${options.role} was told to stop (${why}).`))
    await server?.close()
    process.exit(0)
  }
  for (const signal of ['SIGTERM', 'SIGINT'] as const) process.on(signal, () => void stop(signal))
  if (isSupervised()) process.on('disconnect', () => void stop('the supervisor is gone'))
  const onFatal = (error: unknown): void => {
    log.error({ error }, 'fatal, ending')
    process.exit(1)
  }
  process.on('uncaughtException', onFatal)
  process.on('unhandledRejection', onFatal)
  try {
    server = await options.start({ log, signal: stopping.signal, onFatal })
  } catch (error) {
    if (stopping.signal.aborted) return
    await fail(options, log, error)
    return
  }
  announce(options, server)
}

function announce(options: RoleOptions, server: RunningServer): void {
  const ready = { event: 'ready', role: options.role, id: server.id, url: server.url, pid: process.pid, ...options.readyExtra }
  process.send?.({ event: 'ready', role: options.role, url: server.url, id: server.id } satisfies ChildMessage)
  if (options.json) process.stdout.write(`${JSON.stringify(ready)}\n`)
  else if (!process.send)
    process.stdout.write(
      `${options.role} ${server.id} is ready at ${server.url}\n${Object.entries(options.readyExtra ?? {})
        .map(([name, value]) => `  ${name}  ${String(value)}\n`)
        .join('')}`,
    )
}

async function fail(options: RoleOptions, log: Logger, error: unknown): Promise<void> {
  log.error({ error }, 'cannot start')
  const message: ChildMessage = { event: 'failed', error: toCairnError(error).toJSON() }
  if (process.send) await new Promise<void>((resolve) => process.send?.(message, () => resolve()))
  process.exit(process.send ? 1 : reportFailure(error, options.json))
}
