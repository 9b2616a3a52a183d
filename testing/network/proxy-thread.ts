/**
 * The thread of the proxies: what a test computes does not hold up the cluster's network. It ends with the process.
 * Every order is acknowledged once it is in force.
 */
import { parentPort } from 'node:worker_threads'
import { FaultProxy, type NetworkState, type ProxyOptions, type Target } from './fault-proxy.js'

export type ProxyOrder =
  | { readonly kind: 'open'; readonly proxy: ProxyOptions }
  | { readonly kind: 'target'; readonly member: string; readonly target: Target }
  | { readonly kind: 'state'; readonly state: NetworkState }

export interface ProxyRequest {
  readonly id: number
  readonly order: ProxyOrder
}

/** The port, for `open`. */
export interface ProxyAnswer {
  readonly id: number
  readonly port: number
}

const proxies: FaultProxy[] = []
let current: NetworkState = { partitions: [], processes: [] }

async function obey(order: ProxyOrder): Promise<number> {
  switch (order.kind) {
    case 'open': {
      const proxy = new FaultProxy(order.proxy, current)
      proxies.push(proxy)
      return proxy.listen()
    }
    case 'target':
      for (const proxy of proxies) if (proxy.member === order.member) proxy.setTarget(order.target)
      return 0
    case 'state':
      current = order.state
      for (const proxy of proxies) proxy.setState(current)
      return 0
  }
}

parentPort?.on('message', ({ id, order }: ProxyRequest) => {
  void obey(order).then((port) => parentPort?.postMessage({ id, port } satisfies ProxyAnswer))
})
