/**
 * The part of undici that calls need: an agent, and `request` on it. Undici's index also loads fetch, WebSocket, caches and
 * mocks, which costs every server and every command 70 ms of CPU at its start, twice what this part takes.
 */
import { createRequire } from 'node:module'
import type { Agent as UndiciAgent, Dispatcher } from 'undici'

const load = createRequire(import.meta.url)
const api = load('undici/lib/api/api-request.js') as (
  this: Dispatcher,
  options: Dispatcher.RequestOptions,
) => Promise<Dispatcher.ResponseData>

export const Agent = load('undici/lib/dispatcher/agent.js') as typeof UndiciAgent

/** One request to an absolute `url`; resolves with its head. */
export function request(agent: Dispatcher, url: string, options: Omit<Dispatcher.RequestOptions, 'origin' | 'path'>) {
  const { origin, pathname, search } = new URL(url)
  return api.call(agent, { ...options, origin, path: pathname + search })
}
