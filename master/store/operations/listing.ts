/** Listings: ordered, paged, folded at a delimiter. The cost is that of the page, whatever the bucket holds. */
import type { ListEntry } from '../../../common/protocol/files.js'
import { all, statement, type Operation } from '../engine/statement.js'
import type { NameTable } from '../schema.js'
import type { OperationContext } from './context.js'

const scan = statement((db, p: { from: string; limit: number }) =>
  db
    .selectFrom('names')
    .select(['path', 'size_bytes', 'generation', 'checksum', 'modified_ms'])
    .where('path', '>=', p.from)
    .orderBy('path')
    .limit(p.limit),
)

type Row = Pick<NameTable, 'path' | 'size_bytes' | 'generation' | 'checksum' | 'modified_ms'>

export interface ListPageArgs {
  readonly prefix: string
  readonly delimiter: string | undefined
  /** The `next` of the page before. */
  readonly after: string | undefined
  readonly limit: number
}

export interface ListPage {
  readonly entries: ListEntry[]
  readonly next: string | null
}

/** After a folded prefix we look at this few rows first: the next may well be folded too. */
const ROWS_AFTER_FOLD = 2

export function* listPage(_ctx: OperationContext, args: ListPageArgs): Operation<ListPage> {
  const entries: ListEntry[] = []
  let from = startOf(args)
  let batch = args.limit + 1
  for (;;) {
    const rows: Row[] = yield* all(scan, { from, limit: batch })
    for (const row of rows) {
      if (!row.path.startsWith(args.prefix)) return { entries, next: null }
      if (entries.length === args.limit) return { entries, next: lastOf(entries) }
      const fold = foldOf(row.path, args)
      if (fold !== undefined) {
        entries.push({ kind: 'prefix', path: fold })
        from = afterPrefix(fold)
        break
      }
      entries.push({
        kind: 'file',
        path: row.path,
        sizeBytes: row.size_bytes,
        generation: row.generation,
        checksum: row.checksum,
        modifiedMs: row.modified_ms,
      })
      from = `${row.path}\0`
    }
    if (rows.length < batch && from === nextAfter(rows)) return { entries, next: null }
    if (rows.length === 0) return { entries, next: null }
    batch = entries.at(-1)?.kind === 'prefix' ? ROWS_AFTER_FOLD : Math.min(batch * 4, args.limit + 1)
  }
}

const nextAfter = (rows: readonly Row[]): string | undefined => {
  const last = rows.at(-1)
  return last && `${last.path}\0`
}

const lastOf = (entries: readonly ListEntry[]): string => entries.at(-1)?.path ?? ''

/** The common prefix that a path folds into, delimiter included. */
function foldOf(path: string, args: ListPageArgs): string | undefined {
  if (args.delimiter === undefined) return undefined
  const at = path.indexOf(args.delimiter, args.prefix.length)
  return at < 0 ? undefined : path.slice(0, at + args.delimiter.length)
}

/** The first path that does not begin with `prefix`, whose last character is a delimiter: one code point further on. */
const afterPrefix = (prefix: string): string => {
  const last = prefix.codePointAt(prefix.length - 1) ?? 0
  return prefix.slice(0, -1) + String.fromCodePoint(last + 1)
}

function startOf(args: ListPageArgs): string {
  if (args.after === undefined || Buffer.compare(Buffer.from(args.after), Buffer.from(args.prefix)) < 0) return args.prefix
  // A file whose name is the prefix may end in the delimiter too, but stands for nothing else.
  const folded = args.delimiter !== undefined && args.after.length > args.prefix.length && args.after.endsWith(args.delimiter)
  return folded ? afterPrefix(args.after) : `${args.after}\0`
}
