/**
 * `npm run mutants`: puts one known bug after the other into a copy of the compiled tree, and shows what catches it. A bug
 * that nothing catches is a hole in the tests.
 */
import { writeFileSync } from 'node:fs'
import path from 'node:path'
import { parseArgs } from 'node:util'
import { mutantsDocument } from './document.js'
import { MUTANTS } from './list.js'
import { catcherText, type Catcher, type Mutant } from './mutant.js'
import { runCatcher, runJest, type Outcome } from './runner.js'
import { MutantTree, ROOT } from './tree.js'

const { values } = parseArgs({
  options: {
    only: { type: 'string', multiple: true },
    list: { type: 'boolean', default: false },
    document: { type: 'boolean', default: false },
    jobs: { type: 'string', default: '1' },
    /** Also tries each against so many seeds of the simulation, whatever else catches it. */
    sim: { type: 'string', default: '0' },
    'skip-baseline': { type: 'boolean', default: false },
  },
})

const chosen = values.only ? MUTANTS.filter(({ name }) => values.only?.includes(name)) : MUTANTS
const say = (line: string): void => void process.stderr.write(`${line}\n`)

/** Without any mutant everything must pass, or a catch means nothing. @returns what does not */
async function checkBaseline(mutants: readonly Mutant[]): Promise<string[]> {
  using tree = new MutantTree()
  const titles = new Map<string, Set<string>>()
  for (const { caughtBy } of mutants)
    for (const catcher of caughtBy)
      if (catcher.kind === 'jest') titles.set(catcher.file, (titles.get(catcher.file) ?? new Set()).add(catcher.title))
  const problems: string[] = []
  for (const [file, wanted] of titles) {
    const outcome = await runJest(tree, file, [...wanted])
    if (outcome.kind !== 'passed') problems.push(`${file}: ${outcome.kind}: ${outcome.detail}`)
  }
  return problems
}

interface Verdict {
  readonly mutant: Mutant
  readonly outcome: Outcome
  readonly by: Catcher | undefined
  readonly seed: number | undefined
}

const isCaught = ({ kind }: Outcome): boolean => kind === 'failed' || kind === 'hung'

async function judge(mutant: Mutant, simSeeds: number): Promise<Verdict> {
  using tree = new MutantTree()
  tree.apply(mutant)
  let outcome: Outcome = { kind: 'passed', detail: 'nothing is said to catch it' }
  let by: Catcher | undefined
  for (const catcher of mutant.caughtBy) {
    outcome = await runCatcher(tree, catcher)
    by = catcher
    if (isCaught(outcome)) break
  }
  const swarm = simSeeds > 0 ? await runCatcher(tree, { kind: 'sim', from: 1, seeds: simSeeds }) : undefined
  return { mutant, outcome, by, seed: swarm?.seed ?? outcome.seed }
}

async function main(): Promise<void> {
  if (values.list) {
    for (const mutant of chosen) process.stdout.write(`${mutant.name}: ${mutant.bug}\n`)
    return
  }
  if (values.document) return writeFileSync(path.join(ROOT, 'docs/design/mutants.md'), mutantsDocument(MUTANTS))
  const startedMs = performance.now()
  if (!values['skip-baseline']) {
    const problems = await checkBaseline(chosen)
    if (problems.length > 0) throw new Error(`without any mutant something fails already:\n${problems.join('\n')}`)
    say('without any mutant everything passes')
  }
  const verdicts: Verdict[] = []
  const waiting = [...chosen]
  const worker = async (): Promise<void> => {
    for (let mutant = waiting.shift(); mutant; mutant = waiting.shift()) {
      const verdict = await judge(mutant, Number(values.sim))
      verdicts.push(verdict)
      const caught = isCaught(verdict.outcome)
      const seed = verdict.seed === undefined ? '' : `, seed ${verdict.seed}`
      say(
        `${caught ? 'caught  ' : 'SURVIVED'} ${mutant.name}${caught && verdict.by ? ` by ${catcherText(verdict.by)}` : `: ${verdict.outcome.kind}: ${verdict.outcome.detail}`}${seed}`,
      )
    }
  }
  await Promise.all(Array.from({ length: Math.max(1, Number(values.jobs)) }, worker))
  const survived = verdicts.filter(({ outcome }) => !isCaught(outcome)).map(({ mutant }) => mutant.name)
  const seeds = Object.fromEntries(
    verdicts.filter(({ seed }) => seed !== undefined).map(({ mutant, seed }) => [mutant.name, seed]),
  )
  const seconds = Math.round((performance.now() - startedMs) / 1000)
  process.stdout.write(
    `${JSON.stringify({ mutants: verdicts.length, caught: verdicts.length - survived.length, survived, seeds, seconds })}\n`,
  )
  process.exitCode = survived.length > 0 ? 1 : 0
}

await main()
