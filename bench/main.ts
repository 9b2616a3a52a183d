/** Runs one workload: progress on stderr, one JSON line on stdout. See bench/README.md. */
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { commitHash, machine } from './support/machine.js'
import { Parameters, type Parameter, type Size, type Workload } from './workload.js'
import { WORKLOADS } from './workloads.js'

interface Arguments {
  readonly workload: Workload
  readonly size: Size
  readonly scratch: string
  readonly flags: ReadonlyMap<string, string>
}

const USAGE = `node dist/bench/main.js WORKLOAD [--size smoke|full] [--dir DIR] [--flag value]
node dist/bench/main.js --list`

const say = (line: string): void => void process.stderr.write(`${line}\n`)

const describe = (name: string, parameter: Parameter): string =>
  `    --${name.padEnd(18)} ${parameter.help} (smoke ${parameter.smoke}, full ${parameter.full})`

const list = (): string =>
  WORKLOADS.map((workload) =>
    [
      `${workload.name}: ${workload.question}`,
      ...Object.entries(workload.parameters).map(([name, parameter]) => describe(name, parameter)),
    ].join('\n'),
  ).join('\n')

function parseArguments(args: readonly string[]): Arguments {
  const [name, ...rest] = args
  const workload = WORKLOADS.find((one) => one.name === name)
  if (!workload)
    throw new Error(`${name === undefined ? 'name a workload' : `there is no workload "${name}"`}\n${USAGE}\n${list()}`)
  const flags = new Map<string, string>()
  for (let at = 0; at < rest.length; at += 2) {
    const [flag, value] = [rest[at], rest[at + 1]]
    if (!flag?.startsWith('--') || value === undefined) throw new Error(`cannot read "${flag}"\n${USAGE}`)
    flags.set(flag.slice(2), value)
  }
  const size = flags.get('size') ?? 'smoke'
  if (size !== 'smoke' && size !== 'full') throw new Error('--size is smoke or full')
  const scratch = flags.get('dir') ?? tmpdir()
  flags.delete('size')
  flags.delete('dir')
  return { workload, size, scratch, flags }
}

async function run({ workload, size, scratch, flags }: Arguments): Promise<object> {
  const parameters = new Parameters(workload.parameters, size, flags)
  const directory = mkdtempSync(path.join(scratch, 'cairn-bench-'))
  const date = new Date().toISOString()
  try {
    const figures = await workload.run({ parameters, directory, say })
    const command = `node dist/bench/main.js ${process.argv.slice(2).join(' ')}`
    return { workload: workload.name, size, date, command, commit: commitHash(), machine: machine(), parameters, ...figures }
  } finally {
    rmSync(directory, { recursive: true, force: true })
  }
}

// By way of 'exit', where clusters are stopped; their directory stays, since they still write to it.
for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => process.exit(1))

try {
  const args = process.argv.slice(2)
  if (args[0] === '--list') process.stdout.write(`${list()}\n`)
  else process.stdout.write(`${JSON.stringify(await run(parseArguments(args)))}\n`)
} catch (error) {
  say(error instanceof Error ? (process.env['CAIRN_DEBUG'] ? (error.stack ?? error.message) : error.message) : String(error))
  process.exitCode = 1
}
