/**
 * Leases: who of several masters may do what only one may do at a time, by the database's clock. A lease has a term that
 * rises with each change of hands. Whoever acts under a lease names its term with each write, and the write is refused in its
 * own transaction when the lease has gone on to another: it does not matter what a process that stood still believes, or for
 * how long it did.
 */
import { CairnError } from '../../../common/errors/cairn-error.js'
import { one, run, send, statement, type Operation } from '../engine/statement.js'
import type { LeaseTable } from '../schema.js'
import type { OperationContext } from './context.js'

const find = statement((db, p: { name: string }) => db.selectFrom('leases').selectAll().where('name', '=', p.name))
const insert = statement((db, p: LeaseTable) =>
  db.insertInto('leases').values({ name: p.name, holder: p.holder, address: p.address, term: p.term, expires_ms: p.expires_ms }),
)
const update = statement((db, p: LeaseTable) =>
  db
    .updateTable('leases')
    .set({ holder: p.holder, address: p.address, term: p.term, expires_ms: p.expires_ms })
    .where('name', '=', p.name),
)
const expire = statement((db, p: { name: string; holder: string; term: number }) =>
  db
    .updateTable('leases')
    .set({ expires_ms: 0 })
    .where('name', '=', p.name)
    .where('holder', '=', p.holder)
    .where('term', '=', p.term),
)

/** What a write under a lease brings along. */
export interface LeaseKey {
  readonly name: string
  readonly term: number
}

export interface LeaseState {
  /** Whether it is the asker's. */
  readonly held: boolean
  readonly term: number
  /** Whose it is, and how others reach that one. */
  readonly holder: string
  readonly address: string
  readonly expiresMs: number
}

export interface TakeLeaseArgs {
  readonly name: string
  readonly holder: string
  readonly address: string
  readonly ttlMs: number
  /**
   * The holder has only now been started: what its earlier life had under way is not gone on with. It need not wait for that
   * one's time to be over, and gets a term of its own.
   */
  readonly anew?: boolean
}

/** Takes the lease, or prolongs it, if it is free or the asker's. Who had it last, and nobody since, has it in the same term. */
export function* takeLease(ctx: OperationContext, args: TakeLeaseArgs): Operation<LeaseState> {
  const before = yield* one(find, { name: args.name })
  if (before && before.holder !== args.holder && before.expires_ms > ctx.nowMs) return toState(before, false)
  const row: LeaseTable = {
    name: args.name,
    holder: args.holder,
    address: args.address,
    term: before?.holder === args.holder && !args.anew ? before.term : (before?.term ?? 0) + 1,
    expires_ms: ctx.nowMs + args.ttlMs,
  }
  yield* send(before ? update : insert, row)
  return toState(row, true)
}

const toState = (row: LeaseTable, held: boolean): LeaseState => ({
  held,
  term: row.term,
  holder: row.holder,
  address: row.address,
  expiresMs: row.expires_ms,
})

/** Gives the lease up before its time. @returns false when it is somebody else's by now */
export function* releaseLease(_ctx: OperationContext, args: { name: string; holder: string; term: number }): Operation<boolean> {
  return (yield* run(expire, args)) > 0
}

/** @throws `NOT_ACTIVE` when the lease has gone on to another */
export function* checkLease(lease: LeaseKey): Operation<void> {
  const row = yield* one(find, { name: lease.name })
  if (row?.term === lease.term) return
  throw new CairnError(
    'NOT_ACTIVE',
    `This master does not hold the lease "${lease.name}" any more (term ${lease.term}, now ${row?.term ?? 'none'}). Nothing was changed; ask another master.`,
  )
}
