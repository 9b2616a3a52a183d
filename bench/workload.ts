/** What a workload is: a question, named parameters in two sizes, and a run that answers with figures. */
import { parseSize } from '../common/units.js'

export type Size = 'smoke' | 'full'

interface ParameterBase<T> {
  /** Small enough to be run in tests. */
  readonly smoke: T
  readonly full: T
  readonly help: string
}

export type Parameter =
  | ({ readonly kind: 'bytes' | 'count' } & ParameterBase<number>)
  | ({ readonly kind: 'choice'; readonly choices: readonly string[] } & ParameterBase<string>)

export type ParameterTable = Readonly<Record<string, Parameter>>

/** The parameters of one run: those of its size, with what the command line says in their place. */
export class Parameters {
  readonly #values: ReadonlyMap<string, number | string>

  constructor(table: ParameterTable, size: Size, flags: ReadonlyMap<string, string>) {
    for (const name of flags.keys()) if (!(name in table)) throw new Error(`there is no flag --${name} here`)
    const values = Object.entries(table).map(([name, parameter]) => {
      const flag = flags.get(name)
      return [name, flag === undefined ? parameter[size] : parseFlag(name, parameter, flag)] as const
    })
    this.#values = new Map(values)
  }

  number(name: string): number {
    return Number(this.#get(name))
  }

  text(name: string): string {
    return String(this.#get(name))
  }

  toJSON(): Record<string, number | string> {
    return Object.fromEntries(this.#values)
  }

  #get(name: string): number | string {
    const value = this.#values.get(name)
    if (value === undefined) throw new Error(`this workload has no parameter ${name}`)
    return value
  }
}

function parseFlag(name: string, parameter: Parameter, flag: string): number | string {
  if (parameter.kind === 'bytes') return parseSize(flag)
  if (parameter.kind === 'choice') {
    if (!parameter.choices.includes(flag)) throw new Error(`--${name} is one of ${parameter.choices.join(', ')}`)
    return flag
  }
  const count = Number(flag)
  if (!Number.isSafeInteger(count) || count < 0) throw new Error(`--${name} is a whole number`)
  return count
}

export interface RunContext {
  readonly parameters: Parameters
  /** An empty directory of this run's own, removed afterwards. */
  readonly directory: string
  /** Tells how far the run is, on stderr. */
  readonly say: (line: string) => void
}

export interface Workload {
  readonly name: string
  /** What the figures answer, in one line. */
  readonly question: string
  readonly parameters: ParameterTable
  /** @returns the figures; what all workloads print alike (machine, commit, parameters) is added by the caller */
  run(context: RunContext): Promise<Readonly<Record<string, unknown>>>
}
