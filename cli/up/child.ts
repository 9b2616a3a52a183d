/** One supervised process: started, watched, started again when it dies. */
import { spawn, type ChildProcess } from 'node:child_process'
import { closeSync, mkdirSync, openSync, renameSync, statSync } from 'node:fs'
import path from 'node:path'
import type { Clock, Timer } from '../../common/clock/clock.js'
import { CairnError, isCairnError } from '../../common/errors/cairn-error.js'
import { deferred, observed, type Deferred } from '../../common/flow/deferred.js'
import { MiB, SECOND_MS } from '../../common/units.js'
import type { ChildMessage, Role } from '../role.js'

export interface ChildSpec {
  readonly role: Role
  /** Its name in logs: `chunkserver-2`. */
  readonly name: string
  readonly args: readonly string[]
  readonly env: Readonly<Record<string, string>>
  readonly directory: string
  readonly logDirectory: string
  /** Options of Node itself. */
  readonly execArgv?: readonly string[]
}

export interface ChildEvents {
  readonly onReady: (child: Child) => void
  readonly onExit: (child: Child, code: number | null, signal: NodeJS.Signals | null, restartsInMs: number | undefined) => void
}

export interface ChildOptions {
  readonly clock: Clock
  readonly restart: boolean
  readonly events: ChildEvents
}

/** A longer log is put aside when its process starts; one of them is kept. */
const LOG_BYTES_MAX = 64 * MiB
const RESTART_FIRST_MS = 100
const RESTART_MAX_MS = 10 * SECOND_MS
/** A process that ran for so long has started well: the next restart is quick again. */
const STABLE_MS = 10 * SECOND_MS
const BLOCKED_PATIENCE_MS = 5 * SECOND_MS
const STOP_GRACE_MS = 10 * SECOND_MS

export const logFileOf = ({ logDirectory, name }: ChildSpec): string => path.join(logDirectory, `${name}.log`)

const ENTRY = new URL('../main.js', import.meta.url).pathname

export class Child {
  /** What its next process is started with. */
  spec: ChildSpec
  /** As the process itself says, once it is ready. */
  id = ''
  url = ''
  listenUrl = ''
  readonly #options: ChildOptions
  #ready: Deferred<void> = deferred()
  #process: ChildProcess | undefined
  #startedMs = 0
  #failures = 0
  #stopping = false
  #startFailure: CairnError | undefined
  #blockedMs: number | undefined
  #restartTimer: Timer | undefined

  constructor(spec: ChildSpec, options: ChildOptions) {
    this.spec = spec
    this.#options = options
  }

  get pid(): number {
    return this.#process?.pid ?? 0
  }

  get running(): boolean {
    return this.#process !== undefined && this.#process.exitCode === null && this.#process.signalCode === null
  }

  /** Starts the process, also one that has ended. @returns once it is ready @throws what it says keeps it from starting */
  start(): Promise<void> {
    this.#ready = deferred()
    this.#stopping = false
    this.#blockedMs = undefined
    this.#spawn()
    return observed(this.#ready.promise)
  }

  /** Whether this process waits for the child before it ends by itself. When this process is gone the child ends too. */
  hold(held: boolean): void {
    const child = this.#process
    const channel = child?.channel
    if (held) {
      child?.ref()
      channel?.ref()
    } else {
      child?.unref()
      channel?.unref()
    }
  }

  #spawn(): void {
    mkdirSync(this.spec.logDirectory, { recursive: true })
    const file = logFileOf(this.spec)
    if ((statSync(file, { throwIfNoEntry: false })?.size ?? 0) > LOG_BYTES_MAX) renameSync(file, `${file}.1`)
    const log = openSync(file, 'a')
    const child = spawn(process.execPath, [...(this.spec.execArgv ?? []), ENTRY, this.spec.role, ...this.spec.args], {
      stdio: ['ignore', log, log, 'ipc'],
      env: { ...process.env, ...this.spec.env },
    })
    closeSync(log)
    this.#process = child
    this.#startedMs = this.#options.clock.monotonic()
    child.on('message', (message) => this.#hear(message as ChildMessage))
    child.on('exit', (code, signal) => this.#exited(child, code, signal))
    child.on('error', (error) => this.#ready.reject(error))
  }

  #hear(message: ChildMessage): void {
    if (message.event === 'failed') {
      this.#startFailure = CairnError.fromJSON(message.error)
      return
    }
    this.#startFailure = undefined
    this.id = message.id
    this.url = message.url
    this.listenUrl = message.listenUrl
    this.#ready.resolve()
    this.#options.events.onReady(this)
  }

  #exited(child: ChildProcess, code: number | null, signal: NodeJS.Signals | null): void {
    if (this.#process !== child) return
    if (this.#startsAgain()) return
    const ranMs = this.#options.clock.monotonic() - this.#startedMs
    this.#failures = ranMs >= STABLE_MS ? 0 : this.#failures + 1
    const restarts = this.#options.restart && !this.#stopping
    const delayMs = Math.min(RESTART_MAX_MS, RESTART_FIRST_MS * 2 ** Math.max(0, this.#failures - 1))
    this.#ready.reject(
      this.#startFailure ??
        new CairnError(
          'INTERNAL',
          `${this.spec.name} ended before it was ready (${signal ?? `code ${code}`}). Its log: ${logFileOf(this.spec)}`,
        ),
    )
    this.#options.events.onExit(this, code, signal, restarts ? delayMs : undefined)
    if (restarts) this.#restartTimer = this.#options.clock.setTimer(delayMs, () => this.#spawn())
  }

  /** The children of an earlier supervisor that was killed let go of locks and ports within moments: worth waiting for. */
  #startsAgain(): boolean {
    if (!isCairnError(this.#startFailure, 'DIRECTORY_LOCKED', 'PORT_IN_USE') || this.#stopping) return false
    this.#blockedMs ??= this.#startedMs
    if (this.#options.clock.monotonic() - this.#blockedMs >= BLOCKED_PATIENCE_MS) return false
    this.#restartTimer = this.#options.clock.setTimer(RESTART_FIRST_MS, () => this.#spawn())
    return true
  }

  /** Asks the process to end, and makes it if it does not in time. @returns once it is gone */
  async stop(signal: NodeJS.Signals = 'SIGTERM'): Promise<void> {
    this.#stopping = true
    this.#restartTimer?.cancel()
    const child = this.#process
    if (!child || !this.running) return
    this.hold(true)
    const gone = new Promise<void>((resolve) => child.once('exit', () => resolve()))
    child.kill(signal)
    const timer = this.#options.clock.setTimer(STOP_GRACE_MS, () => void child.kill('SIGKILL'))
    await gone
    timer.cancel()
  }
}
