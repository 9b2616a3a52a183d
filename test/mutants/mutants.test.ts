/** The list of mutants fits the sources as they are, and its document says what it says. */
import { existsSync, readFileSync } from 'node:fs'
import path from 'node:path'
import { describe, expect, test } from '@jest/globals'
import { mutantsDocument } from './document.js'
import { MUTANTS } from './list.js'
import { mutate } from './mutant.js'
import { ROOT } from './tree.js'

const source = (file: string): string => readFileSync(path.join(ROOT, file), 'utf8')

describe('each mutant', () => {
  test.each(MUTANTS.map((mutant) => [mutant.name, mutant] as const))('%s still fits its source and compiles', (_name, mutant) => {
    expect(mutate(mutant, source(mutant.file))).not.toBe(source(mutant.file))
  })

  test('has a name of its own', () => {
    const names = MUTANTS.map(({ name }) => name)
    expect(new Set(names).size).toBe(names.length)
  })

  test('is caught by tests that exist', () => {
    const missing = MUTANTS.flatMap(({ name, caughtBy }) =>
      caughtBy.flatMap((catcher) =>
        catcher.kind === 'jest' && !existsSync(path.join(ROOT, catcher.file)) ? [`${name}: ${catcher.file}`] : [],
      ),
    )
    expect(missing).toEqual([])
    expect(MUTANTS.filter(({ caughtBy }) => caughtBy.length === 0)).toEqual([])
  })
})

test('docs/design/mutants.md is the list', () => {
  expect(source('docs/design/mutants.md')).toBe(mutantsDocument(MUTANTS))
})
