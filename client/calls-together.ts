/**
 * Small calls to a master that are made at about the same time travel together, since what one costs is mostly that it is
 * a request. Each keeps its own request id and gets its own answer: whether it was alone makes no difference.
 */
import type { Clock } from '../common/clock/clock.js'
import { CairnError, isCairnError } from '../common/errors/cairn-error.js'
import { Gatherer, type Outcome } from '../common/flow/gatherer.js'
import type { RequestId } from '../common/ids.js'
import { BATCH_MAX, batch, type BatchedAnswer, type BatchedEndpoint } from '../common/protocol/batch.js'
import type { Endpoint } from '../common/protocol/endpoint.js'
import { endpoints } from '../common/protocol/index.js'
import { callEndpoint, errorOf, resultOf } from '../common/rpc/endpoint-client.js'
import type { Transport } from '../common/rpc/transport.js'

/** While one request is being answered another is made. */
const UNDER_WAY_MAX = 2

type QueryValues = Readonly<Record<string, string | number | boolean | undefined>>

export interface SmallCall {
  readonly name: BatchedEndpoint
  readonly params: Readonly<Record<string, string>>
  readonly query: QueryValues
  readonly body: unknown
  readonly requestId: RequestId
  readonly signal: AbortSignal | undefined
}

export interface CallsTogetherOptions {
  readonly clock: Clock
  readonly transport: Transport
  readonly token: string | undefined
  readonly timeoutMs: number
  /** Where to. Asked anew for each request: the master that failed is left for another. */
  readonly url: () => string
  readonly requestIds: () => RequestId
}

export class CallsTogether {
  readonly #options: CallsTogetherOptions
  /** Reads do not wait for the syncs of changes. */
  readonly #reads: Gatherer<SmallCall, unknown>
  readonly #changes: Gatherer<SmallCall, unknown>
  /** The master is older than this client and takes one at a time. */
  #isAlone = false

  constructor(options: CallsTogetherOptions) {
    this.#options = options
    const bounds = { clock: options.clock, underWayMax: UNDER_WAY_MAX, countMax: BATCH_MAX }
    this.#reads = new Gatherer({ ...bounds, send: (calls) => this.#send(calls) })
    this.#changes = new Gatherer({ ...bounds, send: (calls) => this.#send(calls) })
  }

  /** @throws as {@link callEndpoint} */
  call(call: SmallCall): Promise<unknown> {
    if (this.#isAlone) return this.#callAlone(call)
    return (endpoints[call.name].method === 'GET' ? this.#reads : this.#changes).add(call, call.signal)
  }

  async #send(calls: readonly SmallCall[]): Promise<Outcome<unknown>[]> {
    if (calls.length > 1 && !this.#isAlone) {
      try {
        return await this.#callTogether(calls)
      } catch (error) {
        if (!isCairnError(error, 'ROUTE_NOT_FOUND')) throw error
        this.#isAlone = true
      }
    }
    return Promise.all(calls.map((call) => outcomeOf(() => this.#callAlone(call))))
  }

  async #callTogether(calls: readonly SmallCall[]): Promise<Outcome<unknown>[]> {
    const { transport, token, timeoutMs, url, requestIds } = this.#options
    const requests = calls.map(({ name, params, query, body, requestId }) => ({
      endpoint: name,
      requestId,
      params,
      query: asText(query),
      body,
    }))
    const common = { params: {}, requestId: requestIds(), token, timeoutMs }
    const where = url()
    const { answers } = await callEndpoint(transport, where, batch, { ...common, body: { requests } })
    return Promise.all(calls.map((call, index) => outcomeOf(async () => resultFrom(call, answers[index], where))))
  }

  #callAlone({ name, ...call }: SmallCall): Promise<unknown> {
    const { transport, token, timeoutMs, url } = this.#options
    return callEndpoint(transport, url(), endpoints[name] as unknown as Endpoint, { ...call, token, timeoutMs })
  }
}

function resultFrom(call: SmallCall, answer: BatchedAnswer | undefined, url: string): unknown {
  if (!answer) throw new CairnError('PROTOCOL_ERROR', `${url} answered fewer requests than it was asked.`)
  if (answer.status >= 400) throw errorOf(answer.body, answer, url)
  return resultOf(endpoints[call.name] as unknown as Endpoint<never, never, never, unknown>, answer.body, url)
}

async function outcomeOf(work: () => Promise<unknown>): Promise<Outcome<unknown>> {
  try {
    return { ok: true, value: await work() }
  } catch (error) {
    return { ok: false, error }
  }
}

const asText = (query: QueryValues): Record<string, string> =>
  Object.fromEntries(Object.entries(query).flatMap(([name, value]) => (value === undefined ? [] : [[name, String(value)]])))
