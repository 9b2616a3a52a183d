/** A cluster as a user has it: `cairn up` in a directory, driven with the `cairn` command, its processes watched. */
import { spawn, type StdioOptions } from 'node:child_process'
import { once } from 'node:events'
import { openSync, closeSync } from 'node:fs'
import { cpus } from 'node:os'
import { clusterStatus, type ClusterStatus } from '../../common/protocol/admin.js'
import { CAIRN, CairnProcess, envOf, type ProcessInfo, type UpReady } from '../../testing/up-process.js'
import { cpuSeconds, endedChildrenCpuSeconds, machineBusySeconds, type CpuSplit, type ProcessWatch } from './process-watch.js'

const REPLICAS = 3

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

/** Starts a `cairn` command that prints a JSON line when it is ready, and keeps running. Its messages go to `log`. */
export async function startServer<Ready>(args: readonly string[], log: string): Promise<CairnProcess<Ready>> {
  const logFile = openSync(log, 'a')
  try {
    return await CairnProcess.start<Ready>(args, { stderr: logFile })
  } finally {
    closeSync(logFile)
  }
}

export class BenchCluster implements AsyncDisposable {
  readonly processes: readonly ProcessInfo[]
  readonly #up: CairnProcess<UpReady>

  private constructor(up: CairnProcess<UpReady>) {
    this.#up = up
    this.processes = up.ready.processes
  }

  /** Three chunkservers by default, so that each holds a copy of everything; detection then is as users have it. */
  static async start(
    directory: string,
    { chunkservers = REPLICAS, flags = [] }: { chunkservers?: number; flags?: readonly string[] } = {},
  ): Promise<BenchCluster> {
    const args = ['up', '--dir', directory, '--port', '0', '--chunkservers', String(chunkservers), '--no-restart', ...flags]
    return new BenchCluster(await startServer<UpReady>(args, `${directory}.log`))
  }

  /** What commands and clients need to work on it. */
  get env(): Record<string, string> {
    return envOf(this.#up.ready)
  }

  /** Where it is asked for, and with which token. */
  get addresses(): Pick<UpReady, 'master' | 'gateway' | 'token'> {
    return this.#up.ready
  }

  /** What the master says of itself. */
  async status(): Promise<ClusterStatus> {
    const { master, token } = this.#up.ready
    const answer = await fetch(`${master}/v1/status`, { headers: { authorization: `Bearer ${token}` } })
    return clusterStatus.parse(await answer.json())
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

  /** Runs a command to its end without measuring it: some servers may be dead. @throws as {@link run} */
  perform(args: readonly string[]): Promise<Record<string, unknown>> {
    return this.#runChild({ args }, undefined)
  }

  async #runChild(command: Command, watch: ProcessWatch | undefined): Promise<Record<string, unknown>> {
    const stdio: StdioOptions = [command.feed ? 'pipe' : 'ignore', command.output === 'nowhere' ? 'ignore' : 'pipe', 'pipe']
    const args = [...command.args, ...(command.output ? [] : ['--json'])]
    const env = { ...process.env, ...this.env }
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
    await this.#up.stop()
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
