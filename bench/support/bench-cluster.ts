/** A cluster as a user has it: `cairn up` in a directory, driven with the `cairn` command, its processes watched. */
import { spawn, type ChildProcess, type StdioOptions } from 'node:child_process'
import { once } from 'node:events'
import { openSync, closeSync } from 'node:fs'
import { cpus } from 'node:os'
import path from 'node:path'
import { createInterface } from 'node:readline'
import { ROOT } from './machine.js'
import { cpuSeconds, endedChildrenCpuSeconds, machineBusySeconds, type CpuSplit, type ProcessWatch } from './process-watch.js'

const CAIRN = path.join(ROOT, 'bin', 'cairn')
const REPLICAS = 3

export interface ServerProcess {
  readonly role: string
  readonly id: string
  readonly pid: number
  readonly url: string
}

interface Ready {
  readonly master: string
  readonly token: string
  readonly processes: readonly ServerProcess[]
}

export interface Command {
  readonly args: readonly string[]
  /** Fed to the command while it runs; it has no input otherwise. */
  readonly feed?: (stdin: NodeJS.WritableStream) => Promise<void>
  /** Where its output goes. Without: it is asked for JSON, which is parsed. */
  readonly output?: 'nowhere' | ((piece: Buffer) => void)
}

export interface CommandFigures {
  /** What the command printed. */
  readonly json: Record<string, unknown>
  /** From before the process is started until it has ended. */
  readonly wallSeconds: number
  readonly cpu: CpuSplit
  /** Part of the machine's CPU time that neither this benchmark nor its cluster used: other programs, and the kernel on its own. */
  readonly otherCpuShare: number
}

/** Starts a `cairn` command that prints a JSON line when it is ready, and keeps running. */
export async function startServer(
  args: readonly string[],
  log: string,
): Promise<{ child: ChildProcess; ready: Record<string, unknown> }> {
  const logFile = openSync(log, 'a')
  const child = spawn(process.execPath, [CAIRN, ...args, '--json'], { stdio: ['ignore', 'pipe', logFile] })
  closeSync(logFile)
  // When this process is told to end, or fails, nothing it started stays behind.
  const end = (): void => void child.kill('SIGTERM')
  process.once('exit', end)
  child.once('exit', () => process.off('exit', end))
  const lines = createInterface({ input: child.stdout as NodeJS.ReadableStream })
  const ready = await new Promise<Record<string, unknown>>((resolve, reject) => {
    lines.on('line', (line) => {
      const event = JSON.parse(line) as Record<string, unknown>
      if (event['event'] === 'ready') resolve(event)
      else if (event['error']) reject(new Error(`cairn ${args[0]}: ${line}`))
    })
    child.once('exit', (code) => reject(new Error(`cairn ${args[0]} ended with ${code}; its log is ${log}`)))
  })
  return { child, ready }
}

export async function stopServer(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return
  const ended = once(child, 'exit')
  child.kill('SIGTERM')
  await ended
}

export class BenchCluster implements AsyncDisposable {
  readonly processes: readonly ServerProcess[]
  readonly #up: ChildProcess
  readonly #ready: Ready

  private constructor(up: ChildProcess, ready: Ready) {
    this.#up = up
    this.#ready = ready
    this.processes = ready.processes
  }

  /** Three chunkservers, so that each holds a copy of everything. Detection is left as users have it. */
  static async start(directory: string): Promise<BenchCluster> {
    const args = ['up', '--dir', directory, '--port', '0', '--chunkservers', String(REPLICAS), '--no-restart']
    const { child, ready } = await startServer(args, `${directory}.log`)
    return new BenchCluster(child, ready as unknown as Ready)
  }

  watchServers(watch: ProcessWatch): void {
    let number = 0
    for (const { role, pid } of this.processes) watch.watch(role === 'chunkserver' ? `chunkserver-${(number += 1)}` : role, pid)
  }

  /** Runs a command to its end. @throws when it fails, with what it said */
  async run(command: Command, watch?: ProcessWatch): Promise<CommandFigures> {
    const before = this.#counters()
    const startedMs = performance.now()
    const json = await this.#runChild(command, watch)
    const wallSeconds = (performance.now() - startedMs) / 1000
    const after = this.#counters()
    const cpu = difference(before, after)
    const others = after.machine - before.machine - cpu.total - (after.self - before.self)
    const capacity = wallSeconds * cpus().length
    return { json, wallSeconds, cpu, otherCpuShare: Math.max(0, others / capacity) }
  }

  async #runChild(command: Command, watch: ProcessWatch | undefined): Promise<Record<string, unknown>> {
    const stdio: StdioOptions = [command.feed ? 'pipe' : 'ignore', command.output === 'nowhere' ? 'ignore' : 'pipe', 'pipe']
    const args = [...command.args, ...(command.output ? [] : ['--json'])]
    const env = { ...process.env, CAIRN_MASTER: this.#ready.master, CAIRN_TOKEN: this.#ready.token }
    const child = spawn(process.execPath, [CAIRN, ...args], { stdio, env })
    if (child.pid !== undefined) watch?.watch('client', child.pid)
    const output = { stdout: '', stderr: '' }
    const hear = typeof command.output === 'function' ? command.output : (data: Buffer) => (output.stdout += data.toString())
    child.stdout?.on('data', hear)
    child.stderr?.on('data', (data: Buffer) => (output.stderr += data.toString()))
    const ended = once(child, 'close') as Promise<[number | null, NodeJS.Signals | null]>
    // A command that ends early says why itself.
    if (command.feed && child.stdin) await command.feed(child.stdin).catch(() => undefined)
    const [code, signal] = await ended
    if (code !== 0) throw new Error(`cairn ${args.join(' ')} ended with ${signal ?? code}: ${output.stdout}${output.stderr}`)
    return command.output ? {} : (JSON.parse(output.stdout) as Record<string, unknown>)
  }

  #counters(): Counters {
    const of = (role: string): number =>
      this.processes.filter((one) => one.role === role).reduce((sum, { pid }) => sum + cpuSeconds(pid), 0)
    return {
      client: endedChildrenCpuSeconds(),
      master: of('master'),
      chunkservers: of('chunkserver'),
      gateway: of('gateway'),
      machine: machineBusySeconds(),
      self: cpuSeconds(process.pid),
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await stopServer(this.#up)
  }
}

interface Counters {
  /** Only one child ends between two looks: the command. */
  readonly client: number
  readonly master: number
  readonly chunkservers: number
  readonly gateway: number
  readonly machine: number
  readonly self: number
}

function difference(before: Counters, after: Counters): CpuSplit {
  const client = after.client - before.client
  const master = after.master - before.master
  const chunkservers = after.chunkservers - before.chunkservers
  const gateway = after.gateway - before.gateway
  return { client, master, chunkservers, gateway, total: client + master + chunkservers + gateway }
}
