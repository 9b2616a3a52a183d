/** Listings by the API, page by page. */
import type { ListEntry } from '../../common/protocol/files.js'
import { LoadConnection, parsed, type LoadTarget } from './http-load.js'

export interface Page {
  readonly entries: readonly ListEntry[]
  readonly next: string | null
}

export interface PageOptions {
  readonly prefix: string
  readonly after?: string | null
  readonly delimiter?: string
  readonly limit?: number
}

export async function listPage(connection: LoadConnection, options: PageOptions): Promise<Page> {
  const query = new URLSearchParams({ prefix: options.prefix })
  for (const name of ['after', 'delimiter', 'limit'] as const) {
    const value = options[name]
    if (value !== undefined && value !== null) query.set(name, String(value))
  }
  return parsed<Page>(await connection.request('GET', `/v1/listings?${query.toString()}`))
}

/** The paths of all files under a prefix, in order, as a client pages through them. @param onPage told how long each page took */
export async function listAll(target: LoadTarget, prefix: string, onPage?: (tookMs: number) => void): Promise<string[]> {
  using connection = await LoadConnection.open(target)
  const paths: string[] = []
  for (let after: string | null | undefined; after !== null;) {
    const startedMs = performance.now()
    const page: Page = await listPage(connection, { prefix, ...(after === undefined ? {} : { after }) })
    onPage?.(performance.now() - startedMs)
    for (const { path } of page.entries) paths.push(path)
    after = page.next
  }
  return paths
}
