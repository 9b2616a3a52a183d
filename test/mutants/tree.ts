/** A copy of the compiled checkout by hard links, in which single files are exchanged. The checkout itself stays as it is. */
import { execFileSync } from 'node:child_process'
import { copyFileSync, mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { compile, compiledFile, mutate, type Mutant } from './mutant.js'

export const ROOT = fileURLToPath(new URL('../../../', import.meta.url))

export class MutantTree implements Disposable {
  readonly directory: string

  constructor() {
    this.directory = mkdtempSync(path.join(tmpdir(), 'cairn-mutant-'))
    execFileSync('cp', ['-al', path.join(ROOT, 'dist'), path.join(this.directory, 'dist')])
    execFileSync('cp', ['-al', path.join(ROOT, 'bin'), path.join(this.directory, 'bin')])
    for (const file of ['package.json', 'jest.config.js', 'test/jest-environment.cjs']) {
      mkdirSync(path.dirname(path.join(this.directory, file)), { recursive: true })
      copyFileSync(path.join(ROOT, file), path.join(this.directory, file))
    }
    symlinkSync(path.join(ROOT, 'node_modules'), path.join(this.directory, 'node_modules'))
  }

  /** Puts the bug in. @throws when it does not fit the source any more */
  apply(mutant: Mutant): void {
    const changed = mutate(mutant, readFileSync(path.join(ROOT, mutant.file), 'utf8'))
    const target = path.join(this.directory, compiledFile(mutant.file))
    // The link goes first: writing through it would change the checkout.
    rmSync(target)
    writeFileSync(target, compile(changed, mutant.file))
  }

  file(name: string): string {
    return path.join(this.directory, name)
  }

  [Symbol.dispose](): void {
    rmSync(this.directory, { recursive: true, force: true })
  }
}
