/**
 * An endpoint is one row of the API: method, path, schemas. The master mounts its routes from these rows, the client is
 * typed by them, and the OpenAPI document is generated from them, so that the three cannot drift apart.
 */
import type { z } from 'zod'
import type { Method } from '../rpc/transport.js'

/** What a token must allow. `none`: open to all. `server`: only chunkservers (and admins). */
export type Scope = 'none' | 'read' | 'write' | 'server' | 'admin'

export interface Endpoint<Params = unknown, Query = unknown, Body = unknown, Result = unknown> {
  readonly name: string
  readonly method: Method
  /** `:name` stands for one segment, `*name` (last) for the rest of the path, slashes included. */
  readonly path: string
  readonly scope: Scope
  readonly summary: string
  readonly tag: string
  readonly params: z.ZodType<Params, unknown>
  readonly query: z.ZodType<Query, unknown>
  readonly body: z.ZodType<Body, unknown>
  readonly result: z.ZodType<Result, unknown>
  /** Takes If-Match and If-None-Match. */
  readonly conditional: boolean
}

export interface EndpointDefinition<P extends z.ZodType, Q extends z.ZodType, B extends z.ZodType, R extends z.ZodType> {
  readonly name: string
  readonly method: Method
  readonly path: string
  readonly scope: Scope
  readonly summary: string
  readonly tag: string
  readonly params: P
  readonly query: Q
  readonly body: B
  readonly result: R
  readonly conditional?: boolean
}

export function endpoint<P extends z.ZodType, Q extends z.ZodType, B extends z.ZodType, R extends z.ZodType>(
  definition: EndpointDefinition<P, Q, B, R>,
): Endpoint<z.output<P>, z.output<Q>, z.output<B>, z.output<R>> {
  return { conditional: false, ...definition } as unknown as Endpoint<z.output<P>, z.output<Q>, z.output<B>, z.output<R>>
}

export type ParamsOf<E> = E extends Endpoint<infer P, unknown, unknown, unknown> ? P : never
export type ResultOf<E> = E extends Endpoint<infer _P, infer _Q, infer _B, infer R> ? R : never
