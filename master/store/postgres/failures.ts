/** What has become of a transaction whose database answered with an error, or did not answer. */
import { CairnError, isCairnError, systemCode } from '../../../common/errors/cairn-error.js'

/**
 * - `again`: the database has undone it, because of another one at the same time: it may be run again at once.
 * - `lost`: the connection is of no use any more (closed, silent, or to a database that takes no writes now): it is run again
 *   on another one. If this was the answer to a commit, it is open whether it was carried out.
 * - `refused`: it will fail each time.
 */
export type Failure = 'again' | 'lost' | 'refused'

/**
 * Errors of transactions that met. A unique violation is one: every operation asks first, in its own transaction, whether
 * what it is about to insert is there, so somebody else has inserted it since.
 */
const AGAIN: ReadonlySet<string> = new Set([
  '40001', // serialization failure
  '40P01', // deadlock
  '23505', // unique violation
  '55P03', // lock not available
])

/** Errors of a database that is going away, coming up, following another, or has no connection to spare. */
const LOST: ReadonlySet<string> = new Set([
  '25006', // read-only transaction: this was the primary, or never was
  '25P03', // the transaction stood idle for too long
  '40003', // completion unknown
  '53300', // too many connections
  '57014', // cancelled: it took longer than a statement may
  '57P01', // shut down by an administrator
  '57P02', // crash shutdown
  '57P03', // cannot connect now
  '57P05', // idle session
  '58030', // I/O error
  'XX000', // an internal error
  'XX001', // data corrupted
  'XX002', // index corrupted
])

/** Wrong user or password, no such database, no rights. */
const REFUSES_US = /^(28...|3D000|42501)$/

const SQLSTATE = /^[0-9A-Z]{5}$/

/** The SQLSTATE of an error that the database has sent. */
export function sqlState(error: unknown): string | undefined {
  const { code, severity } = (error ?? {}) as { code?: unknown; severity?: unknown }
  return typeof code === 'string' && severity !== undefined && SQLSTATE.test(code) ? code : undefined
}

export function failureOf(error: unknown): Failure {
  if (isCairnError(error)) return 'refused'
  const state = sqlState(error)
  // Not from the database, so from the way to it: the driver has plain errors for connections that end or time out.
  if (state === undefined) return error instanceof TypeError || error instanceof RangeError ? 'refused' : 'lost'
  if (AGAIN.has(state)) return 'again'
  return LOST.has(state) || state.startsWith('08') ? 'lost' : 'refused'
}

/** What a caller is told of an error that no repetition has mended. */
export function toStoreError(error: unknown): unknown {
  if (isCairnError(error)) return error
  const state = sqlState(error)
  const text = error instanceof Error ? error.message : String(error)
  if (state === '53100' || state === '53200') {
    return new CairnError('DISK_FULL', `The metadata database has no room: ${text}. Nothing was changed.`, { cause: error })
  }
  if (state === '22021' || state === '22P05') {
    return new CairnError('INVALID_ARGUMENT', `The metadata database cannot keep this text: ${text}.`, { cause: error })
  }
  if (state !== undefined && REFUSES_US.test(state)) {
    return new CairnError(
      'USAGE',
      `The metadata database refuses this master: ${text}. Check the address, the user and its rights.`,
      {
        cause: error,
      },
    )
  }
  if (failureOf(error) === 'refused') return error
  return unavailable(`${state ?? systemCode(error) ?? 'no answer'}: ${text}`, error)
}

export const unavailable = (why: string, cause?: unknown): CairnError =>
  new CairnError(
    'METADATA_UNAVAILABLE',
    `The metadata database cannot be written to now (${why}). Repeat the request under the same id: if it was carried out, its result is found.`,
    { cause },
  )
