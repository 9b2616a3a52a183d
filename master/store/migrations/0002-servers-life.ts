/** What operators want of servers, copies that are to stay, failure domains, and the space that classes of files take. */
import type { Flavour } from './flavour.js'

export const serversLife = (flavour: Flavour): readonly string[] => [
  `alter table servers add column intent text not null default 'none'`,
  `alter table servers add column intent_until_ms bigint`,
  `alter table servers add column intent_chunks bigint not null default 0`,
  `alter table disks add column lasting integer not null default 0`,
  `update disks set lasting = serving`,
  `alter table health add column reachable integer not null default 0`,
  `alter table uploads add column stored_bytes bigint not null default 0`,
  `alter table manifests add column trash_count bigint not null default 0`,
  `alter table manifests add column stored_bytes bigint not null default 0`,
  `create table domains (level text primary key, available integer not null)${flavour.inKeyOrder}`,
  `update manifests set trash_count = (select count(*) from trash t where t.manifest_id = manifests.manifest_id)`,
  // Of a chunk's file: data and footer, each rounded up to 4 KiB; a footer has 112 bytes and 8 for each MiB.
  `update manifests set stored_bytes = (select coalesce(sum(c.wanted * (((c.length_bytes + 4095) / 4096) * 4096
     + ((112 + 8 * ((c.length_bytes + 1048575) / 1048576) + 4095) / 4096) * 4096)), 0)
     from manifest_chunks mc join chunks c on c.chunk_id = mc.chunk_id where mc.manifest_id = manifests.manifest_id)`,
  `update uploads set stored_bytes = coalesce((select stored_bytes from manifests m where m.manifest_id = uploads.manifest_id), 0)`,
  `update manifests set stored_bytes = 0 where state = 0`,
  `insert into counters (name, value) select 'storedFileBytes', coalesce(sum(stored_bytes), 0) from manifests where state = 1 and reference_count > trash_count`,
  `insert into counters (name, value) select 'storedTrashBytes', coalesce(sum(stored_bytes), 0) from manifests where state = 1 and reference_count = trash_count`,
  // Everything is looked at again under the rules of this schema.
  `update servers set sweep_after = ${flavour.noBytes}`,
]
