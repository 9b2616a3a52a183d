/** The proxies on their own, in front of a server of the test. */
import net from 'node:net'
import { expect, test } from '@jest/globals'
import { Network } from '../../../testing/network/network.js'

const CONNECTIONS = 200
const ROUNDS = 5

test('connections whose ends are on their way are cut off, and the network still closes', async () => {
  const server = net.createServer({ allowHalfOpen: true }, (socket) => socket.on('error', () => undefined).pipe(socket))
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const network = new Network()
  const { port } = new URL(await network.open({ member: 'x', source: 'clients' }))
  await network.setTarget('x', (server.address() as net.AddressInfo).port)
  for (let round = 0; round < ROUNDS; round += 1) {
    const clients = await Promise.all(Array.from({ length: CONNECTIONS }, () => greeted(Number(port))))
    const gone = clients.map((client) => new Promise((resolve) => client.once('close', resolve)))
    for (const client of clients) client.end()
    await network.setPartitions([{ a: 'x', b: undefined, mode: 'refuse', direction: 'both' }])
    await Promise.all(gone)
    await network.setPartitions([])
  }
  await network.close()
  await new Promise<void>((resolve) => server.close(() => resolve()))
  expect(server.listening).toBe(false)
})

/** A connection over which a byte has gone there and back. */
function greeted(port: number): Promise<net.Socket> {
  return new Promise((resolve) => {
    const client = net.connect({ host: '127.0.0.1', port, allowHalfOpen: true })
    client.on('error', () => undefined)
    client.once('data', () => resolve(client))
    client.write('x')
  })
}
