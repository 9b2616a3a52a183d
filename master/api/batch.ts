/**
 * Several requests in one. Each is served as if it had come by itself, under its own request id; all are begun in one turn,
 * so that their writes make one group and one sync.
 */
import type { BatchedAnswer, BatchedRequest } from '../../common/protocol/batch.js'
import { REQUEST_ID_HEADER } from '../../common/protocol/chunk-data.js'
import { runRoute, type RequestContext, type Route, type RouteServices } from '../../common/rpc/routes.js'

export type BatchServer = (requests: readonly BatchedRequest[], context: RequestContext) => Promise<BatchedAnswer[]>

/** @param routes called with the first batch: the batch itself is one of them */
export function batchServer(routes: () => readonly Route[], services: () => RouteServices): BatchServer {
  let byName: ReadonlyMap<string, Route> | undefined
  let served: RouteServices | undefined
  const serveOne = async ({ endpoint, requestId, params, query, body }: BatchedRequest, token: string | undefined) => {
    byName ??= new Map(routes().map((route) => [route.endpoint.name, route]))
    const headers = {
      ...(token === undefined ? {} : { authorization: token }),
      ...(requestId === undefined ? {} : { [REQUEST_ID_HEADER]: requestId }),
    }
    const { status, json } = await runRoute(
      byName.get(endpoint) as Route,
      { params, query, headers, body },
      (served ??= services()),
    )
    return { status, body: json }
  }
  return (requests, { headers }) => Promise.all(requests.map((request) => serveOne(request, headers['authorization'])))
}
