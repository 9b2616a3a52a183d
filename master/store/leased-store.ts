/** A store all of whose writes are made under a lease: each is refused once the lease has gone on to another. */
import type { MetadataStore } from './metadata-store.js'
import { writes } from './operations/index.js'
import type { LeaseKey } from './operations/leases.js'

/** @returns a store that shares `store`, and leaves it open when it is closed */
export function leasedStore(store: MetadataStore, lease: LeaseKey): MetadataStore {
  const operations = store as unknown as Record<string, (args: object) => Promise<unknown>>
  const leased: Record<string, (args: object) => Promise<unknown>> = {}
  for (const name of Object.keys(writes))
    leased[name] = (args) => (operations[name] as (args: object) => Promise<unknown>)({ ...args, lease })
  const close = async (): Promise<void> => undefined
  return { ...store, ...leased, close, [Symbol.asyncDispose]: close }
}
