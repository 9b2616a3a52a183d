/**
 * Calls to the master: retried over lost connections and restarts, from one master to the next, always under the same
 * request id, so that a mutation whose answer was lost is not done twice.
 */
import { sleep } from '../common/clock/clock.js'
import { CairnError, isCairnError, messageOf } from '../common/errors/cairn-error.js'
import { backoffDelayMs } from '../common/flow/backoff.js'
import type { RequestId } from '../common/ids.js'
import type { Endpoint } from '../common/protocol/endpoint.js'
import { endpoints, type EndpointName, type Endpoints, type EndpointTypes } from '../common/protocol/index.js'
import type { Precondition } from '../common/protocol/precondition.js'
import { callEndpoint } from '../common/rpc/endpoint-client.js'
import { SECOND_MS } from '../common/units.js'
import { BATCHED_ENDPOINTS, type BatchedEndpoint } from '../common/protocol/batch.js'
import { CallsTogether } from './calls-together.js'
import { FIRST_CONTACT_PATIENCE_MS, MASTER_PATIENCE_MS, type ClientParts, type RequestIds } from './options.js'

const CALL_TIMEOUT_MS = 20 * SECOND_MS
const BACKOFF = { firstMs: 50, maxMs: 1_000 }
/** Another master, or the same one a little later, may do better. */
const TRANSIENT = [
  'CONNECTION_FAILED',
  'TIMEOUT',
  'STARTING',
  'SHUTTING_DOWN',
  'BUSY',
  'METADATA_UNAVAILABLE',
  'NOT_ACTIVE',
] as const

export interface ApiInput<E> {
  readonly params?: EndpointTypes<E>['params']
  readonly query?: Partial<EndpointTypes<E>['query']>
  readonly body?: EndpointTypes<E>['body']
  readonly precondition?: Precondition
  readonly signal?: AbortSignal | undefined
  /** Answered at once and by little work: it may travel with others of its kind. Only of some endpoints. */
  readonly isSmall?: boolean
}

const canTravelTogether = (name: EndpointName): name is BatchedEndpoint => (BATCHED_ENDPOINTS as readonly string[]).includes(name)

export class MasterApi {
  readonly #parts: ClientParts
  readonly #masters: readonly string[]
  readonly #token: string | undefined
  readonly #requestIds: RequestIds
  readonly #together: CallsTogether
  #current = 0
  #reached = false

  constructor(parts: ClientParts, masters: readonly string[], token: string | undefined, requestIds: RequestIds) {
    this.#parts = parts
    this.#requestIds = requestIds
    this.#masters = masters.map((url) => url.replace(/\/+$/, ''))
    this.#token = token
    this.#together = new CallsTogether({
      clock: parts.clock,
      transport: parts.transport,
      token,
      timeoutMs: CALL_TIMEOUT_MS,
      url: () => this.#url,
      requestIds,
    })
    if (masters.length === 0) throw new CairnError('USAGE', 'No master is given. Pass --master URL or set CAIRN_MASTER.')
  }

  /** @throws what the master answers; `MASTER_UNREACHABLE` when none did for long enough; the abort's reason */
  async call<Name extends EndpointName>(
    name: Name,
    input: ApiInput<Endpoints[Name]>,
  ): Promise<EndpointTypes<Endpoints[Name]>['result']> {
    const { clock, random } = this.#parts
    const requestId = this.#requestIds()
    const startedMs = clock.monotonic()
    for (let attempt = 0; ; attempt += 1) {
      try {
        const result = await this.#callOnce(name, input, requestId)
        this.#reached = true
        return result
      } catch (error) {
        if (!isCairnError(error, ...TRANSIENT) || input.signal?.aborted) throw error
        const patienceMs = this.#reached ? MASTER_PATIENCE_MS : FIRST_CONTACT_PATIENCE_MS
        if (clock.monotonic() - startedMs >= patienceMs) throw this.#unreachable(error)
        this.#current += 1
        await sleep(clock, backoffDelayMs(BACKOFF, attempt, random), input.signal)
      }
    }
  }

  get #url(): string {
    return this.#masters[this.#current % this.#masters.length] as string
  }

  async #callOnce<Name extends EndpointName>(
    name: Name,
    input: ApiInput<Endpoints[Name]>,
    requestId: RequestId,
  ): Promise<EndpointTypes<Endpoints[Name]>['result']> {
    const endpoint = endpoints[name] as unknown as Endpoint
    const params = (input.params ?? {}) as Record<string, string>
    if (input.isSmall === true && canTravelTogether(name)) {
      const { query = {}, body, signal } = input
      const result = await this.#together.call({ name, params, query, body, requestId, signal })
      return result as EndpointTypes<Endpoints[Name]>['result']
    }
    const result = await callEndpoint(this.#parts.transport, this.#url, endpoint, {
      params,
      query: (input.query ?? {}) as Partial<unknown>,
      body: input.body,
      requestId,
      token: this.#token,
      timeoutMs: CALL_TIMEOUT_MS,
      ...(input.precondition ? { precondition: input.precondition } : {}),
      signal: input.signal,
    })
    return result as EndpointTypes<Endpoints[Name]>['result']
  }

  #unreachable(error: unknown): CairnError {
    const where = this.#masters.join(', ')
    return new CairnError(
      'MASTER_UNREACHABLE',
      `No master answers at ${where} (${messageOf(error)}) Check --master / CAIRN_MASTER and that the cluster is up.`,
      { cause: error },
    )
  }
}
