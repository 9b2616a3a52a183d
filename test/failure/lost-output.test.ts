/** Whoever reads the output of a command may leave. A cluster must outlive that; a command ends without a crash. */
import { expect, test } from '@jest/globals'
import { spawn } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import { runCairn, until, type ProcessInfo } from '../support/cluster.js'

const CAIRN = fileURLToPath(new URL('../../../bin/cairn', import.meta.url))

test('a cluster lives on, and restarts what dies, after the reader of its events is gone', async () => {
  const scratch = mkdtempSync(path.join(tmpdir(), 'cairn-output-'))
  const up = spawn(process.execPath, [CAIRN, 'up', '--dir', path.join(scratch, 'cluster'), '--port', '0', '--json'], {
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  const exited = new Promise((resolve) => up.once('exit', resolve))
  try {
    const lines = createInterface({ input: up.stdout })
    const ready = await new Promise<{ master: string; token: string; processes: ProcessInfo[] }>((resolve) =>
      lines.once('line', (line) => resolve(JSON.parse(line))),
    )
    up.stdout.destroy()
    up.stderr.destroy()
    const env = { CAIRN_MASTER: ready.master, CAIRN_TOKEN: ready.token }
    const victim = ready.processes.find((one) => one.role === 'chunkserver') as ProcessInfo
    const registered = async (): Promise<boolean> => {
      const answer = await fetch(`${victim.url}/readyz`).catch(() => undefined)
      return answer?.status === 200
    }
    process.kill(victim.pid, 'SIGKILL')
    await until('the chunkserver is gone', async () => !(await registered()), 20_000)
    await until('the chunkserver runs again', registered, 30_000)
    expect(up.exitCode).toBeNull()
    expect((await runCairn(['status', '--json'], env).done).json.servers).toHaveLength(3)
  } finally {
    up.kill('SIGTERM')
    await exited
    rmSync(scratch, { recursive: true, force: true })
  }
})
