/** docs/design/mutants.md, made from the list. `node dist/test/mutants/main.js --document` writes it. */
import { catcherText, type Mutant } from './mutant.js'

const INTRODUCTION = `# Known bugs that the tests must catch

A test that has never failed proves little. Each line below is a bug, most of them of systems like this one, that
\`npm run mutants\` puts into a copy of the compiled sources, one at a time, by replacing exact text; then it runs what must catch it.
The product holds no switches for them. This page is made from \`test/mutants/known/\` by \`node dist/test/mutants/main.js --document\`; a
test compares the two, and sees that every bug still fits the sources.

| option | |
|---|---|
| \`--only NAME\` | this one; may be repeated |
| \`--list\` | names and bugs |
| \`--jobs N\` | so many at a time |
| \`--sim N\` | each is also tried against N seeds of the simulation, whatever else catches it |

One line of JSON at the end: how many, how many were caught, which survived, which seed of the simulation caught which. The exit
code is 1 if any survived. First everything runs without any mutant, and must pass.
`

const escaped = (text: string): string => text.replaceAll('|', '\\|')

export function mutantsDocument(mutants: readonly Mutant[]): string {
  const rows = mutants.map(({ name, bug, seenIn, file, caughtBy, seed }) => {
    const told = seenIn === undefined ? bug : `${bug} (Seen in ${seenIn}.)`
    const seeds = seed === undefined ? '' : String(seed)
    return `| ${name} | ${escaped(told)} | \`${file}\` | ${caughtBy.map((one) => escaped(catcherText(one))).join('; ')} | ${seeds} |`
  })
  return `${INTRODUCTION}\n| mutant | bug | in | caught by | first seed of the simulation |\n|---|---|---|---|---|\n${rows.join('\n')}\n`
}
