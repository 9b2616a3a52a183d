/**
 * Where the database is and how it is spoken to, out of one URL with the words of libpq:
 * `postgres://user:password@host1:5432,host2/database?sslmode=verify-full&target_session_attrs=read-write`.
 * Whatever is not understood is refused: a mistyped option must not silently mean something weaker.
 */
import { readFileSync } from 'node:fs'
import type { ClientConfig } from 'pg'
import { CairnError } from '../../../common/errors/cairn-error.js'
import { SECOND_MS } from '../../../common/units.js'

type TlsOptions = Exclude<ClientConfig['ssl'], boolean | undefined>

export interface PostgresHost {
  /** A name, an address, or the directory of a Unix socket. */
  readonly host: string
  readonly port: number
}

export interface PostgresAddress {
  /** Tried in order until one takes writes. */
  readonly hosts: readonly PostgresHost[]
  readonly user: string
  readonly password: string | undefined
  readonly database: string
  readonly tls: TlsOptions | undefined
  readonly applicationName: string
  /** Connections at the most. */
  readonly connectionsMax: number
  /** Writes at the same time, at the most. The rest of the connections is for reads. */
  readonly writersMax: number
  /** For a connection to be made. */
  readonly connectTimeoutMs: number
  /** For the database to answer one statement. One that takes longer is taken to be dead, or cut off. */
  readonly answerTimeoutMs: number
  /** For an operation, with all its attempts: as long as a failover may take. */
  readonly patienceMs: number
}

export const isPostgresUrl = (url: string): boolean => /^postgres(ql)?:\/\//.test(url)

const PORT = 5432
const MODES = ['disable', 'require', 'verify-ca', 'verify-full'] as const
type TlsMode = (typeof MODES)[number]

const SHAPE =
  /^postgres(?:ql)?:\/\/(?:(?<user>[^:@/?]*)(?::(?<password>[^@/?]*))?@)?(?<hosts>[^/?]*)(?:\/(?<database>[^?]*))?(?:\?(?<options>.*))?$/

const bad = (why: string): CairnError => new CairnError('USAGE', `The address of the metadata database is wrong: ${why}.`)

/**
 * @param environment where `PGUSER` and `PGPASSWORD` may stand, since a command line is readable for all on the machine
 * @throws `USAGE`
 */
export function parsePostgresUrl(url: string, environment: Readonly<Record<string, string | undefined>> = {}): PostgresAddress {
  const parts = SHAPE.exec(url)?.groups
  if (!parts) throw bad('it is not of the form postgres://user@host/database')
  const options = new Options(new URLSearchParams(parts['options'] ?? ''))
  const text = (part: string | undefined): string | undefined => (part ? decoded(part) : undefined)
  const hosts = hostsOf(options.take('host') ?? text(parts['hosts']) ?? '', options.take('port'))
  const user = text(parts['user']) ?? options.take('user') ?? environment['PGUSER']
  if (!user) throw bad('it names no user')
  const database = text(parts['database']) ?? options.take('dbname')
  if (!database) throw bad('it names no database')
  options.oneOf('target_session_attrs', ['read-write', 'primary'])
  const connectionsMax = options.count('pool_max', 16)
  const address: PostgresAddress = {
    hosts,
    user,
    password: text(parts['password']) ?? options.take('password') ?? environment['PGPASSWORD'],
    database,
    tls: tlsOf(options),
    applicationName: options.take('application_name') ?? 'cairn',
    connectionsMax,
    writersMax: options.count('writers_max', Math.max(1, Math.min(8, Math.floor(connectionsMax / 2)))),
    connectTimeoutMs: options.count('connect_timeout', 3) * SECOND_MS,
    answerTimeoutMs: options.count('answer_timeout', 15) * SECOND_MS,
    patienceMs: options.count('failover_timeout', 60) * SECOND_MS,
  }
  options.refuseOthers()
  if (address.writersMax >= connectionsMax) throw bad('writers_max must be less than pool_max, or reads would wait for writes')
  return address
}

function decoded(part: string): string {
  try {
    return decodeURIComponent(part)
  } catch {
    // Not which: it may be the password.
    throw bad('a part of it is not percent-encoded as it should be')
  }
}

function hostsOf(list: string, ports: string | undefined): PostgresHost[] {
  const each = ports?.split(',') ?? []
  return list.split(',').map((entry, index) => {
    const match = /^(?:\[(?<v6>[^\]]+)\]|(?<name>[^:]*))(?::(?<port>\d+))?$/.exec(entry)
    const host = match?.groups?.['v6'] ?? match?.groups?.['name']
    // An @ in it comes from a password that is not percent-encoded.
    if (!host || host.includes('@')) throw bad(list === '' ? 'it names no host' : 'one of its hosts is none')
    const port = Number(match?.groups?.['port'] ?? each[index] ?? each[0] ?? PORT)
    if (!Number.isInteger(port) || port < 1 || port > 65_535) throw bad(`the port ${port} of a host is not valid`)
    return { host, port }
  })
}

function tlsOf(options: Options): TlsOptions | undefined {
  const root = options.take('sslrootcert')
  const mode = options.oneOf('sslmode', MODES) ?? (root ? 'verify-full' : 'disable')
  const [certificate, key] = [options.take('sslcert'), options.take('sslkey')]
  if (mode === 'disable') {
    if (root ?? certificate ?? key) throw bad('it names certificates, and sslmode=disable')
    return undefined
  }
  return {
    ...(root ? { ca: contentsOf(root) } : {}),
    ...(certificate ? { cert: contentsOf(certificate) } : {}),
    ...(key ? { key: contentsOf(key) } : {}),
    ...checksOf(mode, root !== undefined),
  }
}

/** As libpq: `require` encrypts and checks nothing, unless there is a root certificate to check against. */
function checksOf(mode: Exclude<TlsMode, 'disable'>, hasRoot: boolean): TlsOptions {
  if (mode === 'verify-full') return { rejectUnauthorized: true }
  if (mode === 'require' && !hasRoot) return { rejectUnauthorized: false }
  return { rejectUnauthorized: true, checkServerIdentity: () => undefined }
}

function contentsOf(file: string): string {
  try {
    return readFileSync(file, 'utf8')
  } catch (error) {
    throw new CairnError('LOCAL_FILE_NOT_FOUND', `The certificate or key ${file} cannot be read.`, { cause: error })
  }
}

/** The options of the URL, each taken once; what is left at the end was meant for somebody else. */
class Options {
  readonly #left: URLSearchParams

  constructor(all: URLSearchParams) {
    this.#left = all
  }

  take(name: string): string | undefined {
    const value = this.#left.get(name)
    this.#left.delete(name)
    return value === null || value === '' ? undefined : value
  }

  oneOf<Value extends string>(name: string, values: readonly Value[]): Value | undefined {
    const value = this.take(name)
    if (value === undefined) return undefined
    const known = values.find((one) => one === value)
    if (known === undefined) throw bad(`${name}=${value} is none of ${values.join(', ')}`)
    return known
  }

  count(name: string, otherwise: number): number {
    const value = this.take(name)
    if (value === undefined) return otherwise
    if (!/^[1-9]\d{0,5}$/.test(value)) throw bad(`${name}=${value} is no number above 0`)
    return Number(value)
  }

  refuseOthers(): void {
    const [name] = this.#left.keys()
    if (name !== undefined) throw bad(`${name} is no option that Cairn knows`)
  }
}
