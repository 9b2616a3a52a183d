/** A write as every engine runs it: first whether who asks for it still may. */
import type { Operation } from '../engine/statement.js'
import type { OperationContext } from './context.js'
import { writes, type WriteName } from './index.js'
import { checkLease, type LeaseKey } from './leases.js'

/**
 * @param args with `lease`, if it is made under one: refused with `NOT_ACTIVE` then, once that has gone on to another
 * @returns the operation; without a lease the very one, since each generator around it costs the embedded store time
 */
export function runWrite(ctx: OperationContext, name: WriteName, args: unknown): Operation<unknown> {
  const operation = writes[name] as unknown as (ctx: OperationContext, args: unknown) => Operation<unknown>
  const { lease } = args as { readonly lease?: LeaseKey }
  return lease ? underLease(lease, operation(ctx, args)) : operation(ctx, args)
}

function* underLease(lease: LeaseKey, operation: Operation<unknown>): Operation<unknown> {
  yield* checkLease(lease)
  return yield* operation
}
