/** What the figures were taken on, and which code they are of. */
import { execFileSync } from 'node:child_process'
import os from 'node:os'
import { fileURLToPath } from 'node:url'

/** From `dist/bench/support` to the checkout. */
export const ROOT = fileURLToPath(new URL('../../../', import.meta.url))

export const machine = () => ({
  cores: os.cpus().length,
  cpu: os.cpus()[0]?.model ?? 'unknown',
  memoryBytes: os.totalmem(),
  kernel: os.release(),
  node: process.version,
})

/** The commit that was built, as far as the checkout knows: `-dirty` when sources differ from it. */
export function commitHash(): string {
  const git = (...args: string[]): string => execFileSync('git', ['-C', ROOT, ...args], { encoding: 'utf8' }).trim()
  try {
    // Results are written beside the code while it is measured; they change nothing that runs.
    const changed = git('status', '--porcelain', '--', '.', ':!bench/results', ':!*.md')
    return git('rev-parse', 'HEAD') + (changed === '' ? '' : '-dirty')
  } catch {
    return 'unknown'
  }
}
