/**
 * How many failure domains have servers. Chunks are measured against it: three copies in two zones are well placed while
 * there are two zones, and misplaced once there is a third.
 */
import { all, send, statement, type Operation } from '../engine/statement.js'
import { startSweep } from './health.js'

/** Counted no further: more domains than a chunk has copies make no difference, and each change costs a look at all chunks. */
const DOMAINS_COUNTED_MAX = 4

const expected = statement((db, _p: object) =>
  db
    .selectFrom('servers')
    .select(['server_no', 'zone', 'rack', 'host'])
    // A server that is only silent is not given up: its domain is not gone, and a look at all chunks would be in vain.
    .where('state', 'in', ['serving', 'suspect', 'maintenance']),
)
const known = statement((db, _p: object) => db.selectFrom('domains').selectAll())
const insert = statement((db, p: { level: string; available: number }) =>
  db
    .insertInto('domains')
    .values({ level: p.level, available: p.available })
    .onConflict((conflict) => conflict.column('level').doUpdateSet({ available: p.available })),
)
const everyServer = statement((db, _p: object) => db.selectFrom('servers').select('server_no'))

/** Counts the domains anew. When their number has changed, all chunks are looked at again. */
export function* refreshDomains(): Operation<void> {
  const servers = yield* all(expected, {})
  const before = new Map((yield* all(known, {})).map((row) => [row.level, row.available]))
  const count = (keyOf: (server: (typeof servers)[number]) => string): number =>
    Math.max(1, Math.min(DOMAINS_COUNTED_MAX, new Set(servers.map(keyOf)).size))
  const now = {
    zone: count(({ zone }) => zone),
    rack: count(({ zone, rack }) => `${zone}/${rack}`),
    host: count(({ zone, rack, host }) => `${zone}/${rack}/${host}`),
  }
  let changed = false
  for (const [level, available] of Object.entries(now)) {
    if ((before.get(level) ?? 1) === available) continue
    yield* send(insert, { level, available })
    changed = true
  }
  if (changed) for (const { server_no: server } of yield* all(everyServer, {})) yield* startSweep(server)
}
