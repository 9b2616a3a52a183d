/** master, chunkserver, gateway: one role each, in the foreground. */
import { readFileSync } from 'node:fs'
import { hostname } from 'node:os'
import path from 'node:path'
import { Option, type Command } from 'commander'
import { CairnError } from '../../common/errors/cairn-error.js'
import { parseDuration, parseSize } from '../../common/units.js'
import type { LogLevel } from '../../common/observe/pino-logger.js'
import { addGlobalOptions, mastersOf, type GlobalOptions } from '../context.js'
import { runRole } from '../role.js'
import { ensureTokens } from '../tokens.js'
import { wholeNumber } from './transfer.js'

export interface TimerFlags {
  readonly suspectAfter?: number
  readonly deadAfter?: number
  readonly heartbeatInterval?: number
  readonly gcGrace?: number
  readonly repairBandwidth?: number
}

interface ServerFlags extends GlobalOptions, TimerFlags {
  readonly config?: string
  readonly host: string
  readonly port: number
  readonly advertise?: string
  readonly dir?: string | string[]
  readonly metadata?: string
  readonly lease?: number
  readonly rack?: string
  readonly capacity?: number
  readonly reserve?: number
  readonly packBelow?: number
  readonly budget?: number
}

export const addTimerOptions = (command: Command): Command =>
  command
    .option('--suspect-after <time>', 'silence after which a chunkserver gets no new writes', parseDuration)
    .option('--dead-after <time>', 'silence after which its chunks are rebuilt elsewhere', parseDuration)
    .option('--heartbeat-interval <time>', 'how often chunkservers report', parseDuration)
    .option('--gc-grace <time>', 'how long unreferenced chunks are kept', parseDuration)
    .option('--repair-bandwidth <size>', 'most that one chunkserver sends per second for repair', parseSize)

export const LOG_LEVELS: readonly LogLevel[] = ['debug', 'info', 'warn', 'error', 'silent']

const addServerOptions = (command: Command, port: number): Command =>
  addGlobalOptions(command)
    .option('--config <file>', 'JSON file with options by their long names, in camel case; flags win')
    .option('--host <address>', 'address to listen on', '127.0.0.1')
    .option('--port <n>', 'port to listen on, 0 for any', wholeNumber(0, 65535), port)
    .option('--log-level <level>', `one of ${LOG_LEVELS.join(', ')}`, 'info')

export function registerServers(program: Command): void {
  addTimerOptions(addServerOptions(program.command('master'), 9440))
    .description('run a master')
    .option('--dir <dir>', 'where the tokens live, and the metadata unless --metadata says otherwise')
    .addOption(
      new Option('--metadata <url>', 'keep the metadata in PostgreSQL: postgres://user@host1,host2/database').env(
        'CAIRN_METADATA',
      ),
    )
    .option(
      '--lease <time>',
      'with --metadata: after so long another master takes the place of one that is silent',
      parseDuration,
    )
    .action((flags: ServerFlags, command: Command) => master(withConfig(flags, command)))
  // A chunkserver is told the timers by the master. It takes the flags all the same, so that one set serves every role.
  addTimerOptions(addServerOptions(program.command('chunkserver'), 0))
    .description('run a chunkserver; the timers are those of the master')
    .option('--dir <dir...>', 'data directories, one per disk')
    .option('--advertise <url>', 'how others reach this server')
    .option('--rack <rack>', 'rack within the zone', '')
    .option('--capacity <size>', 'most that chunks may take per directory', parseSize)
    .option('--reserve <size>', 'kept free per directory', parseSize)
    .option('--pack-below <size>', 'chunks up to this size share pack files; 0: none (default: 32640)', parseSize)
    .action((flags: ServerFlags, command: Command) => chunkserver(withConfig(flags, command)))
  addTimerOptions(addServerOptions(program.command('gateway'), 9441))
    .description('run a gateway: file contents over plain HTTP; the timers are those of the master')
    .option('--budget <size>', 'memory for file contents', parseSize)
    .action((flags: ServerFlags, command: Command) => gateway(withConfig(flags, command)))
}

/** Options from the configuration file, where the command line does not give them. */
function withConfig(flags: ServerFlags, command: Command): ServerFlags {
  if (flags.config === undefined) return flags
  let config: Record<string, unknown>
  try {
    config = JSON.parse(readFileSync(flags.config, 'utf8')) as Record<string, unknown>
  } catch (error) {
    throw new CairnError('USAGE', `${flags.config} cannot be read as JSON: ${String(error)}`, { cause: error })
  }
  for (const [name, value] of Object.entries(config)) {
    const option = command.options.find((candidate) => candidate.attributeName() === name)
    if (!option) throw new CairnError('USAGE', `${flags.config}: there is no option "${name}".`)
    if (command.getOptionValueSource(name) === 'cli') continue
    const parsed = typeof value === 'string' && option.parseArg ? (option.parseArg(value, undefined) as unknown) : value
    command.setOptionValue(name, parsed)
  }
  return command.opts<ServerFlags>()
}

const levelOf = (flags: ServerFlags): LogLevel => {
  const level = LOG_LEVELS.find((one) => one === flags.logLevel)
  if (!level) throw new CairnError('USAGE', `--log-level must be one of ${LOG_LEVELS.join(', ')}.`)
  return level
}

const roleOptions = (flags: ServerFlags) => ({ json: flags.json === true, logLevel: levelOf(flags) })

async function master(flags: ServerFlags): Promise<void> {
  const { runMaster } = await import('../../master/index.js')
  const [directory] = directoriesOf(flags)
  const tokens = ensureTokens(directory)
  await runRole({
    role: 'master',
    ...roleOptions(flags),
    readyExtra: { token: tokens.root, serverToken: tokens.server },
    start: ({ log, onFatal }) =>
      runMaster({
        directory,
        // Empty, as a variable of the environment may be, is none.
        leaseMs: flags.lease,
        metadata: flags.metadata === '' ? undefined : flags.metadata,
        listen: { host: flags.host, port: flags.port },
        settings: timerSettings(flags),
        tokens: [
          { name: 'root', token: tokens.root, scopes: ['admin'] },
          { name: 'chunkservers', token: tokens.server, scopes: ['server'] },
        ],
        log,
        onFatal,
      }),
  })
}

/** From the command line or the configuration file. @throws `USAGE` when neither names one */
function directoriesOf(flags: ServerFlags): [string, ...string[]] {
  const [first, ...others] = [flags.dir ?? []].flat().map((directory) => path.resolve(directory))
  if (first === undefined) throw new CairnError('USAGE', 'Name the directory to keep data in with --dir.')
  return [first, ...others]
}

export function timerSettings(flags: TimerFlags) {
  return {
    ...(flags.suspectAfter === undefined ? {} : { suspectAfterMs: flags.suspectAfter }),
    ...(flags.deadAfter === undefined ? {} : { deadAfterMs: flags.deadAfter }),
    ...(flags.heartbeatInterval === undefined ? {} : { heartbeatIntervalMs: flags.heartbeatInterval }),
    ...(flags.gcGrace === undefined ? {} : { garbageGraceMs: flags.gcGrace }),
    ...(flags.repairBandwidth === undefined ? {} : { repairBytesPerSecondMax: flags.repairBandwidth }),
  }
}

/** Who listens on all addresses is reached by the machine's name. */
const advertised = (flags: ServerFlags): string | undefined => {
  if (flags.advertise !== undefined) return flags.advertise.replace(/\/+$/, '')
  if (flags.host !== '0.0.0.0' && flags.host !== '::') return undefined
  if (flags.port === 0)
    throw new CairnError(
      'USAGE',
      'With --host 0.0.0.0 give a --port or an --advertise URL, so that others can reach this server.',
    )
  return `http://${hostname()}:${flags.port}`
}

async function chunkserver(flags: ServerFlags): Promise<void> {
  const { runChunkserver } = await import('../../chunkserver/index.js')
  await runRole({
    role: 'chunkserver',
    ...roleOptions(flags),
    start: ({ log, signal }) =>
      runChunkserver({
        directories: directoriesOf(flags),
        listen: { host: flags.host, port: flags.port },
        advertisedUrl: advertised(flags),
        masters: mastersOf(flags),
        token: flags.token,
        zone: flags.zone ?? '',
        rack: flags.rack ?? '',
        capacityBytes: flags.capacity,
        reserveBytes: flags.reserve,
        packedBytesMax: flags.packBelow,
        log,
        signal,
      }),
  })
}

async function gateway(flags: ServerFlags): Promise<void> {
  const { runGateway } = await import('../../gateway/index.js')
  await runRole({
    role: 'gateway',
    ...roleOptions(flags),
    start: ({ log }) =>
      runGateway({
        listen: { host: flags.host, port: flags.port },
        masters: mastersOf(flags),
        zone: flags.zone,
        budgetBytes: flags.budget,
        log,
      }),
  })
}
