/** Who of several masters may do what only one may at a time. */
import type { Flavour } from './flavour.js'

export const leases = (flavour: Flavour): readonly string[] => [
  `create table leases (name text primary key, holder text not null, address text not null, term bigint not null, expires_ms bigint not null)${flavour.inKeyOrder}`,
]
