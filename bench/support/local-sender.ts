/** `node local-sender.js PORT|SOCKET BYTES`: sends so many bytes to a port or a Unix socket of this machine, and ends. */
import { once } from 'node:events'
import { connect } from 'node:net'
import { MiB } from '../../common/units.js'

const [target = '', size] = process.argv.slice(2)
const socket = target.startsWith('/') ? connect(target) : connect({ host: '127.0.0.1', port: Number(target), noDelay: true })
await once(socket, 'connect')
const piece = Buffer.alloc(MiB, 1)
for (let left = Number(size); left > 0; left -= MiB) {
  if (!socket.write(left < MiB ? piece.subarray(0, left) : piece)) await once(socket, 'drain')
}
socket.end()
await once(socket, 'close')
