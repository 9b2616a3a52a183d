/** A write as every engine runs it: first whether who asks for it still may. */
import type { Operation } from '../engine/statement.js'
import type { OperationContext } from './context.js'
import { writes, type WriteName } from './index.js'
import { checkLease, type LeaseKey } from './leases.js'

/** @param args with `lease`, if it is made under one. @throws `NOT_ACTIVE`, and as the operation */
export function* runWrite(ctx: OperationContext, name: WriteName, args: unknown): Operation<unknown> {
  const { lease } = args as { readonly lease?: LeaseKey }
  if (lease) yield* checkLease(lease)
  const operation = writes[name] as unknown as (ctx: OperationContext, args: unknown) => Operation<unknown>
  return yield* operation(ctx, args)
}
