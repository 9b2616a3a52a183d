import { SystemClock } from '../../common/clock/system-clock.js'
import { HttpTransport } from '../../common/rpc/http/http-transport.js'
import { MemoryNetwork } from '../../common/rpc/memory-network.js'
import { transportBodiesSuite } from './transport-bodies.suite.js'
import { transportFailuresSuite } from './transport-failures.suite.js'
import type { TransportUnderTest } from './transport-fixture.js'
import { transportSuite } from './transport.suite.js'

const openHttp = (): TransportUnderTest => ({ server: new HttpTransport(), client: new HttpTransport(), host: '127.0.0.1' })

const openMemory = (): TransportUnderTest => {
  const network = new MemoryNetwork(new SystemClock())
  return { server: network.transport('server'), client: network.transport('client'), host: 'server' }
}

for (const suite of [transportSuite, transportBodiesSuite, transportFailuresSuite]) {
  suite('HTTP on loopback', openHttp)
  suite('in memory', openMemory)
}
