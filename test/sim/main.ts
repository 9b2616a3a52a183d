/**
 * `npm run sim`: runs seeds of the swarm over several processes, says how far it is on stderr, and prints one line of JSON.
 *
 *   --seeds N     how many (default 200)        --from S     the first (default 1)
 *   --seed N      just this one                 --trace      print what happens in it
 *   --minutes M   until the time is over        --jobs J     processes (default: one per core)
 *   --twice N     every Nth seed runs twice, and its hashes must agree (default 10)
 *   --stop-at-first    end with the first failure
 */
import { execFileSync, fork, type ChildProcess } from 'node:child_process'
import { availableParallelism } from 'node:os'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { runSeed, type SeedResult } from './swarm/run-seed.js'
import { Summary } from './swarm/summary.js'

const PROGRESS_EVERY_MS = 10_000
/** No seed takes so many looks; one that does is stuck where no time passes. Looks, not time: the whole run may be stopped for a while. */
const LOOKS_MAX = 60

interface Task {
  readonly seed: number
  readonly twice: boolean
}

const { values } = parseArgs({
  options: {
    seeds: { type: 'string', default: '200' },
    from: { type: 'string', default: '1' },
    seed: { type: 'string' },
    jobs: { type: 'string', default: String(availableParallelism()) },
    minutes: { type: 'string' },
    twice: { type: 'string', default: '10' },
    trace: { type: 'boolean', default: false },
    'stop-at-first': { type: 'boolean', default: false },
    worker: { type: 'boolean', default: false },
  },
})

const numberOf = (text: string, name: string): number => {
  const value = Number(text)
  if (!Number.isFinite(value)) throw new Error(`--${name} takes a number, not "${text}"`)
  return value
}

/** One seed; run again, it must do exactly the same. */
async function runTask({ seed, twice }: Task, print?: (line: string) => void): Promise<SeedResult> {
  const result = await runSeed(seed, print)
  if (!twice || result.violations.length > 0) return result
  const again = await runSeed(seed)
  if (again.hash === result.hash) return result
  return {
    ...result,
    violations: [`two runs of the seed differ: ${result.hash} and ${again.hash}, ${result.events} and ${again.events} events`],
  }
}

function serve(): void {
  process.on('message', (task: Task) => void runTask(task).then((result) => process.send?.(result)))
  process.on('disconnect', () => process.exit())
}

const commit = (): string => {
  try {
    return execFileSync('git', ['rev-parse', 'HEAD'], { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] }).trim()
  } catch {
    return 'unknown'
  }
}

function tell(result: SeedResult): void {
  console.error(`\nSEED ${result.seed} FAILED at commit ${commit()}`)
  for (const violation of result.violations.slice(0, 5)) console.error(`  ${violation}`)
  console.error(`  replay: npm run sim -- --seed ${result.seed} --trace\n`)
}

async function runAll(): Promise<Summary> {
  const single = values.seed === undefined ? undefined : numberOf(values.seed, 'seed')
  const from = single ?? numberOf(values.from, 'from')
  const seeds = single === undefined ? numberOf(values.seeds, 'seeds') : 1
  const untilMs = values.minutes === undefined ? Infinity : performance.now() + numberOf(values.minutes, 'minutes') * 60_000
  const every = numberOf(values.twice, 'twice')
  const count = values.minutes === undefined ? seeds : Infinity
  const summary = new Summary(commit())
  let next = 0
  const draw = (): Task | undefined => {
    const over = next >= count || performance.now() >= untilMs || (values['stop-at-first'] && summary.failures.length > 0)
    if (over) return undefined
    const seed = from + next
    next += 1
    return { seed, twice: every > 0 && seed % every === 0 }
  }
  const take = (result: SeedResult): void => {
    summary.add(result)
    if (result.violations.length > 0) tell(result)
  }
  if (single !== undefined) {
    take(await runTask({ seed: single, twice: true }, values.trace ? (line) => console.log(line) : undefined))
    return summary
  }
  const progress = setInterval(() => console.error(summary.progress()), PROGRESS_EVERY_MS)
  const jobs = Math.max(1, Math.min(numberOf(values.jobs, 'jobs'), count))
  await Promise.all(Array.from({ length: jobs }, () => work(draw, take)))
  clearInterval(progress)
  return summary
}

/** Keeps one process busy. One that dies takes its seed with it as a failure, and is replaced. */
function work(draw: () => Task | undefined, take: (result: SeedResult) => void): Promise<void> {
  return new Promise((resolve) => {
    let current: Task | undefined
    let looks = 0
    const begin = (child: ChildProcess): void => {
      current = draw()
      looks = 0
      if (current) child.send(current)
      else child.disconnect()
    }
    const start = (): void => {
      const child = fork(fileURLToPath(import.meta.url), ['--worker'], {
        stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
        execArgv: ['--max-semi-space-size=64'],
      })
      child.on('message', (result: SeedResult) => {
        take(result)
        begin(child)
      })
      const watch = setInterval(() => {
        looks += 1
        if (current && looks > LOOKS_MAX) child.kill('SIGKILL')
      }, PROGRESS_EVERY_MS)
      child.on('exit', (code, signal) => {
        clearInterval(watch)
        if (!current) return resolve()
        const figures = { faults: {}, operations: {}, bytesVerified: 0, checks: 0 }
        const why = `the process ended with ${signal ?? code}`
        take({ seed: current.seed, violations: [why], hash: '', events: 0, virtualMs: 0, figures })
        start()
      })
      begin(child)
    }
    start()
  })
}

if (values.worker) serve()
else {
  const summary = await runAll()
  console.log(JSON.stringify(summary.toJSON()))
  process.exitCode = summary.failures.length > 0 ? 1 : 0
}
