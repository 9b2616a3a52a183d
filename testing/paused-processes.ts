/**
 * Stopped processes cannot end with their parent: they would stay behind, stopped, when a test process dies. A shell
 * waits for that: it reads which processes are stopped, and at the end of its input kills those.
 */
import { spawn, type ChildProcess } from 'node:child_process'

const SCRIPT = 'pids=; while read -r line; do pids=$line; done; [ -z "$pids" ] || kill -9 $pids 2>/dev/null'

export class PausedProcesses {
  readonly #pids = new Set<number>()
  #shell: ChildProcess | undefined

  pause(pid: number): void {
    this.#pids.add(pid)
    this.#tell()
    process.kill(pid, 'SIGSTOP')
  }

  /** Safe for a process that is not stopped, or gone. */
  resume(pid: number): void {
    if (!this.#pids.delete(pid)) return
    try {
      process.kill(pid, 'SIGCONT')
    } catch {
      // It has been killed while it was stopped.
    }
    this.#tell()
  }

  #tell(): void {
    this.#shell ??= startShell()
    this.#shell.stdin?.write(`${[...this.#pids].join(' ')}\n`)
  }

  close(): void {
    for (const pid of [...this.#pids]) this.resume(pid)
    this.#shell?.stdin?.end()
  }
}

function startShell(): ChildProcess {
  // A session of its own: Ctrl-C, which goes to the whole group, must not end it before its time.
  const shell = spawn('/bin/sh', ['-c', SCRIPT], { stdio: ['pipe', 'ignore', 'ignore'], detached: true })
  shell.unref()
  shell.stdin.on('error', () => undefined)
  return shell
}
