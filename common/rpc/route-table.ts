/** Which route serves an address: a tree of path segments for each method, so that finding one costs its segments and not the table. */
import { decodePath } from '../path-name.js'
import type { Route } from './routes.js'

export interface FoundRoute {
  readonly route: Route
  /** Percent-decoded. */
  readonly params: Record<string, string>
}

interface Node {
  readonly children: Map<string, Node>
  /** Takes any one segment. */
  parameter: { readonly name: string; readonly node: Node } | undefined
  /** Takes all segments that are left. */
  rest: { readonly name: string; readonly route: Route } | undefined
  route: Route | undefined
}

const emptyNode = (): Node => ({ children: new Map(), parameter: undefined, rest: undefined, route: undefined })

export class RouteTable {
  readonly #methods = new Map<string, Node>()

  constructor(routes: readonly Route[]) {
    for (const route of routes) this.#add(route)
  }

  #add(route: Route): void {
    const { method, path } = route.endpoint
    let node = this.#methods.get(method)
    if (!node) this.#methods.set(method, (node = emptyNode()))
    for (const part of path.split('/').slice(1)) {
      if (part.startsWith('*')) return void (node.rest = { name: part.slice(1), route })
      if (part.startsWith(':')) node = (node.parameter ??= { name: part.slice(1), node: emptyNode() }).node
      else {
        const known: Node | undefined = node.children.get(part)
        if (known) node = known
        else node.children.set(part, (node = emptyNode()))
      }
    }
    node.route = route
  }

  /**
   * @param path percent-encoded, without the query. A parameter takes no empty segment, and a literal segment goes before it.
   * @throws `INVALID_PATH` on a malformed escape
   */
  find(method: string, path: string): FoundRoute | undefined {
    const root = this.#methods.get(method)
    return root && descend(root, path.split('/'), 1, {})
  }
}

function descend(node: Node, segments: readonly string[], at: number, params: Record<string, string>): FoundRoute | undefined {
  const segment = segments[at]
  if (segment === undefined) return node.route && { route: node.route, params }
  const child = node.children.get(segment)
  const literal = child && descend(child, segments, at + 1, params)
  if (literal) return literal
  if (node.parameter && segment !== '') {
    const { name, node: next } = node.parameter
    return descend(next, segments, at + 1, { ...params, [name]: decodePath(segment) })
  }
  if (!node.rest) return undefined
  const rest = segments.slice(at).join('/')
  return rest === '' ? undefined : { route: node.rest.route, params: { ...params, [node.rest.name]: decodePath(rest) } }
}
