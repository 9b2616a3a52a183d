/** Runs this project and its peers side by side: progress on stderr, one JSON line and a table on stdout. See README.md here. */
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { GiB, KiB, MiB } from '../../common/units.js'
import { measureLimits } from '../support/machine-limits.js'
import { commitHash, machine } from '../support/machine.js'
import { writeRandomFile } from '../support/random-data.js'
import { Parameters, type ParameterTable } from '../workload.js'
import { cairn } from './cairn.js'
import { chartOf } from './chart.js'
import { hdfs } from './hdfs.js'
import { minio } from './minio.js'
import { mooseFs } from './moosefs.js'
import { endAll } from './owned.js'
import { STEPS, type PlanFiles } from './plan.js'
import { reportOf, tableOf } from './report.js'
import { runRound, type Entrant } from './rounds.js'
import { Lines } from './sample.js'
import { Unavailable, type Durability, type System } from './system.js'

const SYSTEMS: readonly System[] = [cairn, mooseFs, minio, hdfs]

const namesOf = (all: readonly { readonly name: string }[]): readonly string[] => all.map(({ name }) => name)

const PARAMETERS: ParameterTable = {
  runs: { kind: 'count', smoke: 1, full: 5, help: 'rounds' },
  bytes: { kind: 'bytes', smoke: 64 * MiB, full: 4 * GiB, help: 'size of the large file' },
  clients: { kind: 'count', smoke: 4, full: 16, help: 'that upload at once' },
  clientBytes: { kind: 'bytes', smoke: 16 * MiB, full: 128 * MiB, help: 'what each of them uploads' },
  files: { kind: 'count', smoke: 200, full: 5_000, help: 'small files, and as many empty ones' },
  fileBytes: { kind: 'bytes', smoke: 1 * KiB, full: 1 * KiB, help: 'size of a small file' },
  connections: { kind: 'count', smoke: 16, full: 16, help: 'for small and empty files' },
  limitBytes: { kind: 'bytes', smoke: 32 * MiB, full: 1 * GiB, help: 'for the limits of the machine' },
  durability: {
    kind: 'choice',
    choices: ['own', 'synced'],
    smoke: 'own',
    full: 'own',
    help: "of peers: each one's default, or synced",
  },
}

const USAGE = `npm run bench:peers -- [--size smoke|full] [--systems NAME,…] [--steps NAME,…] [--dir DIR] [--samples FILE] [--results PREFIX] [--NAME value]
  --systems  of ${namesOf(SYSTEMS).join(', ')}
  --steps    of ${namesOf(STEPS).join(', ')}
  --samples  a file that each figure is added to; rounds that are in it count, and are reported with the new ones
  --results  writes PREFIX.json, PREFIX.md and PREFIX.svg`

const say = (line: string): void => void process.stderr.write(`${line}\n`)

interface Arguments {
  readonly size: 'smoke' | 'full'
  readonly parameters: Parameters
  readonly systems: readonly System[]
  readonly steps: readonly string[]
  readonly scratch: string
  readonly samples: string | undefined
  readonly results: string | undefined
}

function parseArguments(args: readonly string[]): Arguments {
  const flags = new Map<string, string>()
  for (let at = 0; at < args.length; at += 2) {
    const [flag, value] = [args[at], args[at + 1]]
    if (!flag?.startsWith('--') || value === undefined) throw new Error(`cannot read "${flag}"\n${USAGE}`)
    flags.set(flag.slice(2), value)
  }
  const take = (name: string): string | undefined => {
    const value = flags.get(name)
    flags.delete(name)
    return value
  }
  const size = take('size') ?? 'full'
  if (size !== 'smoke' && size !== 'full') throw new Error('--size is smoke or full')
  const chosen = (name: string, known: readonly string[]): readonly string[] => {
    const names = take(name)?.split(',') ?? known
    const stranger = names.find((one) => !known.includes(one))
    if (stranger !== undefined) throw new Error(`--${name} are of ${known.join(', ')}, not ${stranger}`)
    return names
  }
  const wanted = chosen('systems', namesOf(SYSTEMS))
  return {
    size,
    systems: SYSTEMS.filter(({ name }) => wanted.includes(name)),
    steps: chosen('steps', namesOf(STEPS)),
    scratch: take('dir') ?? os.tmpdir(),
    samples: take('samples'),
    results: take('results'),
    parameters: new Parameters(PARAMETERS, size, flags),
  }
}

/** Where downloads stay: outside the checkout, so that none is ever committed. */
const cacheFolder = (): string => path.join(process.env['XDG_CACHE_HOME'] ?? path.join(os.homedir(), '.cache'), 'cairn', 'peers')

/** A system that cannot be had is noted, with the round, and left out. */
async function install(systems: readonly System[], lines: Lines, cache: string, round: number): Promise<Entrant[]> {
  const entrants: Entrant[] = []
  for (const system of systems) {
    try {
      entrants.push({ system, installed: await system.install({ cache, say }) })
    } catch (error) {
      if (!(error instanceof Unavailable)) throw error
      say(`${system.title}: unavailable: ${error.message}`)
      const { name, title } = system
      lines.add({ kind: 'unavailable', round, system: name, title, reason: error.message })
    }
  }
  return entrants
}

async function prepareFiles(parameters: Parameters, directory: string): Promise<PlanFiles> {
  const number = (name: string): number => parameters.number(name)
  const [large, atOnce] = [path.join(directory, 'large'), path.join(directory, 'at-once')]
  return {
    large: { file: large, bytes: number('bytes'), sha256: await writeRandomFile(large, number('bytes'), 1) },
    atOnce: {
      file: atOnce,
      bytes: number('clientBytes'),
      sha256: await writeRandomFile(atOnce, number('clientBytes'), 2),
      clients: number('clients'),
    },
    small: { files: number('files'), bytes: number('fileBytes'), connections: number('connections') },
    metadata: { files: number('files'), connections: number('connections') },
  }
}

async function run(args: Arguments, directory: string): Promise<void> {
  const lines = new Lines(args.samples)
  if (args.parameters.number('runs') > 0) await runRounds(args, directory, lines)
  const report = reportOf(lines.all)
  process.stdout.write(`${JSON.stringify(report)}\n\n${tableOf(report)}\n`)
  if (args.results === undefined) return
  writeFileSync(`${args.results}.json`, `${JSON.stringify(report)}\n`)
  writeFileSync(`${args.results}.md`, `${tableOf(report)}\n`)
  writeFileSync(`${args.results}.svg`, chartOf(report))
}

async function runRounds({ parameters, systems, steps, size }: Arguments, directory: string, lines: Lines): Promise<void> {
  const first = lines.nextRound
  const cache = cacheFolder()
  mkdirSync(cache, { recursive: true })
  const entrants = await install(systems, lines, cache, first)
  const command = `npm run bench:peers -- ${process.argv.slice(2).join(' ')}`
  const about = { date: new Date().toISOString(), command, commit: commitHash(), machine: machine() }
  const files = await prepareFiles(parameters, directory)
  const durability = parameters.text('durability') as Durability
  const chosen = STEPS.filter(({ name }) => steps.includes(name))
  for (let round = first; round < first + parameters.number('runs'); round += 1) {
    say(`round ${round}`)
    lines.add({ kind: 'run', round, ...about, parameters: { size, ...parameters.toJSON() } })
    lines.add({ kind: 'limits', round, ...(await measureLimits(directory, parameters.number('limitBytes'))) })
    await runRound(entrants, { directory, cache, durability, files, lines, say, round, steps: chosen })
  }
}

try {
  const args = parseArguments(process.argv.slice(2))
  const directory = mkdtempSync(path.join(args.scratch, 'cairn-peers-'))
  const remove = (): void => rmSync(directory, { recursive: true, force: true, maxRetries: 5 })
  let ending = false
  const end = (): void => {
    // Who asks again changes nothing: what is being ended in order would be left behind.
    if (ending) return
    ending = true
    say('ending what was started')
    void endAll().finally(() => {
      remove()
      process.exit(1)
    })
  }
  for (const signal of ['SIGINT', 'SIGTERM'] as const) process.on(signal, end)
  try {
    await run(args, directory)
  } finally {
    remove()
  }
} catch (error) {
  say(error instanceof Error ? (process.env['CAIRN_DEBUG'] ? (error.stack ?? error.message) : error.message) : String(error))
  process.exitCode = 1
}
