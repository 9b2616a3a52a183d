/** The OpenAPI document, generated from the endpoints that also validate requests and type the client. */
import { OpenApiGeneratorV31, OpenAPIRegistry, type RouteConfig } from '@asteasolutions/zod-to-openapi'
import { z } from 'zod'
import { ERROR_CODES } from '../../common/errors/error-codes.js'
import type { Endpoint } from '../../common/protocol/endpoint.js'
import { endpoints } from '../../common/protocol/index.js'

const errorBody = z
  .object({
    error: z.object({
      code: z.enum(Object.keys(ERROR_CODES) as [string, ...string[]]),
      message: z.string(),
      retryable: z.boolean(),
      requestId: z.string().optional(),
      data: z.record(z.string(), z.unknown()).optional(),
    }),
  })
  .meta({ id: 'Error' })

const isEmpty = (schema: z.ZodType): boolean =>
  schema instanceof z.ZodUndefined || (schema instanceof z.ZodObject && Object.keys(schema.shape).length === 0)

function routeConfig(endpoint: Endpoint): RouteConfig {
  const headers = z.object({
    'x-request-id': z
      .string()
      .max(128)
      .optional()
      .describe('Repeating a change with the same id does it once; the result is kept for 24 hours.'),
    ...(endpoint.conditional
      ? {
          'if-match': z.string().optional().describe('Generation or ETag that the file must have.'),
          'if-none-match': z.string().optional().describe('"*": nothing may exist yet.'),
        }
      : {}),
  })
  return {
    operationId: endpoint.name,
    method: endpoint.method.toLowerCase() as RouteConfig['method'],
    path: endpoint.path.replace(/[:*](\w+)/g, '{$1}'),
    summary: endpoint.summary,
    tags: [endpoint.tag],
    security: endpoint.scope === 'none' ? [] : [{ token: [endpoint.scope] }],
    request: {
      headers,
      ...(isEmpty(endpoint.params) ? {} : { params: endpoint.params as unknown as z.ZodObject }),
      ...(isEmpty(endpoint.query) ? {} : { query: endpoint.query as unknown as z.ZodObject }),
      ...(isEmpty(endpoint.body) ? {} : { body: { required: true, content: { 'application/json': { schema: endpoint.body } } } }),
    },
    responses: {
      200: { description: 'Done', content: { 'application/json': { schema: endpoint.result } } },
      default: {
        description: 'Any error, in the one shape; docs/errors.md lists the codes',
        content: { 'application/json': { schema: errorBody } },
      },
    },
  }
}

export function openApiDocument(version: string): object {
  const registry = new OpenAPIRegistry()
  registry.registerComponent('securitySchemes', 'token', { type: 'http', scheme: 'bearer' })
  for (const endpoint of Object.values(endpoints)) registry.registerPath(routeConfig(endpoint))
  return new OpenApiGeneratorV31(registry.definitions).generateDocument({
    openapi: '3.1.0',
    info: {
      title: 'Cairn master API',
      version,
      description:
        'Metadata of a Cairn cluster. A key in a path keeps its slashes; each of its segments is percent-encoded. File contents go through the gateway or the client library.',
      license: { name: 'Apache-2.0', identifier: 'Apache-2.0' },
    },
  })
}
