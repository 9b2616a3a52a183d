/** Logs as JSON lines on stderr, by pino. Synchronous: the last line before a crash is the one that matters. */
import { destination, pino, stdSerializers, stdTimeFunctions } from 'pino'
import type { Logger } from './logger.js'

export type LogLevel = 'debug' | 'info' | 'warn' | 'error' | 'silent'

export function createPinoLogger(options: { readonly level: LogLevel; readonly role: string }): Logger {
  const stderr = destination({ fd: 2, sync: true })
  // A log that cannot be written (its disk is full, its reader gone) must not end the server that writes it.
  stderr.on('error', () => undefined)
  return pino(
    {
      level: options.level,
      base: { role: options.role, pid: process.pid },
      timestamp: stdTimeFunctions.isoTime,
      formatters: { level: (label) => ({ level: label }) },
      serializers: { error: stdSerializers.err },
    },
    stderr,
  )
}
