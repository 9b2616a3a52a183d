/** What every command shares: global options, output, the way errors end the process. */
import { setMaxListeners } from 'node:events'
import type { Command } from 'commander'
import { Option } from 'commander'
import { CairnError, isCairnError, toCairnError } from '../common/errors/cairn-error.js'
import type { CairnClient } from '../client/index.js'

export interface GlobalOptions {
  readonly json?: boolean
  readonly master?: string
  readonly token?: string
  readonly zone?: string
  readonly logLevel?: string
}

/** The global options, which may stand before or after the command's name. */
export function addGlobalOptions(command: Command): Command {
  return command
    .option('--json', 'print JSON on stdout (one object, or one per line for lists)')
    .addOption(new Option('--master <url[,url]>', 'addresses of masters').env('CAIRN_MASTER').default('http://127.0.0.1:9440'))
    .addOption(new Option('--token <token>', 'API token').env('CAIRN_TOKEN'))
    .addOption(new Option('--zone <zone>', 'where this client is: near servers are preferred').env('CAIRN_ZONE'))
}

export const mastersOf = (options: GlobalOptions): string[] =>
  (options.master ?? '')
    .split(',')
    .map((url) => url.trim())
    .filter((url) => url !== '')

/** Runs `work` with a client, and closes it. */
export async function withClient<T>(
  options: GlobalOptions & { readonly concurrency?: number | undefined },
  work: (client: CairnClient, signal: AbortSignal) => Promise<T>,
): Promise<T> {
  const { openNodeClient } = await import('../client/index.js')
  const client = openNodeClient({
    masters: mastersOf(options),
    token: options.token,
    zone: options.zone,
    concurrency: options.concurrency,
  })
  const abort = interruptible()
  try {
    return await work(client, abort.signal)
  } finally {
    abort.dispose()
    await client.close()
  }
}

/** A signal that the first Ctrl-C aborts, and the end of whoever reads stdout; the second Ctrl-C ends the process at once. */
function interruptible(): { readonly signal: AbortSignal; dispose(): void } {
  const controller = new AbortController()
  // Each of many transfers listens; that is no leak.
  setMaxListeners(0, controller.signal)
  const onSignal = (): void => {
    if (controller.signal.aborted) process.exit(1)
    controller.abort(new CairnError('ABORTED', 'Interrupted. Run the same command again to go on where it stopped.'))
  }
  const onOutputClosed = (): void => controller.abort(new CairnError('ABORTED', 'Whoever read stdout has stopped.'))
  process.stdout.on('error', onOutputClosed)
  process.on('SIGINT', onSignal)
  process.on('SIGTERM', onSignal)
  return {
    signal: controller.signal,
    dispose: () => {
      process.stdout.off('error', onOutputClosed)
      process.off('SIGINT', onSignal)
      process.off('SIGTERM', onSignal)
    },
  }
}

/** Prints a result: as JSON, or for people. */
export function print(options: GlobalOptions, json: unknown, text: () => string): void {
  process.stdout.write(options.json ? `${JSON.stringify(json)}\n` : `${text()}\n`)
}

/** A line for people, on stderr. */
export function say(line: string): void {
  process.stderr.write(`${line}\n`)
}

/** Says what went wrong, in the form that was asked for, and returns the exit code. */
export function reportFailure(error: unknown, json: boolean): number {
  const known = isCairnError(error) ? error : toCairnError(error)
  if (json) {
    const { code, message, retryable, requestId, data } = known.toJSON()
    process.stdout.write(
      `${JSON.stringify({ error: { code, message, retryable, requestId: requestId ?? null, ...(data ? { data } : {}) } })}\n`,
    )
  } else {
    say(`cairn: ${known.message} [${known.code}]`)
    if (!isCairnError(error) && error instanceof Error && process.env['CAIRN_DEBUG']) say(error.stack ?? '')
  }
  return known.info.exitCode
}
