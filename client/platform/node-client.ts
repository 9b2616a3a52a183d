/** A client on Node: the machine's clock, disk and network. */
import { SystemClock } from '../../common/clock/system-clock.js'
import { NodeDisk } from '../../common/disk/node-disk.js'
import { silentLogger, type Logger } from '../../common/observe/logger.js'
import { SystemRandom } from '../../common/random/system-random.js'
import { HttpTransport } from '../../common/rpc/http/http-transport.js'
import { CairnClient } from '../cairn-client.js'
import type { ClientOptions } from '../options.js'
import { nodeOwner } from './node-owner.js'

export function openNodeClient(options: ClientOptions & { readonly log?: Logger }): CairnClient {
  return new CairnClient(
    {
      clock: new SystemClock(),
      random: new SystemRandom(),
      log: options.log ?? silentLogger,
      transport: new HttpTransport(),
      disk: new NodeDisk(),
      owner: nodeOwner(),
    },
    options,
  )
}
