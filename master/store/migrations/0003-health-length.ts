/** How long a chunk is, beside what is wrong with it: so that counting what is wrong need not look up every chunk. */

export const healthLength = (): readonly string[] => [
  `alter table health add column length_bytes bigint not null default 0`,
  `update health set length_bytes = coalesce((select length_bytes from chunks c where c.chunk_id = health.chunk_id), 0)`,
]
