/** One SQLite connection that runs {@link Operation}s. Synchronous; used in the writer's worker, for reads, and in tests. */
import Database from 'better-sqlite3'
import { DummyDriver, Kysely, Migrator, SqliteAdapter, SqliteDialect, SqliteIntrospector, SqliteQueryCompiler } from 'kysely'
import type { Schema } from '../schema.js'
import { SQLITE } from '../migrations/flavour.js'
import { migrationsFor } from '../migrations/index.js'
import type { CompiledStatement, Operation, Query, Statement } from './statement.js'

type Native = InstanceType<typeof Database>

interface Prepared {
  readonly compiled: CompiledStatement<unknown>
  readonly native: Database.Statement<unknown[]>
}

/** Compiles without a connection. */
const compiler = new Kysely<Schema>({
  dialect: {
    createAdapter: () => new SqliteAdapter(),
    createDriver: () => new DummyDriver(),
    createIntrospector: (db) => new SqliteIntrospector(db),
    createQueryCompiler: () => new SqliteQueryCompiler(),
  },
})

/** Compiled once, however many connections there are. */
const compiledStatements = new WeakMap<object, CompiledStatement<unknown>>()

function compiledOnce(statement: Statement<never, unknown>): CompiledStatement<unknown> {
  const known = compiledStatements.get(statement)
  if (known) return known
  const compiled = statement.compile(compiler) as CompiledStatement<unknown>
  compiledStatements.set(statement, compiled)
  return compiled
}

export const IN_MEMORY = ':memory:'

/**
 * Pages of the log after which it is carried over into the database. Four times what SQLite does by itself: pages that many
 * small transactions touch are then carried over once and not four times. What is durable, and when, is not changed by it.
 */
const CHECKPOINT_PAGES = 4_000

/** Statements around operations, as {@link SqliteConnection.control} takes them. */
export type Control =
  | 'BEGIN IMMEDIATE'
  | 'COMMIT'
  | 'ROLLBACK'
  | 'SAVEPOINT operation'
  | 'RELEASE operation'
  | 'ROLLBACK TO operation'
  | 'UPDATE meta SET position = position + 1'

export class SqliteConnection {
  readonly native: Native
  readonly #prepared = new Map<Statement<never, unknown>, Prepared>()
  readonly #controls = new Map<Control, Database.Statement<unknown[]>>()
  #changes: Database.Statement<unknown[]> | undefined

  /** @param file or the bytes of a database, which is then copied into memory */
  constructor(file: string | Buffer, options: { readonly readOnly: boolean }) {
    this.native = new Database(file, { readonly: options.readOnly, timeout: 10_000 })
    if (!options.readOnly) {
      this.native.pragma('journal_mode = WAL')
      // FULL: a commit is answered only after fsync. The promise of the whole system rests on this line.
      this.native.pragma('synchronous = FULL')
      this.native.pragma(`wal_autocheckpoint = ${CHECKPOINT_PAGES}`)
    }
    this.native.pragma('cache_size = -65536')
    this.native.pragma('foreign_keys = OFF')
  }

  /** Rows changed by this connection since it was opened. */
  totalChanges(): number {
    const changes = (this.#changes ??= this.native.prepare('select total_changes()').pluck())
    return changes.get() as number
  }

  /** Begins, ends, undoes. Prepared once, as all else. */
  control(sql: Control): void {
    let prepared = this.#controls.get(sql)
    if (!prepared) this.#controls.set(sql, (prepared = this.native.prepare(sql)))
    prepared.run()
  }

  /** Brings the schema up to date, or, for tests, to what it was with an earlier migration. Kysely guards it with a lock row. */
  async migrate(upTo?: string): Promise<void> {
    const db = new Kysely<Schema>({ dialect: new SqliteDialect({ database: this.native }) })
    const migrator = new Migrator({ db, provider: { getMigrations: async () => migrationsFor(SQLITE) } })
    const { error } = await (upTo === undefined ? migrator.migrateToLatest() : migrator.migrateTo(upTo))
    if (error) throw error as Error
  }

  /** Runs an operation to its end. Errors of a query are thrown into the operation, which may catch them. */
  execute<Result>(operation: Operation<Result>): Result {
    let step = operation.next()
    while (!step.done) {
      let value: unknown
      try {
        value = this.#query(step.value)
      } catch (error) {
        step = operation.throw(error)
        continue
      }
      step = operation.next(value)
    }
    return step.value
  }

  #query(query: Query): unknown {
    const { compiled, native } = this.#prepare(query.statement)
    const params = compiled.bind(query.params)
    switch (query.kind) {
      case 'all':
        return native.all(...params)
      case 'one':
        return native.get(...params)
      case 'run':
      case 'send':
        return native.run(...params).changes
    }
  }

  #prepare(statement: Statement<never, unknown>): Prepared {
    const known = this.#prepared.get(statement)
    if (known) return known
    const compiled = compiledOnce(statement)
    const prepared: Prepared = { compiled, native: this.native.prepare(compiled.sql) }
    this.#prepared.set(statement, prepared)
    return prepared
  }

  close(): void {
    this.native.close()
  }
}
