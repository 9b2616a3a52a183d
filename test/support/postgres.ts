/**
 * A PostgreSQL of a test's own: Debian's server on a free port of the loopback, in a directory that goes with it. It runs as
 * somebody who is not root, as it insists on, and ends with the process that started it.
 */
import { execFileSync, spawn, type ChildProcess } from 'node:child_process'
import {
  chmodSync,
  chownSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import pg from 'pg'
import { freePorts } from '../../cli/up/ports.js'

const VERSIONS = '/usr/lib/postgresql'
const USER = 'cairn'
/** Generous: other tests run meanwhile. */
const START_MS_MAX = 60_000

/** Where its programs are; undefined where it is not installed. */
function programs(): string | undefined {
  const versions = existsSync(VERSIONS) ? readdirSync(VERSIONS).sort((a, b) => Number(b) - Number(a)) : []
  return versions.map((version) => path.join(VERSIONS, version, 'bin')).find((bin) => existsSync(path.join(bin, 'postgres')))
}

/** False: tests skip themselves. With `CAIRN_REQUIRE_POSTGRES` they rather fail. */
export const hasPostgres = (): boolean => programs() !== undefined || process.env['CAIRN_REQUIRE_POSTGRES'] !== undefined

interface Account {
  readonly uid: number
  readonly gid: number
}

/** Whom the server runs as: ourselves, or, if that is root, the account that Debian's package makes. */
function account(): Account | undefined {
  if (process.getuid?.() !== 0) return undefined
  const [, , uid, gid] = execFileSync('getent', ['passwd', 'postgres'], { encoding: 'utf8' }).split(':')
  return { uid: Number(uid), gid: Number(gid) }
}

export interface PostgresOptions {
  /** Lines for postgresql.conf. */
  readonly settings?: readonly string[]
  /** Makes the directory: `initdb` by default, for a standby a copy of the primary. */
  readonly make?: (bin: string, directory: string, run: (program: string, args: readonly string[]) => void) => void
}

export class Postgres implements AsyncDisposable {
  readonly port: number
  readonly directory: string
  readonly #bin: string
  readonly #account: Account | undefined
  #process: ChildProcess | undefined
  #databases = 0

  private constructor(bin: string, port: number, directory: string, runAs: Account | undefined) {
    this.#bin = bin
    this.port = port
    this.directory = directory
    this.#account = runAs
  }

  static async start(options: PostgresOptions = {}): Promise<Postgres> {
    const bin = programs()
    if (!bin) throw new Error('PostgreSQL is not installed: apt-get install postgresql')
    const runAs = account()
    const parent = mkdtempSync(path.join(tmpdir(), 'cairn-pg-'))
    chmodSync(parent, 0o755)
    const directory = path.join(parent, 'data')
    mkdirSync(directory, { mode: 0o700 })
    if (runAs) chownSync(directory, runAs.uid, runAs.gid)
    const [port] = (await freePorts(1)) as [number]
    const postgres = new Postgres(bin, port, directory, runAs)
    const make =
      options.make ??
      ((_bin, data, run) => run('initdb', ['-D', data, '-U', USER, '-A', 'trust', '-E', 'UTF8', '--locale=C', '--no-sync']))
    make(bin, directory, (program, args) => postgres.#run(program, args))
    const settings = [
      "unix_socket_directories = ''",
      "listen_addresses = '127.0.0.1'",
      `port = ${postgres.port}`,
      ...(options.settings ?? []),
    ]
    writeFileSync(path.join(directory, 'postgresql.auto.conf'), [readAuto(directory), ...settings, ''].join('\n'))
    await postgres.up()
    return postgres
  }

  /** The server's process. */
  get pid(): number {
    const pid = this.#process?.pid
    if (pid === undefined) throw new Error('PostgreSQL is not running')
    return pid
  }

  /** Starts the server, and waits until it takes connections. */
  async up(): Promise<void> {
    const credentials = this.#account
      ? ['--reuid', String(this.#account.uid), '--regid', String(this.#account.gid), '--clear-groups']
      : []
    // The kernel ends it when we end without having had the time to.
    const child = spawn(
      'setpriv',
      ['--pdeathsig', 'KILL', ...credentials, path.join(this.#bin, 'postgres'), '-D', this.directory],
      {
        stdio: ['ignore', 'pipe', 'pipe'],
      },
    )
    let said = ''
    for (const stream of [child.stdout, child.stderr])
      stream.on('data', (data: Buffer) => (said = (said + data.toString()).slice(-10_000)))
    this.#process = child
    const deadline = Date.now() + START_MS_MAX
    for (;;) {
      if (child.exitCode !== null || child.signalCode !== null) throw new Error(`PostgreSQL did not start: ${said}`)
      try {
        await this.sql('select 1', 'postgres')
        return
      } catch (error) {
        if (Date.now() > deadline) throw new Error(`PostgreSQL does not answer: ${said}`, { cause: error })
        await new Promise((resolve) => setTimeout(resolve, 50))
      }
    }
  }

  /** Ends the server as a crash would (SIGKILL), or in order (SIGINT), and waits until it is gone. */
  async down(signal: 'SIGKILL' | 'SIGINT' = 'SIGINT'): Promise<void> {
    const child = this.#process
    this.#process = undefined
    if (!child || child.exitCode !== null || child.signalCode !== null) return
    const gone = new Promise((resolve) => child.once('exit', resolve))
    child.kill(signal)
    await gone
  }

  /** Makes the server's standby its successor: it takes writes from then on. */
  promote(): void {
    this.#run('pg_ctl', ['promote', '-D', this.directory, '-w'])
  }

  url(database: string, options = ''): string {
    return `postgres://${USER}@127.0.0.1:${this.port}/${database}${options && `?${options}`}`
  }

  /** A database of its own, empty or a copy of another one that nobody is connected to. */
  async createDatabase(template = 'template0'): Promise<string> {
    const name = `t${(this.#databases += 1)}`
    await this.sql(`create database ${name} template ${template}`, 'postgres')
    return name
  }

  async sql<Row extends pg.QueryResultRow>(text: string, database: string): Promise<Row[]> {
    const client = new pg.Client({ host: '127.0.0.1', port: this.port, user: USER, database })
    client.on('error', () => undefined)
    await client.connect()
    try {
      return (await client.query<Row>(text)).rows
    } finally {
      await client.end()
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.down()
    rmSync(path.dirname(this.directory), { recursive: true, force: true })
  }

  #run(program: string, args: readonly string[]): void {
    execFileSync(path.join(this.#bin, program), args, {
      cwd: '/',
      stdio: 'pipe',
      ...this.#account,
      env: { ...process.env, HOME: '/' },
    })
  }
}

function readAuto(directory: string): string {
  const file = path.join(directory, 'postgresql.auto.conf')
  return existsSync(file) ? readFileSync(file, 'utf8') : ''
}
