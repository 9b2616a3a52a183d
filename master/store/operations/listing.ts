/** Listings: ordered, paged, folded at a delimiter. The cost is that of the page, whatever the bucket holds. */
import type { ListEntry } from '../../../common/protocol/files.js'
import { all, statement, type Operation } from '../engine/statement.js'
import type { NameTable } from '../schema.js'
import type { OperationContext } from './context.js'

const COLUMNS = ['path', 'size_bytes', 'generation', 'checksum', 'modified_ms'] as const
const scanFrom = statement((db, p: { path: string; limit: number }) =>
  db.selectFrom('names').select(COLUMNS).where('path', '>=', p.path).orderBy('path').limit(p.limit),
)
const scanAfter = statement((db, p: { path: string; limit: number }) =>
  db.selectFrom('names').select(COLUMNS).where('path', '>', p.path).orderBy('path').limit(p.limit),
)

/** Where a scan begins. (Not at `path + NUL` when it is to be after a path: PostgreSQL's texts hold no NUL.) */
interface Start {
  readonly path: string
  readonly inclusive: boolean
}

const at = (path: string): Start => ({ path, inclusive: true })
const after = (path: string): Start => ({ path, inclusive: false })

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
    const rows: Row[] = yield* all(from.inclusive ? scanFrom : scanAfter, { path: from.path, limit: batch })
    for (const row of rows) {
      if (!row.path.startsWith(args.prefix)) return { entries, next: null }
      if (entries.length === args.limit) return { entries, next: lastOf(entries) }
      const fold = foldOf(row.path, args)
      if (fold !== undefined) {
        entries.push({ kind: 'prefix', path: fold })
        from = at(afterPrefix(fold))
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
      from = after(row.path)
    }
    if (rows.length < batch && !from.inclusive && from.path === rows.at(-1)?.path) return { entries, next: null }
    if (rows.length === 0) return { entries, next: null }
    batch = entries.at(-1)?.kind === 'prefix' ? ROWS_AFTER_FOLD : Math.min(batch * 4, args.limit + 1)
  }
}

const lastOf = (entries: readonly ListEntry[]): string => entries.at(-1)?.path ?? ''

/** The common prefix that a path folds into, delimiter included. */
function foldOf(path: string, args: ListPageArgs): string | undefined {
  if (args.delimiter === undefined) return undefined
  const found = path.indexOf(args.delimiter, args.prefix.length)
  return found < 0 ? undefined : path.slice(0, found + args.delimiter.length)
}

/** The first path that does not begin with `prefix`, whose last character is a delimiter: one code point further on. */
const afterPrefix = (prefix: string): string => {
  const last = prefix.codePointAt(prefix.length - 1) ?? 0
  return prefix.slice(0, -1) + String.fromCodePoint(last + 1)
}

function startOf(args: ListPageArgs): Start {
  if (args.after === undefined || Buffer.compare(Buffer.from(args.after), Buffer.from(args.prefix)) < 0) return at(args.prefix)
  // A file whose name is the prefix may end in the delimiter too, but stands for nothing else.
  const folded = args.delimiter !== undefined && args.after.length > args.prefix.length && args.after.endsWith(args.delimiter)
  return folded ? at(afterPrefix(args.after)) : after(args.after)
}
