/**
 * Only what PostgreSQL, CockroachDB and YugabyteDB all document. PostgreSQL is what the suites run on; of the other two this
 * test holds what their pages on compatibility say that they lack, or do otherwise.
 */
import { readdirSync, readFileSync } from 'node:fs'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { expect, test } from '@jest/globals'
import { allStatements } from '../../../../master/store/engine/statement.js'
import { POSTGRES } from '../../../../master/store/migrations/flavour.js'
import { migrationStatements } from '../../../../master/store/migrations/index.js'
import '../../../../master/store/operations/index.js'
import { compiledForPostgres } from '../../../../master/store/postgres/connection.js'

const FORBIDDEN: readonly (readonly [what: string, pattern: RegExp])[] = [
  ['LISTEN and NOTIFY', /\b(un)?listen\b|\bnotify\b|pg_notify/],
  ['advisory locks', /advisory/],
  ['locks of tables', /\block\s+table\b|\block\s+in\b/],
  ['triggers', /\btrigger\b/],
  ['rules', /\bcreate\s+(or\s+replace\s+)?rule\b/],
  ['functions, procedures and anonymous blocks', /\b(create|drop)\s+(or\s+replace\s+)?(function|procedure)\b|\bcall\b|\bdo\s+\$/],
  ['inheritance of tables', /\binherits\b/],
  ['partitions as PostgreSQL declares them', /\bpartition\s+(by|of)\b/],
  ['system columns', /\b(ctid|xmin|xmax|cmin|cmax|tableoid|rowid|oid)\b/],
  [
    'sequences and numbers that the database deals out',
    /\b(small|big)?serial\b|\bnextval\b|\bsequence\b(?=\s+\w+\s+(start|increment|owned))|\bidentity\b/,
  ],
  ['domains and types of our own', /\bcreate\s+(domain|type)\b/],
  ['extensions', /\bcreate\s+extension\b/],
  ['temporary and unlogged tables', /\b(temp|temporary|unlogged)\b/],
  ['foreign keys, of which no operation makes use', /\breferences\b|\bforeign\s+key\b/],
  ['constraints that wait for the end', /\bdeferr(able|ed)\b/],
  ['exclusion constraints', /\bexclude\s+using\b/],
  ['collations, which order texts each in its own way', /\bcollate\b/],
  ['kinds of index other than the usual one', /\busing\s+(gin|gist|brin|hash|spgist)\b/],
  ['full-text search', /\bts(vector|query)\b|@@/],
  ['JSON inside the database', /\bjsonb?\b|->>?/],
  ['arrays', /\barray\b|\bany\s*\(\s*\$|\bunnest\b/],
  ['regular expressions and LIKE', /\b(i?like|similar\s+to)\b|\s!?~\*?\s/],
  ['materialized views', /\bmaterialized\b/],
  ['cursors', /\bdeclare\b|\bfetch\s+(next|first|forward)\b/],
  ['two-phase commit', /\bprepare\s+transaction\b|\bcommit\s+prepared\b/],
  ['COPY', /\bcopy\s+\w+\s+(from|to)\b/],
  ['MERGE', /\bmerge\s+into\b/],
  ['TRUNCATE, which no transaction protects everywhere', /\btruncate\b/],
  ['lateral joins, windows and recursion, where none is needed', /\blateral\b|\bover\s*\(|\brecursive\b/],
  ['SKIP LOCKED and weaker row locks', /\bskip\s+locked\b|\bnowait\b|\bfor\s+(no\s+key|key\s+share|share)\b/],
  ["SQLite's own words", /\bwithout\s+rowid\b|\binsert\s+or\b|\bpragma\b|\bifnull\b|\bglob\b|\bx''|\bblob\b|\btotal_changes\b/],
  ["a scalar max or min, which is SQLite's", /\b(max|min)\s*\([^()]*,/],
]

const breaches = (name: string, text: string): string[] =>
  FORBIDDEN.filter(([, pattern]) => pattern.test(text.toLowerCase())).map(([what]) => `${name}: ${what}`)

test('every statement of every operation keeps to what all of them document', () => {
  const statements = allStatements().map((statement) => compiledForPostgres(statement).sql)
  expect(statements.length).toBeGreaterThan(100)
  expect(statements.flatMap((sql) => breaches(sql, sql))).toEqual([])
})

test('every statement of every migration keeps to what all of them document', () => {
  const statements = Object.values(migrationStatements(POSTGRES)).flat()
  expect(statements.length).toBeGreaterThan(40)
  expect(statements.flatMap((sql) => breaches(sql, sql))).toEqual([])
})

test('what the engine itself says keeps to what all of them document', () => {
  const directory = fileURLToPath(new URL('../../../../../master/store/postgres/', import.meta.url))
  const texts = readdirSync(directory).flatMap((file) => sqlIn(readFileSync(path.join(directory, file), 'utf8')))
  expect(texts.length).toBeGreaterThan(12)
  expect(texts.flatMap((sql) => breaches(sql, sql))).toEqual([])
})

/** Literals that begin as a statement does. */
function sqlIn(source: string): string[] {
  const literals = [...source.matchAll(/`([^`]*)`|'([^'\n]*)'|"([^"\n]*)"/g)].map(
    (match) => match[1] ?? match[2] ?? match[3] ?? '',
  )
  return literals.filter((text) =>
    /^\s*(select|insert|update|delete|set|show|begin|commit|rollback|savepoint|create|alter|drop)\b/i.test(text),
  )
}

test('the list finds what it forbids', () => {
  for (const sql of [
    'select pg_advisory_lock(1)',
    'select ctid from names',
    'create table t (id bigserial primary key)',
    'listen changes',
    'create trigger t after insert on names',
    'select * from jobs for update skip locked',
    'create table a () inherits (b)',
  ])
    expect(breaches('', sql)).toHaveLength(1)
})
