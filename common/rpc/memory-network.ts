/**
 * The simulated network: nodes of one process that reach each other through a {@link MemoryNetwork}, which decides,
 * message by message, whether and when something arrives. Time is the given clock's, so it runs in virtual time.
 */
import type { Clock } from '../clock/clock.js'
import { CairnError } from '../errors/cairn-error.js'
import type { MemoryExchange } from './memory-exchange.js'
import { MemoryTransport } from './memory-transport.js'
import type { RequestHandler } from './transport.js'

/** What becomes of one message from one node to another. */
export type Fate =
  | { readonly kind: 'delivered'; readonly delayMs: number }
  /** Nobody hears of it, as with an unplugged cable. */
  | { readonly kind: 'lost' }
  /** The connection breaks, and both sides learn of it. */
  | { readonly kind: 'reset' }

/** What becomes of a piece of a body: it arrives after a while, or is tried again later, as TCP does. */
export type Flow = { readonly kind: 'flows'; readonly delayMs: number } | { readonly kind: 'stalls'; readonly retryMs: number }

/** A process that sends and is served: what holds it back while it is paused, and for ever once it is killed. */
export interface NetworkProcess extends Pick<Clock, 'setTimer'> {
  gate?(): Promise<void> | undefined
}

export interface Service {
  readonly node: string
  readonly url: string
  readonly handler: RequestHandler
  readonly process: NetworkProcess
}

export class MemoryNetwork {
  readonly clock: Clock
  readonly services = new Map<string, Service>()
  readonly exchanges = new Set<MemoryExchange>()
  /** Replace to partition, delay or lose. Asked for each request and each answer. */
  fate: (from: string, to: string) => Fate = () => ({ kind: 'delivered', delayMs: 0 })
  /** Replace to slow down or hold up bodies. Asked for each piece as it is written; without, pieces take no time. */
  flow: ((from: string, to: string, bytes: number) => Flow) | undefined
  /** Replace to deliver calls twice. Asked for each call that is not a stream: after how long its double arrives. */
  duplicate: ((from: string, to: string) => number | undefined) | undefined
  /** Told of each request and answer that is sent, and of what becomes of it. */
  onMessage: ((from: string, to: string, what: string, bytes: number, fate: Fate) => void) | undefined
  #nextPort = 1

  constructor(clock: Clock) {
    this.clock = clock
  }

  /** @param process whose timers are used, and who is held back while paused; without, one that always runs */
  transport(node: string, process?: NetworkProcess): MemoryTransport {
    return new MemoryTransport(this, node, process ?? this.clock)
  }

  /**
   * A node's process ends: its listeners are gone, its connections break.
   * @param silently as when the power fails: the others do not hear of it, and wait
   */
  kill(node: string, silently = false): void {
    for (const [origin, service] of this.services) if (service.node === node) this.services.delete(origin)
    for (const exchange of [...this.exchanges]) {
      if (exchange.from !== node && exchange.to !== node) continue
      if (silently) exchange.sever()
      else exchange.destroy(connectionFailed(`${node} has died`))
    }
  }

  /** Lets the exchanges with a service come to their end for up to `graceMs`, then cuts them. */
  async settle(service: Service, graceMs: number): Promise<void> {
    const underWay = [...this.exchanges].filter((exchange) => exchange.service === service)
    const cut = (): void => underWay.forEach((exchange) => exchange.destroy(connectionFailed(`${service.url} has closed`)))
    if (graceMs === 0) return cut()
    const timer = this.clock.setTimer(graceMs, cut)
    await Promise.all(underWay.map((exchange) => exchange.over))
    timer.cancel()
  }

  freePort(): number {
    return this.#nextPort++
  }
}

export const connectionFailed = (why: string): CairnError =>
  new CairnError('CONNECTION_FAILED', `The connection failed: ${why}.`, { data: { systemCode: 'ECONNREFUSED' } })
