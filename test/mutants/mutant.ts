/**
 * A mutant is a known bug, put into one source file by replacing exact text, and what must catch it. Nothing of it is in
 * the product: the runner changes a copy of the compiled tree.
 */
import ts from 'typescript'

/** What must fail with the bug in place, and pass without. */
export type Catcher =
  | { readonly kind: 'jest'; readonly file: string; readonly title: string }
  /** `npm run sim` from one seed on, stopping at the first that fails. */
  | { readonly kind: 'sim'; readonly from: number; readonly seeds: number }

export interface Mutant {
  readonly name: string
  /** What goes wrong with it, as a sentence. */
  readonly bug: string
  /** The system that had this bug or one like it, where it is known. */
  readonly seenIn?: string
  /** The source file, from the root of the checkout. */
  readonly file: string
  /** Exact text that occurs once in it. */
  readonly find: string
  readonly replace: string
  readonly caughtBy: readonly Catcher[]
  /** The first seed of the simulation that catches it too, where one was found. */
  readonly seed?: number
}

/** A test that must fail. */
export const jest = (file: string, title: string): Catcher => ({ kind: 'jest', file, title })

/** The source with the bug in it. @throws when the text is not there exactly once, or the result does not parse */
export function mutate(mutant: Pick<Mutant, 'name' | 'file' | 'find' | 'replace'>, source: string): string {
  const pieces = source.split(mutant.find)
  if (pieces.length !== 2)
    throw new Error(`mutant ${mutant.name}: the text to replace occurs ${pieces.length - 1} times in ${mutant.file}, not once`)
  const changed = pieces.join(mutant.replace)
  if (changed === source) throw new Error(`mutant ${mutant.name} changes nothing`)
  compile(changed, mutant.file)
  return changed
}

/** One file as JavaScript, types stripped and not checked. @throws when it does not parse */
export function compile(source: string, file: string, options: ts.CompilerOptions = COMPILER_OPTIONS): string {
  const { outputText, diagnostics } = ts.transpileModule(source, {
    compilerOptions: options,
    fileName: file,
    reportDiagnostics: true,
  })
  const [problem] = diagnostics ?? []
  if (problem) throw new Error(`${file}: ${ts.flattenDiagnosticMessageText(problem.messageText, '\n')}`)
  return outputText
}

const COMPILER_OPTIONS: ts.CompilerOptions = {
  target: ts.ScriptTarget.ES2022,
  module: ts.ModuleKind.ESNext,
  verbatimModuleSyntax: true,
}

/** Where the compiled file lies, from the root of the checkout. */
export const compiledFile = (file: string): string => `dist/${file.replace(/\.ts$/, '.js')}`

/** What catches it, in a line. */
export function catcherText(catcher: Catcher): string {
  return catcher.kind === 'jest'
    ? `${catcher.file}: ${catcher.title}`
    : `npm run sim -- --seeds ${catcher.seeds} --from ${catcher.from}`
}
