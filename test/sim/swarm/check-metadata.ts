/** What must hold of the rows of the metadata between any two transactions. */
import { Violation } from './model.js'
import type { Rows } from './rows.js'

interface Rule {
  /** What is wrong with each row that is found. */
  readonly what: string
  readonly sql: string
}

/** Bytes of all wanted copies of a manifest's chunks, as files: data and footer, each in whole blocks. */
const STORED = `select coalesce(sum(c.wanted * ((c.length_bytes + 4095) / 4096 * 4096 + 4096)), 0) as value from manifests m
  join manifest_chunks mc on mc.manifest_id = m.manifest_id join chunks c on c.chunk_id = mc.chunk_id where`

const COUNTERS: readonly { readonly name: string; readonly sql: string }[] = [
  { name: 'files', sql: 'select count(*) as value from names' },
  { name: 'fileBytes', sql: 'select coalesce(sum(size_bytes), 0) as value from names' },
  { name: 'liveChunks', sql: 'select count(*) as value from chunks where state = 1' },
  { name: 'storedFileBytes', sql: `${STORED} exists (select 1 from names n where n.manifest_id = m.manifest_id)` },
  {
    name: 'storedTrashBytes',
    sql: `${STORED} not exists (select 1 from names n where n.manifest_id = m.manifest_id)
      and exists (select 1 from trash t where t.manifest_id = m.manifest_id)`,
  },
]

const RULES: readonly Rule[] = [
  {
    what: 'a file holds a chunk that is not live',
    sql: `select hex(mc.chunk_id) as id from manifests m join manifest_chunks mc on mc.manifest_id = m.manifest_id
      left join chunks c on c.chunk_id = mc.chunk_id where m.state = 1 and (c.state is null or c.state <> 1)`,
  },
  {
    what: 'an open upload has reported a chunk that is on its way out',
    sql: `select hex(mc.chunk_id) as id from uploads u join manifest_chunks mc on mc.manifest_id = u.manifest_id
      left join chunks c on c.chunk_id = mc.chunk_id where u.state = 0 and (c.state is null or c.state <> 1)`,
  },
  {
    what: 'a manifest is held by more or fewer names than it counts',
    sql: `select hex(m.manifest_id) as id from manifests m where m.state = 1 and m.reference_count <>
      (select count(*) from names n where n.manifest_id = m.manifest_id) + (select count(*) from trash t where t.manifest_id = m.manifest_id)`,
  },
  {
    what: 'a name or a trash entry has a manifest that is not sealed',
    sql: `select f.path as id from (select path, manifest_id from names union all select path, manifest_id from trash) f
      left join manifests m on m.manifest_id = f.manifest_id where m.state is null or m.state <> 1`,
  },
  {
    what: 'the chunks of a file do not add up to it',
    sql: `select f.path as id from (select path, manifest_id, size_bytes, chunk_count from names
        union all select path, manifest_id, size_bytes, chunk_count from trash) f
      where f.size_bytes <> (select coalesce(sum(length_bytes), 0) from manifest_chunks mc where mc.manifest_id = f.manifest_id)
        or f.chunk_count <> (select count(*) from manifest_chunks mc where mc.manifest_id = f.manifest_id)`,
  },
  {
    what: 'a chunk was found good and sound though another server of its row has its disk',
    sql: `select hex(r.chunk_id) as id from replicas r join disks d on d.disk_no = r.disk_no where d.server_no <> r.server_no`,
  },
  {
    // Chunks of servers that wait for a sweep are known to be behind.
    what: 'the health table is not what the copies are',
    sql: `select hex(id) || ' is ' || coalesce(has, 'absent') || ', not ' || coalesce(class, 'absent') as id from (
      select c.chunk_id as id, h.class as has, case when c.state <> 1 then null
          when c.live = 0 then 3 when c.live >= c.wanted then case when c.lasts < c.wanted then 5 when c.live > c.wanted then 4
            when c.zones < min(c.wanted, coalesce((select available from domains where level = 'zone'), 1)) then 6 end
          when c.live = 1 then 0 when c.near >= c.wanted then 2 else 1 end as class
      from (select c.chunk_id, c.state, c.wanted, coalesce(sum(d.serving), 0) as live, coalesce(sum(d.reachable), 0) as near,
          coalesce(sum(d.lasting), 0) as lasts, count(distinct case when d.lasting = 1 then s.zone end) as zones,
          sum(case when s.sweep_after is null then 0 else 1 end) as behind
        from chunks c left join replicas r on r.chunk_id = c.chunk_id and r.state = 0
        left join disks d on d.disk_no = r.disk_no left join servers s on s.server_no = d.server_no
        group by c.chunk_id) c left join health h on h.chunk_id = c.chunk_id where c.behind = 0 or c.state <> 1)
      where has is not class`,
  },
]

/** @throws Violation naming the rule and the first row that breaks it */
export function checkMetadata(rows: Rows): void {
  const counters = new Map(
    rows.all<{ name: string; value: number }>('select name, value from counters').map((row) => [row.name, row.value]),
  )
  for (const { name, sql } of COUNTERS) {
    const counted = rows.one<{ value: number }>(sql)?.value ?? 0
    if (counted !== (counters.get(name) ?? 0))
      throw new Violation(`the counter ${name} says ${counters.get(name) ?? 0}, the rows ${counted}`)
  }
  for (const { what, sql } of RULES) {
    const found = rows.one<{ id: string }>(`${sql} limit 1`)
    if (found) throw new Violation(`${what}: ${found.id.toLowerCase()}`)
  }
}
