/** up: a whole cluster in one command. */
import path from 'node:path'
import type { Command } from 'commander'
import { SystemClock } from '../../common/clock/system-clock.js'
import { formatDuration } from '../../common/units.js'
import { say, type GlobalOptions } from '../context.js'
import type { ReadyEvent, UpOptions } from '../up/supervisor.js'
import { addTimerOptions, type TimerFlags } from './servers.js'
import { wholeNumber } from './transfer.js'

interface UpFlags extends GlobalOptions, TimerFlags {
  readonly dir: string
  readonly chunkservers?: number
  readonly port?: number
  readonly restart: boolean
  readonly capacity?: string
  readonly packBelow?: string
  readonly logLevel: string
}

export function registerUp(program: Command): void {
  addTimerOptions(program.command('up'))
    .description('run a whole cluster on this machine: a master, chunkservers, a gateway')
    .requiredOption('--dir <dir>', 'where everything lives; a later up on it goes on')
    .option('--chunkservers <n>', 'how many (3 at first, later as many as there are)', wholeNumber(1, 100))
    .option('--port <n>', "the master's port, 0 for any", wholeNumber(0, 65535))
    .option('--no-restart', 'do not restart processes that die')
    .option('--capacity <size>', 'most that chunks may take per chunkserver')
    .option('--pack-below <size>', 'chunks up to this size share pack files; 0: none (default: 32640)')
    .option('--log-level <level>', 'of the logs in DIR/logs', 'info')
    .option('--json', 'print JSON on stdout')
    .action((flags: UpFlags) => up(flags))
}

async function up(flags: UpFlags): Promise<void> {
  const { Supervisor } = await import('../up/supervisor.js')
  const clock = new SystemClock()
  const startedMs = clock.monotonic()
  let running = false
  const emit = (event: object, text: string): void => {
    if (flags.json) process.stdout.write(`${JSON.stringify(event)}\n`)
    else say(text)
  }
  const events: UpOptions['events'] = {
    onReady: (child) => {
      if (running)
        emit(
          { event: 'restarted', role: child.spec.role, id: child.id, pid: child.pid, url: child.url },
          `${child.spec.name} runs again, process ${child.pid}`,
        )
    },
    onExit: (child, code, signal, restartsInMs) => {
      if (!running) return
      const next = restartsInMs === undefined ? 'and is not restarted' : `and is restarted in ${formatDuration(restartsInMs)}`
      emit(
        { event: 'exited', role: child.spec.role, id: child.id, pid: child.pid, code, signal },
        `${child.spec.name} has ended (${signal ?? `code ${code}`}) ${next}`,
      )
    },
  }
  const supervisor = await Supervisor.open({
    directory: path.resolve(flags.dir),
    chunkservers: flags.chunkservers,
    port: flags.port,
    restart: flags.restart,
    masterFlags: timerFlags(flags),
    chunkserverFlags: [
      ...(flags.capacity === undefined ? [] : ['--capacity', flags.capacity]),
      ...(flags.packBelow === undefined ? [] : ['--pack-below', flags.packBelow]),
    ],
    logLevel: flags.logLevel,
    clock,
    events,
  })
  let stopping = false
  const stop = (): void => {
    // A second signal does not wait for anyone; the children end when their supervisor is gone.
    if (stopping) process.exit(1)
    stopping = true
    running = false
    void supervisor.stop().then(() => process.exit(0))
  }
  process.on('SIGTERM', stop)
  process.on('SIGINT', stop)
  const ready = await supervisor.start()
  running = true
  if (flags.json) process.stdout.write(`${JSON.stringify(ready)}\n`)
  else process.stdout.write(readyText(ready, formatDuration(clock.monotonic() - startedMs), flags.dir))
}

function timerFlags(flags: TimerFlags): string[] {
  const named = {
    '--suspect-after': flags.suspectAfter,
    '--dead-after': flags.deadAfter,
    '--heartbeat-interval': flags.heartbeatInterval,
    '--gc-grace': flags.gcGrace,
  }
  const timers = Object.entries(named).flatMap(([name, ms]) => (ms === undefined ? [] : [name, `${ms}ms`]))
  return flags.repairBandwidth === undefined ? timers : [...timers, '--repair-bandwidth', String(flags.repairBandwidth)]
}

function readyText(ready: ReadyEvent, took: string, directory: string): string {
  const count = ready.processes.filter((one) => one.role === 'chunkserver').length
  return `Cairn is up after ${took}: a master, ${count} chunkservers and a gateway, with their data and logs in ${directory}.

  master   ${ready.master}
  gateway  ${ready.gateway}
  token    ${ready.token}

Next, in another terminal:

  export CAIRN_MASTER=${ready.master} CAIRN_TOKEN=${ready.token}
  cairn put FILE /bucket/name
  cairn status

Ctrl-C stops everything; the same command starts it again.
`
}
