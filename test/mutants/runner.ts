/** Runs what must catch a mutant, in a tree with the mutant in it or without, and tells what came of it. */
import { spawn } from 'node:child_process'
import { existsSync, readFileSync } from 'node:fs'
import { compiledFile, type Catcher } from './mutant.js'
import type { MutantTree } from './tree.js'

export interface Outcome {
  readonly kind: 'passed' | 'failed' | 'hung' | 'broken'
  /** What failed first, or why nothing could be told. */
  readonly detail: string
  readonly seed?: number
}

/** Longer than any catcher takes when all is well; a mutant may make it wait for ever. */
const TIMEOUT_MS = 6 * 60_000
const JEST = 'node_modules/jest/bin/jest.js'

interface Ended {
  readonly code: number | null
  readonly output: string
  readonly timedOut: boolean
}

function run(tree: MutantTree, args: readonly string[]): Promise<Ended> {
  const child = spawn(process.execPath, args, { cwd: tree.directory, stdio: ['ignore', 'pipe', 'pipe'] })
  let output = ''
  let timedOut = false
  const keep = (data: Buffer): void => void (output += data.toString())
  child.stdout.on('data', keep)
  child.stderr.on('data', keep)
  const timer = setTimeout(() => {
    timedOut = true
    child.kill('SIGKILL')
  }, TIMEOUT_MS)
  return new Promise((resolve, reject) => {
    child.once('error', reject)
    child.once('close', (code) => {
      clearTimeout(timer)
      resolve({ code, output, timedOut })
    })
  })
}

interface JestReport {
  readonly numPassedTests: number
  readonly numFailedTests: number
  readonly numRuntimeErrorTestSuites: number
  readonly testResults: readonly {
    readonly message: string
    readonly assertionResults: readonly { status: string; title: string }[]
  }[]
}

const literally = (text: string): string => text.replace(/[.*+?^${}()|[\]\\]/g, '\\$&')

/** Runs tests of one file by their titles. */
export async function runJest(tree: MutantTree, file: string, titles: readonly string[]): Promise<Outcome> {
  const report = tree.file(`report-${titles.length}-${Math.random().toString(16).slice(2)}.json`)
  const { output, timedOut } = await run(tree, [
    '--experimental-vm-modules',
    '--disable-warning=ExperimentalWarning',
    JEST,
    '--runInBand',
    '--forceExit',
    `--cacheDirectory=${tree.file('jest-cache')}`,
    '--json',
    `--outputFile=${report}`,
    '-t',
    titles.map(literally).join('|'),
    '--runTestsByPath',
    compiledFile(file),
  ])
  if (timedOut) return { kind: 'hung', detail: `${file} did not end within ${TIMEOUT_MS / 1000} s` }
  if (!existsSync(report)) return { kind: 'broken', detail: `jest could not run: ${lastLines(output)}` }
  const result = JSON.parse(readFileSync(report, 'utf8')) as JestReport
  const failed = result.testResults.flatMap((one) => one.assertionResults).find((one) => one.status === 'failed')
  if (failed) return { kind: 'failed', detail: failed.title }
  if (result.numRuntimeErrorTestSuites > 0) return { kind: 'broken', detail: lastLines(result.testResults[0]?.message ?? output) }
  if (result.numPassedTests < titles.length)
    return { kind: 'broken', detail: `${file}: ${result.numPassedTests} tests have the titles ${titles.join(' | ')}` }
  return { kind: 'passed', detail: `${result.numPassedTests} passed` }
}

/** Runs seeds of the simulation up to the first that fails. */
export async function runSim(tree: MutantTree, from: number, seeds: number): Promise<Outcome> {
  const { code, output, timedOut } = await run(tree, [
    'dist/test/sim/main.js',
    '--from',
    String(from),
    '--seeds',
    String(seeds),
    '--stop-at-first',
  ])
  if (timedOut) return { kind: 'hung', detail: `the simulation did not end within ${TIMEOUT_MS / 1000} s` }
  if (code === 0) return { kind: 'passed', detail: `${seeds} seeds` }
  const seed = /seed[=: "]+(\d+)/i.exec(output)?.[1]
  if (seed === undefined) return { kind: 'broken', detail: lastLines(output) }
  return { kind: 'failed', detail: `seed ${seed}`, seed: Number(seed) }
}

export function runCatcher(tree: MutantTree, catcher: Catcher): Promise<Outcome> {
  return catcher.kind === 'jest' ? runJest(tree, catcher.file, [catcher.title]) : runSim(tree, catcher.from, catcher.seeds)
}

const lastLines = (output: string): string => output.trim().split('\n').slice(-8).join(' / ').slice(0, 600)
