/** A `cairn` command that prints a JSON line when it is ready and keeps running, as `cairn up` and the servers do. */
import { spawn, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'

/** The command line of this package. */
export const CAIRN = fileURLToPath(new URL('../../bin/cairn', import.meta.url))

export interface ProcessInfo {
  readonly role: string
  readonly id: string
  readonly pid: number
  readonly url: string
  readonly dir: string
}

/** What `cairn up` prints when it is ready. */
export interface UpReady {
  readonly master: string
  readonly gateway: string
  readonly token: string
  readonly processes: readonly ProcessInfo[]
}

export interface RunOptions {
  /** Where its messages for people go: to those of this process, to an open file, or into the error when it fails. */
  readonly stderr?: 'inherit' | number
  /** Told of every line after the one that says ready. */
  readonly onEvent?: (event: Readonly<Record<string, unknown>>) => void
}

export class CairnProcess<Ready> implements AsyncDisposable {
  readonly child: ChildProcess
  readonly ready: Ready
  /** Resolves when it has ended. */
  readonly gone: Promise<unknown>

  private constructor(child: ChildProcess, ready: Ready, gone: Promise<unknown>) {
    this.child = child
    this.ready = ready
    this.gone = gone
  }

  /** @param args without `--json` @throws what the command says keeps it from starting */
  static async start<Ready = UpReady>(args: readonly string[], options: RunOptions = {}): Promise<CairnProcess<Ready>> {
    const child = spawn(process.execPath, [CAIRN, ...args, '--json'], { stdio: ['ignore', 'pipe', options.stderr ?? 'pipe'] })
    // When this process ends in order but forgets its child, the child does not stay behind.
    const end = (): void => void child.kill('SIGTERM')
    process.once('exit', end)
    const gone = once(child, 'exit').finally(() => process.off('exit', end))
    let said = ''
    child.stderr?.on('data', (piece: Buffer) => (said += piece.toString()))
    let started = false
    const ready = await new Promise<Ready>((resolve, reject) => {
      createInterface({ input: child.stdout as NodeJS.ReadableStream }).on('line', (line) => {
        const event = JSON.parse(line) as Record<string, unknown>
        if (event['error']) return reject(new Error(`cairn ${args[0]}: ${line}`))
        if (started) return options.onEvent?.(event)
        started = event['event'] === 'ready'
        if (started) resolve(event as Ready)
      })
      child.once('exit', (code) => reject(new Error(`cairn ${args[0]} ended with ${code}: ${said}`)))
    })
    return new CairnProcess(child, ready, gone)
  }

  get pid(): number {
    return this.child.pid as number
  }

  get running(): boolean {
    return this.child.exitCode === null && this.child.signalCode === null
  }

  /** Ends it. @returns once it is gone */
  async stop(signal: NodeJS.Signals = 'SIGTERM'): Promise<void> {
    if (this.running) this.child.kill(signal)
    await this.gone
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop()
  }
}

/** What commands need to work on a cluster that `cairn up` runs. */
export const envOf = ({ master, token }: Pick<UpReady, 'master' | 'token'>): Record<string, string> => ({
  CAIRN_MASTER: master,
  CAIRN_TOKEN: token,
})
