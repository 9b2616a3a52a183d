/** The swarm in a process of its own, for tests. */
import { execFile } from 'node:child_process'
import { fileURLToPath } from 'node:url'

/** A deadline for the worst of machines, not what it takes. */
export const SWARM_MS_MAX = 20 * 60_000

export interface SwarmOptions {
  readonly from: number
  readonly seeds: number
  /** Every so many-th seed runs twice. */
  readonly twice: number
}

/** @returns what `npm run sim` prints; failures are told on stderr, with the command that replays them */
export function runSwarm({ from, seeds, twice }: SwarmOptions): Promise<unknown> {
  const main = fileURLToPath(new URL('../main.js', import.meta.url))
  const options = ['--from', from, '--seeds', seeds, '--twice', twice, '--jobs', 1].map(String)
  return new Promise((resolve, reject) => {
    const child = execFile(process.execPath, [main, ...options], { maxBuffer: 64 * 1024 * 1024 }, (error, stdout, stderr) => {
      const line = stdout.trim().split('\n').at(-1) ?? ''
      if (line.startsWith('{')) resolve(JSON.parse(line))
      else reject(error ?? new Error(`the swarm said nothing: ${stderr}`))
    })
    child.stderr?.pipe(process.stderr)
  })
}
