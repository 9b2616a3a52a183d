/** The {@link Transport} of one node of a {@link MemoryNetwork}. */
import { sleep } from '../clock/clock.js'
import { CairnError, toCairnError } from '../errors/cairn-error.js'
import { readAll } from './byte-pipe.js'
import { MemoryExchange, originOf } from './memory-exchange.js'
import type { MemoryNetwork, NetworkProcess } from './memory-network.js'
import {
  CALL_RESPONSE_BYTES_MAX,
  type CallRequest,
  type CallResponse,
  type Exchange,
  type ExchangeRequest,
  type ListenOptions,
  type Listener,
  type RequestHandler,
  type Transport,
} from './transport.js'

export class MemoryTransport implements Transport {
  readonly #network: MemoryNetwork
  readonly #node: string
  readonly #process: NetworkProcess
  readonly #listeners: Listener[] = []

  constructor(network: MemoryNetwork, node: string, process: NetworkProcess) {
    this.#network = network
    this.#node = node
    this.#process = process
  }

  call(request: CallRequest): Promise<CallResponse> {
    const { signal: _signal, ...double } = request
    const service = this.#network.services.get(originOf(request.url))
    const afterMs = service && this.#network.duplicate?.(this.#node, service.node)
    // Under way on its own: nobody here waits for it, not even when this process is gone. It ends with the one it is meant for.
    if (service && afterMs !== undefined)
      void sleep(this.#network.clock, afterMs)
        .then(async () => {
          if (this.#network.services.get(service.url) === service) await this.#call(double, this.#network.clock)
        })
        .catch(() => undefined)
    return this.#call(request, this.#process)
  }

  async #call(request: CallRequest, process: NetworkProcess): Promise<CallResponse> {
    const { body, timeoutMs, url, ...rest } = request
    const exchange = new MemoryExchange(this.#network, this.#node, process, {
      ...rest,
      url,
      contentLength: body?.length ?? 0,
      stallTimeoutMs: timeoutMs,
    })
    const timer = process.setTimer(timeoutMs, () =>
      exchange.destroy(new CairnError('TIMEOUT', `${url} did not answer within ${timeoutMs} ms.`)),
    )
    try {
      if (body && body.length > 0) await exchange.write(body)
      const response = await exchange.response
      if (response.contentLength > CALL_RESPONSE_BYTES_MAX)
        throw new CairnError('PROTOCOL_ERROR', `${url} answered with ${response.contentLength} bytes.`)
      return { status: response.status, headers: response.headers, body: await readAll(response.body, response.contentLength) }
    } catch (error) {
      exchange.destroy(toCairnError(error))
      throw error
    } finally {
      timer.cancel()
    }
  }

  exchange(request: ExchangeRequest): Exchange {
    return new MemoryExchange(this.#network, this.#node, this.#process, request)
  }

  async listen(options: ListenOptions, handler: RequestHandler): Promise<Listener> {
    const held = this.#process.gate?.()
    if (held) await held
    const url = `http://${options.host}:${options.port === 0 ? this.#network.freePort() : options.port}`
    if (this.#network.services.has(url)) throw new CairnError('PORT_IN_USE', `Another program listens on ${url}.`)
    const service = { node: this.#node, url, handler, process: this.#process }
    this.#network.services.set(url, service)
    const close = async (graceMs = 0): Promise<void> => {
      if (this.#network.services.get(url) === service) this.#network.services.delete(url)
      await this.#network.settle(service, graceMs)
    }
    const listener: Listener = { url, close, [Symbol.asyncDispose]: () => close() }
    this.#listeners.push(listener)
    return listener
  }

  async close(): Promise<void> {
    for (const listener of this.#listeners) await listener.close()
  }
}
