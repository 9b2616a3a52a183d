/**
 * How requests come to a master's routes: the ordinary ones straight from Node's HTTP server, at less than half of what
 * they cost through Express; the health checks too. All else goes to Express, which is loaded when it is first needed.
 */
import type { IncomingMessage, RequestListener, ServerResponse } from 'node:http'
import { CairnError, toCairnError } from '../../common/errors/cairn-error.js'
import { routeListener, sendError } from '../../common/rpc/http/route-server.js'
import { RouteTable } from '../../common/rpc/route-table.js'
import type { Master } from '../master.js'
import { CHECKS, type CheckAnswer } from './checks.js'
import { masterRoutes } from './routes.js'

export function masterListener(master: Master): RequestListener {
  const routes = masterRoutes(master)
  let express: Promise<RequestListener> | undefined
  const loadExpress = async (): Promise<RequestListener> =>
    (await import('./express-app.js')).masterApp(master, routes) as RequestListener
  const other: RequestListener = (request, response) => {
    const check = request.method === 'GET' ? CHECKS[request.url as string] : undefined
    const served = check
      ? check(master).then((answer) => sendText(response, answer))
      : (express ??= loadExpress()).then((app) => app(request, response))
    served.catch((error: unknown) => sendError(response, toCairnError(error)))
  }
  return routeListener({ table: new RouteTable(routes), services: master.routeServices(), fallback: other })
}

/** What a master answers that stands by: that it lives, and why it does not serve. */
export function standByListener(
  request: IncomingMessage,
  response: ServerResponse,
  refusal = new CairnError('STARTING', 'The master is starting.'),
): void {
  if (request.url === '/livez') sendText(response, { contentType: 'text/plain; charset=utf-8', text: 'ok\n' })
  else sendError(response, refusal)
}

function sendText(response: ServerResponse, { contentType, text }: CheckAnswer): void {
  response.writeHead(200, { 'content-type': contentType, 'content-length': Buffer.byteLength(text) }).end(text)
}
