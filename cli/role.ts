/** Running a server role in the foreground: ready message, signals, and an end when the supervisor is gone. */
import { SystemClock } from '../common/clock/system-clock.js'
import { CairnError, toCairnError } from '../common/errors/cairn-error.js'
import type { Logger } from '../common/observe/logger.js'
import { createPinoLogger, type LogLevel } from '../common/observe/pino-logger.js'
import type { RunningServer } from '../common/rpc/http/node-server.js'
import { SECOND_MS } from '../common/units.js'
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
  | { readonly event: 'ready'; readonly role: Role; readonly url: string; readonly listenUrl: string; readonly id: string }
  | { readonly event: 'failed'; readonly error: unknown }

/** Without a supervisor nobody is left who would end a process that cannot come to its own end, for a hung disk say. */
const ORPHAN_GRACE_MS = 10 * SECOND_MS

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
  if (isSupervised())
    process.on('disconnect', () => {
      new SystemClock().setTimer(ORPHAN_GRACE_MS, () => process.exit(1))
      void stop('the supervisor is gone')
    })
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
  const { url, listenUrl = url, id } = server
  process.send?.({ event: 'ready', role: options.role, url, listenUrl, id } satisfies ChildMessage)
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
