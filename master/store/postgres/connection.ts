/**
 * One connection to a PostgreSQL that takes writes. Runs {@link Operation}s, a query at a time, and knows whether a
 * transaction has changed anything.
 */
import { DummyDriver, Kysely, PostgresAdapter, PostgresIntrospector, PostgresQueryCompiler } from 'kysely'
import pg from 'pg'
import { assert } from '../../../common/assert.js'
import { CairnError } from '../../../common/errors/cairn-error.js'
import type { CompiledStatement, Operation, Query, Statement } from '../engine/statement.js'
import type { Schema } from '../schema.js'
import type { PostgresAddress, PostgresHost } from './address.js'
import { failureOf, sqlState } from './failures.js'

/** Compiles without a connection. */
const compiler = new Kysely<Schema>({
  dialect: {
    createAdapter: () => new PostgresAdapter(),
    createDriver: () => new DummyDriver(),
    createIntrospector: (db) => new PostgresIntrospector(db),
    createQueryCompiler: () => new PostgresQueryCompiler(),
  },
})

interface Named extends CompiledStatement<unknown> {
  /** Under which a connection keeps it prepared. */
  readonly name: string
}

const compiledStatements = new WeakMap<object, Named>()
let statements = 0

/** As PostgreSQL is sent it. */
export const compiledForPostgres = (statement: Statement<never, unknown>): CompiledStatement<unknown> => compiledOnce(statement)

function compiledOnce(statement: Statement<never, unknown>): Named {
  const known = compiledStatements.get(statement)
  if (known) return known
  const compiled = statement.compile(compiler) as CompiledStatement<unknown>
  const named: Named = { ...compiled, name: `cairn_${statements++}` }
  compiledStatements.set(statement, named)
  return named
}

const INT8 = 20
const NUMERIC = 1700

/** Whole numbers beyond 32 bits come as text. Ours are times, sizes and counts, all of which a number holds exactly. */
function wholeNumber(text: string): number {
  const value = Number(text)
  assert(Number.isSafeInteger(value), `${text} is beyond the whole numbers of JavaScript`)
  return value
}

const WHOLE_NUMBERS: readonly number[] = [INT8, NUMERIC]

const types: pg.CustomTypesConfig = {
  getTypeParser: (oid, format) =>
    WHOLE_NUMBERS.includes(oid) ? wholeNumber : (pg.types.getTypeParser(oid, format) as (value: string) => unknown),
}

/** In one message with what begins a transaction: what the time is where all masters agree on it. */
const NOW = 'select cast(floor(extract(epoch from clock_timestamp()) * 1000) as bigint) as now_ms'

/**
 * Every access path has its index; read as a whole, a table that is small yet would be in conflict with each of its writers.
 * The few tables that are read as a whole look dear by that, and compiling such a query takes 30 ms. An engine that has no such
 * setting plans otherwise.
 */
const PLANNING = ['set enable_seqscan = off', 'set jit = off'] as const

export type Isolation = 'serializable' | 'serializable read only' | 'read committed'

/** A connection whose transaction nobody goes on with is ended by the database after this; a lane is kept for longer. */
const IDLE_IN_TRANSACTION_SECONDS = 60

export class PostgresConnection {
  readonly host: PostgresHost
  readonly #client: pg.Client
  /** Set once it has failed in a way that says nothing about what comes next. */
  #broken = false
  #changes = 0
  /** The last of the statements whose answers nobody waits for; they come in order. */
  #sent: Promise<void> | undefined
  /** What the first of them failed with: the later ones say only that an earlier one has. */
  #failure: Error | undefined
  #warned = false

  private constructor(host: PostgresHost, client: pg.Client) {
    this.host = host
    this.#client = client
    client.on('error', () => (this.#broken = true))
    client.on('end', () => (this.#broken = true))
    // Each word that a commit brings along may say that it is not on the standby, see `commit`.
    client.on('notice', (notice) => (this.#warned ||= notice.severity === 'WARNING'))
  }

  /** @throws when the host does not answer, or is not what the metadata may be entrusted to */
  static async open(address: PostgresAddress, host: PostgresHost): Promise<PostgresConnection> {
    const client = new pg.Client({
      host: host.host,
      port: host.port,
      user: address.user,
      database: address.database,
      ...(address.password === undefined ? {} : { password: address.password }),
      ssl: address.tls ?? false,
      application_name: address.applicationName,
      connectionTimeoutMillis: address.connectTimeoutMs,
      query_timeout: address.answerTimeoutMs,
      keepAlive: true,
      types,
      // What nobody waits for the answer of is sent together with what comes next.
      pipeline: true,
    })
    const connection = new PostgresConnection(host, client)
    try {
      await client.connect()
      await connection.#prepareSession(address)
      return connection
    } catch (error) {
      connection.close()
      throw error
    }
  }

  get broken(): boolean {
    return this.#broken
  }

  /** For migrations, which Kysely runs. */
  get client(): pg.Client {
    return this.#client
  }

  async #prepareSession(address: PostgresAddress): Promise<void> {
    const [readOnly] = await this.control('show transaction_read_only')
    if ((readOnly?.rows[0] as { transaction_read_only: string }).transaction_read_only === 'on') {
      throw Object.assign(new Error(`${this.host.host}:${this.host.port} takes no writes`), { code: '25006', severity: 'ERROR' })
    }
    const [settings] = await this.control(
      "select name, setting from pg_settings where name in ('synchronous_commit', 'fsync', 'server_encoding')",
    )
    for (const { name, setting } of (settings?.rows ?? []) as { name: string; setting: string }[]) checkSetting(name, setting)
    await this.control(
      `set statement_timeout = ${address.answerTimeoutMs}; set idle_in_transaction_session_timeout = ${IDLE_IN_TRANSACTION_SECONDS * 1000}`,
    )
    for (const planning of PLANNING) {
      await this.control(planning).catch((error: unknown) => {
        if (sqlState(error) === undefined) throw error
      })
    }
  }

  /** Begins a transaction. @returns the database's time */
  async begin(isolation: Isolation): Promise<number> {
    this.#changes = 0
    this.#sent = undefined
    this.#failure = undefined
    this.#warned = false
    const results = await this.control(`begin isolation level ${isolation}; ${NOW}`)
    return (results[1]?.rows[0] as { now_ms: number }).now_ms
  }

  /**
   * Commits, with `last` before it in the same message.
   * @throws also when the database says that it has committed with a warning: then a standby that should have it may not
   */
  async commit(last?: string): Promise<void> {
    const results = await this.control(last === undefined ? 'commit' : `${last}; commit`)
    // So PostgreSQL answers the commit of a transaction that had an error.
    assert(results.at(-1)?.command === 'COMMIT', 'a transaction with an error is not committed')
    if (this.#warned) throw new Error('the database has committed with a warning: a standby may not have it')
  }

  /** Undoes the transaction that has ended with `error`. The connection is of no use afterwards if it, or this, has lost it. */
  async rollback(error: unknown): Promise<void> {
    if (failureOf(error) === 'lost') this.close()
    if (this.#broken) return
    await this.control('rollback').catch(() => this.close())
  }

  /** Statements without parameters, several to a message. */
  async control(sql: string): Promise<pg.QueryResult[]> {
    const result = (await this.#client.query(sql)) as pg.QueryResult | pg.QueryResult[]
    return Array.isArray(result) ? result : [result]
  }

  /** Runs an operation to its end. An error of a query ends it: PostgreSQL goes on with nothing in a transaction that has one. */
  async execute<Result>(operation: Operation<Result>): Promise<Result> {
    let step = operation.next()
    while (!step.done) step = operation.next(await this.query(step.value))
    await this.#settled()
    return step.value
  }

  /** Whether the operation has changed anything. */
  get changed(): boolean {
    return this.#changes > 0
  }

  /** Waits for what was sent without waiting. @throws what the first of it failed with */
  async #settled(): Promise<void> {
    await this.#sent
    if (this.#failure !== undefined) throw this.#failure
  }

  async query(query: Query): Promise<unknown> {
    const { name, sql, bind } = compiledOnce(query.statement)
    const answer = this.#client.query({ name, text: sql, values: bind(query.params) })
    if (query.kind === 'send') {
      this.#sent = answer.then(
        (result) => this.#note(result),
        (error: Error) => void (this.#failure ??= error),
      )
      return undefined
    }
    let result: pg.QueryResult
    try {
      result = await answer
    } catch (error) {
      throw this.#failure ?? error
    }
    this.#note(result)
    return query.kind === 'all' ? result.rows : query.kind === 'one' ? (result.rows[0] as unknown) : (result.rowCount ?? 0)
  }

  #note(result: pg.QueryResult): void {
    if (result.command !== 'SELECT') this.#changes += result.rowCount ?? 0
  }

  /** Ends it without waiting for anything that the other side would have to say. */
  close(): void {
    this.#broken = true
    this.#client.end().catch(() => undefined)
  }
}

function checkSetting(name: string, setting: string): void {
  if (name === 'server_encoding' && setting.toUpperCase() !== 'UTF8') {
    throw new CairnError('USAGE', `The metadata database is encoded in ${setting}. Create one with encoding 'UTF8'.`)
  }
  if ((name === 'synchronous_commit' && (setting === 'off' || setting === 'local')) || (name === 'fsync' && setting === 'off')) {
    throw new CairnError(
      'USAGE',
      `The metadata database runs with ${name} = ${setting}: it would acknowledge what a crash can undo. Set it to on.`,
    )
  }
}
