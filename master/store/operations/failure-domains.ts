/**
 * Whether copies lie far enough apart to be acknowledged: in different zones where several can take chunks, else in
 * different racks, else on different hosts. A domain whose servers are silent or full is not waited for.
 */
import { sql, type RawBuilder } from 'kysely'
import { all, one, statement, type Operation } from '../engine/statement.js'
import { ReplicaState } from '../schema.js'

const liveDomains = statement((db, p: { free: number }) =>
  db
    .selectFrom('servers')
    .innerJoin('disks', 'disks.server_no', 'servers.server_no')
    .select(['servers.zone', 'servers.rack', 'servers.host'])
    .distinct()
    .where('disks.serving', '=', 1)
    .where('servers.state', '=', 'serving')
    .where('servers.free_bytes', '>=', p.free),
)

/** The columns that tell domains of a level apart, widest level first. */
const LEVELS = {
  zone: sql.raw('s.zone'),
  rack: sql.raw("s.zone || '/' || s.rack"),
  host: sql.raw("s.zone || '/' || s.rack || '/' || s.host"),
} as const
export type DomainLevel = keyof typeof LEVELS

/** In how many domains the live copies of a chunk lie. */
const countDomains = (level: DomainLevel, chunk: RawBuilder<unknown>) =>
  sql`select count(distinct ${LEVELS[level]}) from replicas r
    join disks d on d.disk_no = r.disk_no join servers s on s.server_no = r.server_no
    where r.chunk_id = ${chunk} and r.state = ${sql.lit(ReplicaState.good)} and d.serving = 1`

const domainsOf = (level: DomainLevel) =>
  statement(
    (_db, p: { chunk: Uint8Array }) => sql<{ domains: number }>`select (${countDomains(level, sql`${p.chunk}`)}) as domains`,
  )
const closestOf = (level: DomainLevel) =>
  statement(
    (_db, p: { manifest: Uint8Array; domains: number }) =>
      sql<{ chunk_index: number; domains: number }>`
      select chunk_index, domains from (
        select mc.chunk_index as chunk_index, (${countDomains(level, sql.raw('mc.chunk_id'))}) as domains
        from manifest_chunks mc where mc.manifest_id = ${p.manifest}
      ) as counted where domains < ${p.domains} limit 1`,
  )
const domains = { zone: domainsOf('zone'), rack: domainsOf('rack'), host: domainsOf('host') }
const closest = { zone: closestOf('zone'), rack: closestOf('rack'), host: closestOf('host') }

export interface SpreadRule {
  readonly level: DomainLevel
  /** In so many different domains the live copies of a chunk must lie. */
  readonly domains: number
}

/** What `minReplicas` copies of chunks of `lengthBytes` owe now; undefined when there is nothing to tell apart. */
export function* spreadRule(minReplicas: number, lengthBytes: number): Operation<SpreadRule | undefined> {
  if (minReplicas < 2) return undefined
  const rows = yield* all(liveDomains, { free: lengthBytes })
  for (const [level, keyOf] of [
    ['zone', (row: (typeof rows)[number]) => row.zone],
    ['rack', (row: (typeof rows)[number]) => `${row.zone}/${row.rack}`],
    ['host', (row: (typeof rows)[number]) => `${row.zone}/${row.rack}/${row.host}`],
  ] as const) {
    const live = new Set(rows.map(keyOf)).size
    if (live >= 2) return { level, domains: Math.min(minReplicas, live) }
  }
  return undefined
}

export function* isSpread(rule: SpreadRule | undefined, chunk: Uint8Array): Operation<boolean> {
  if (!rule) return true
  return ((yield* one(domains[rule.level], { chunk }))?.domains ?? 0) >= rule.domains
}

/** A chunk of the manifest whose live copies lie too close together. */
export function* tooClose(
  rule: SpreadRule | undefined,
  manifest: Uint8Array,
): Operation<{ readonly index: number; readonly domains: number } | undefined> {
  if (!rule) return undefined
  const row = yield* one(closest[rule.level], { manifest, domains: rule.domains })
  return row && { index: row.chunk_index, domains: row.domains }
}
