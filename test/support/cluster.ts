/** A real cluster of real processes, driven through the command line and REST alone, as a user would. */
import { spawn, type ChildProcess } from 'node:child_process'
import { createHash, randomFillSync } from 'node:crypto'
import { createReadStream, mkdtempSync, rmSync } from 'node:fs'
import { open } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { CAIRN, CairnProcess, envOf, type ProcessInfo, type UpReady } from '../../testing/up-process.js'

const POLL_MS = 50

export interface CommandResult {
  readonly code: number | null
  readonly signal: NodeJS.Signals | null
  readonly stdout: string
  readonly stderr: string
  /** stdout as JSON, when it is. */
  // eslint-disable-next-line @typescript-eslint/no-explicit-any -- tests look into many shapes
  readonly json: any
}

export interface RunningCommand {
  readonly child: ChildProcess
  readonly pid: number
  readonly done: Promise<CommandResult>
}

export interface StartOptions {
  readonly chunkservers?: number
  readonly flags?: readonly string[]
  /** An existing directory to go on with. */
  readonly directory?: string
}

/** Quick detection, so that tests need not wait a minute for a death. */
export const QUICK_TIMERS = ['--heartbeat-interval', '200ms', '--suspect-after', '1s', '--dead-after', '3s']

export type { ProcessInfo }

export const parse = (text: string): unknown => {
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}

export class TestCluster implements AsyncDisposable {
  readonly directory: string
  readonly scratch: string
  readonly #up: CairnProcess<UpReady>
  ready: UpReady
  keepDirectory = false

  private constructor(directory: string, scratch: string, up: CairnProcess<UpReady>) {
    this.directory = directory
    this.scratch = scratch
    this.#up = up
    this.ready = up.ready
  }

  static async start(options: StartOptions = {}): Promise<TestCluster> {
    const scratch = mkdtempSync(path.join(tmpdir(), 'cairn-test-'))
    const directory = options.directory ?? path.join(scratch, 'cluster')
    const count = options.chunkservers ? ['--chunkservers', String(options.chunkservers)] : []
    const args = ['up', '--dir', directory, '--port', '0', ...count, ...(options.flags ?? [])]
    let hear: (event: Readonly<Record<string, unknown>>) => void = () => undefined
    const up = await CairnProcess.start(args, { onEvent: (event) => hear(event) })
    const cluster = new TestCluster(directory, scratch, up)
    hear = (event) => cluster.#heard(event)
    return cluster
  }

  #heard(event: Readonly<Record<string, unknown>>): void {
    if (event['event'] !== 'restarted') return
    const processes = this.ready.processes.map((one) =>
      one.id === event['id'] || (one.role === event['role'] && one.role !== 'chunkserver')
        ? { ...one, pid: event['pid'] as number, url: event['url'] as string }
        : one,
    )
    this.ready = { ...this.ready, processes }
  }

  get supervisorPid(): number {
    return this.#up.pid
  }

  get env(): Record<string, string> {
    return envOf(this.ready)
  }

  process(role: string, index = 0): ProcessInfo {
    return this.ready.processes.filter((one) => one.role === role)[index] as ProcessInfo
  }

  server(id: string): ProcessInfo {
    return this.ready.processes.find((one) => one.id === id) as ProcessInfo
  }

  /** Starts a command and lets it run. */
  begin(
    args: readonly string[],
    options: { input?: NodeJS.ReadableStream | Buffer; env?: Record<string, string> } = {},
  ): RunningCommand {
    return runCairn(args, { ...this.env, ...options.env }, options.input)
  }

  /** Runs a command to its end. */
  async cli(...args: string[]): Promise<CommandResult> {
    return this.begin([...args, '--json']).done
  }

  /** Runs a command that must succeed. */
  async ok(...args: string[]): Promise<CommandResult> {
    const result = await this.cli(...args)
    if (result.code !== 0) throw new Error(`cairn ${args.join(' ')} exited ${result.code}: ${result.stdout}${result.stderr}`)
    return result
  }

  async rest(
    method: string,
    route: string,
    options: { body?: unknown; headers?: Record<string, string>; token?: string } = {},
    // eslint-disable-next-line @typescript-eslint/no-explicit-any -- tests look into many shapes
  ): Promise<{ status: number; headers: Headers; json: any }> {
    const response = await fetch(this.ready.master + route, {
      method,
      headers: {
        authorization: `Bearer ${options.token ?? this.ready.token}`,
        'content-type': 'application/json',
        ...options.headers,
      },
      ...(options.body === undefined ? {} : { body: JSON.stringify(options.body) }),
    })
    const text = await response.text()
    return { status: response.status, headers: response.headers, json: parse(text) }
  }

  gateway(route: string, init: RequestInit = {}): Promise<Response> {
    return fetch(this.ready.gateway + route, {
      ...init,
      headers: { authorization: `Bearer ${this.ready.token}`, ...(init.headers as Record<string, string>) },
    })
  }

  kill(info: Pick<ProcessInfo, 'pid'>, signal: NodeJS.Signals = 'SIGKILL'): void {
    process.kill(info.pid, signal)
  }

  /** A local file in the test's scratch directory. */
  file(name: string): string {
    return path.join(this.scratch, name)
  }

  async until(what: string, condition: () => Promise<boolean>, withinMs = 60_000): Promise<void> {
    await until(what, condition, withinMs)
  }

  async untilHealthy(total?: number, withinMs = 60_000): Promise<void> {
    await this.until(
      'every chunk has its copies',
      async () => {
        const { chunks } = (await this.ok('status')).json as { chunks: { total: number; healthy: number } }
        return chunks.healthy === chunks.total && (total === undefined || chunks.total === total)
      },
      withinMs,
    )
  }

  async stop(signal: NodeJS.Signals = 'SIGTERM'): Promise<void> {
    await this.#up.stop(signal)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop()
    if (!this.keepDirectory) rmSync(this.scratch, { recursive: true, force: true })
  }
}

export function runCairn(
  args: readonly string[],
  env: Record<string, string>,
  input?: NodeJS.ReadableStream | Buffer,
): RunningCommand {
  return runProgram(process.execPath, [CAIRN, ...args], { input, env })
}

export interface ProgramOptions {
  readonly input?: NodeJS.ReadableStream | Buffer | undefined
  readonly cwd?: string | undefined
  /** Beside the variables of this process. */
  readonly env?: Readonly<Record<string, string>> | undefined
}

/** Starts a program and gathers what it prints. */
export function runProgram(program: string, args: readonly string[], options: ProgramOptions = {}): RunningCommand {
  const { input, cwd, env } = options
  const child = spawn(program, args, {
    stdio: [input ? 'pipe' : 'ignore', 'pipe', 'pipe'],
    env: { ...process.env, ...env },
    ...(cwd ? { cwd } : {}),
  })
  const stdout: Buffer[] = []
  const stderr: Buffer[] = []
  child.stdout?.on('data', (data: Buffer) => stdout.push(data))
  child.stderr?.on('data', (data: Buffer) => stderr.push(data))
  child.stdin?.on('error', () => undefined)
  if (input && Buffer.isBuffer(input)) child.stdin?.end(input)
  else if (input) input.pipe(child.stdin as NodeJS.WritableStream)
  const done = new Promise<CommandResult>((resolve, reject) => {
    child.once('error', reject)
    child.once('close', (code, signal) => {
      const out = Buffer.concat(stdout).toString()
      resolve({ code, signal, stdout: out, stderr: Buffer.concat(stderr).toString(), json: parse(out) })
    })
  })
  return { child, pid: child.pid as number, done }
}

export async function until(what: string, condition: () => Promise<boolean>, withinMs = 60_000): Promise<void> {
  const deadline = performance.now() + withinMs
  for (;;) {
    if (await condition()) return
    if (performance.now() > deadline) throw new Error(`not within ${withinMs} ms: ${what}`)
    await new Promise((resolve) => setTimeout(resolve, POLL_MS))
  }
}

/** Writes a file of random bytes. @returns its SHA-256 */
export async function randomFile(file: string, sizeBytes: number): Promise<string> {
  const hash = createHash('sha256')
  const handle = await open(file, 'w')
  const block = Buffer.allocUnsafe(Math.min(sizeBytes, 4 * 1024 * 1024) || 1)
  for (let written = 0; written < sizeBytes;) {
    const piece = block.subarray(0, Math.min(block.length, sizeBytes - written))
    randomFillSync(piece)
    hash.update(piece)
    await handle.write(piece)
    written += piece.length
  }
  await handle.close()
  return hash.digest('hex')
}

export async function sha256(file: string): Promise<string> {
  const hash = createHash('sha256')
  for await (const piece of createReadStream(file)) hash.update(piece as Buffer)
  return hash.digest('hex')
}
