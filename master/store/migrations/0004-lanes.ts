/** Several writers at the same time: each counts, and logs changes, in rows of its own. */
import type { Flavour } from './flavour.js'

export const lanes = (flavour: Flavour): readonly string[] => [
  `create table lanes (lane integer primary key, owner text not null, active_ms bigint not null, last_write text not null, position bigint not null)`,
  `alter table counters rename to counters_before`,
  `create table counters (name text not null, lane integer not null, value bigint not null, primary key (name, lane))${flavour.inKeyOrder}`,
  `insert into counters (name, lane, value) select name, 0, value from counters_before`,
  `drop table counters_before`,
  `alter table change_log rename to change_log_before`,
  `create table change_log (lane integer not null, sequence bigint not null, time_ms bigint not null, kind text not null, path text not null,
     data text not null, primary key (lane, sequence))${flavour.inKeyOrder}`,
  `insert into change_log (lane, sequence, time_ms, kind, path, data) select 0, position, time_ms, kind, path, data from change_log_before`,
  `drop table change_log_before`,
  // A job's cursor is the last path that it has done; that of one which has not begun was where it begins.
  `update jobs set cursor = '' where cursor = from_prefix`,
]
