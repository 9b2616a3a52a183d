/**
 * The seam to the metadata database: some fifty named operations, each one transaction inside the store. Nobody outside
 * ever awaits within a transaction. A write that has resolved is durable; one that rejects with a `CairnError` has
 * changed nothing. `test/contract/metadata-store.suite.ts` holds for every implementation.
 */
import type { Operation } from './engine/statement.js'
import type { Reads, Writes } from './operations/index.js'

type Call<F> = F extends (ctx: never, args: infer Args) => Operation<infer Result> ? (args: Args) => Promise<Result> : never

export type MetadataOperations = { readonly [Name in keyof Writes]: Call<Writes[Name]> } & {
  readonly [Name in keyof Reads]: Call<Reads[Name]>
}

export interface MetadataStore extends MetadataOperations, AsyncDisposable {
  /** The store's clock, by which leases and expiries are judged: the database's, or the injected one when embedded. */
  now(): number
  close(): Promise<void>
}
