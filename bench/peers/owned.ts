/**
 * Processes that belong to this benchmark: started by it, known by their pid, ended by it. The kernel ends them too when
 * this process dies in whatever way (`setpriv --pdeathsig`, util-linux), so none of them outlives a benchmark.
 */
import { spawn, type ChildProcess, type StdioOptions } from 'node:child_process'
import { once } from 'node:events'
import { closeSync, openSync, readFileSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'

/** What a server that is told to end may take before it is killed. */
const GRACE_MS = 10_000
const DIES_WITH_US = ['setpriv', '--pdeathsig', 'KILL', '--'] as const

export interface OwnedOptions {
  /** What it says goes here; into the error of a command otherwise. */
  readonly log?: string
  readonly env?: Readonly<Record<string, string>>
  readonly cwd?: string
  /** Run by `child_process` with a channel for messages. */
  readonly ipc?: boolean
  /** Its standard input and output are pipes, to talk with it. */
  readonly piped?: boolean
}

const owned = new Set<AsyncDisposable>()
let ending = false

/** Whether all is being ended: what fails now says nothing about what is measured. */
export const isEnding = (): boolean => ending

/** Has something ended with the rest when the benchmark is interrupted. @returns what says that it has ended by itself */
export function own(one: AsyncDisposable): () => void {
  owned.add(one)
  return () => void owned.delete(one)
}

export class OwnedProcess implements AsyncDisposable {
  readonly child: ChildProcess
  readonly #command: readonly string[]
  readonly #log: string | undefined
  readonly #gone: Promise<unknown>

  private constructor(child: ChildProcess, command: readonly string[], log: string | undefined) {
    this.child = child
    this.#command = command
    this.#log = log
    const ended = own(this)
    this.#gone = once(child, 'exit').finally(ended)
  }

  static async start(command: readonly string[], options: OwnedOptions = {}): Promise<OwnedProcess> {
    if (ending) throw new Error('the benchmark is being ended')
    const log = options.log === undefined ? ('ignore' as const) : openSync(options.log, 'a')
    try {
      const pipe = options.piped ? ('pipe' as const) : undefined
      const stdio: StdioOptions = [pipe ?? 'ignore', pipe ?? log, log, ...(options.ipc ? (['ipc'] as const) : [])]
      const [program, ...args] = [...DIES_WITH_US, ...command] as [string, ...string[]]
      const child = spawn(program, args, { stdio, cwd: options.cwd, env: { ...process.env, ...options.env } })
      await once(child, 'spawn')
      return new OwnedProcess(child, command, options.log)
    } finally {
      if (typeof log === 'number') closeSync(log)
    }
  }

  get pid(): number {
    return this.child.pid as number
  }

  get running(): boolean {
    return this.child.exitCode === null && this.child.signalCode === null
  }

  /** Rejects when it ends, with the last of what it said. Never resolves. */
  async failure(): Promise<never> {
    await this.#gone
    const said = this.#log === undefined ? '' : `: ${readFileSync(this.#log, 'utf8').slice(-500).trim()}`
    throw new Error(`${this.#command.join(' ')} has ended${said}`)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.running) this.child.kill('SIGTERM')
    const ended = await Promise.race([this.#gone.then(() => true), sleep(GRACE_MS, false, { ref: false })])
    if (!ended) this.child.kill('SIGKILL')
    await this.#gone
  }
}

/** Runs a command to its end. @returns its output @throws with what it said, when it fails */
export async function perform(command: readonly string[], options: Pick<OwnedOptions, 'env' | 'cwd'> = {}): Promise<string> {
  const [program, ...args] = [...DIES_WITH_US, ...command] as [string, ...string[]]
  const child = spawn(program, args, {
    stdio: ['ignore', 'pipe', 'pipe'],
    cwd: options.cwd,
    env: { ...process.env, ...options.env },
  })
  const output = { stdout: '', stderr: '' }
  child.stdout.on('data', (piece: Buffer) => (output.stdout += piece.toString()))
  child.stderr.on('data', (piece: Buffer) => (output.stderr += piece.toString()))
  const [code, signal] = (await once(child, 'close')) as [number | null, NodeJS.Signals | null]
  if (code !== 0) {
    const said = `${output.stdout}${output.stderr}`.trim().slice(-500)
    throw new Error(`${command.join(' ')} ended with ${signal ?? code}: ${said}`)
  }
  return output.stdout
}

/** The children of a process and theirs, itself first: some servers run helpers. */
export function treeOf(pid: number): number[] {
  try {
    const children = readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8').trim()
    return [pid, ...(children === '' ? [] : children.split(' ').flatMap((child) => treeOf(Number(child))))]
  } catch {
    return []
  }
}

/** Ends all that still run, for an interrupted benchmark. */
export async function endAll(): Promise<void> {
  ending = true
  await Promise.all([...owned].map((one) => one[Symbol.asyncDispose]()))
}

/** Asks until the answer is yes. @throws when a process that is needed for it ends, or after a minute */
export async function until(
  condition: () => boolean | Promise<boolean>,
  what: string,
  needed: readonly OwnedProcess[] = [],
): Promise<void> {
  const failures = needed.map((one) => one.failure())
  for (const failure of failures) failure.catch(() => undefined)
  const startedMs = performance.now()
  while (!(await Promise.race([condition(), ...failures]))) {
    if (performance.now() - startedMs > 60_000) throw new Error(`${what}: not within a minute`)
    await Promise.race([sleep(50), ...failures])
  }
}
