/**
 * `CAIRN_MASTER=… CAIRN_TOKEN=… node transfer-client.js`: a client that is there already when it is told, over its channel,
 * to put a file. Many of them at once, started beforehand, are many users; a command's start is not what is asked for.
 */
import { openNodeClient } from '../../client/index.js'

export interface Transfer {
  readonly source: string
  readonly target: string
}

const client = openNodeClient({ masters: [process.env['CAIRN_MASTER'] ?? ''], token: process.env['CAIRN_TOKEN'] })

process.on('message', (message: Transfer | 'end') => {
  if (message === 'end') {
    process.disconnect()
    return void client.close()
  }
  client.uploadFile(message.source, message.target).then(
    () => process.send?.('done'),
    (error: unknown) => {
      process.stderr.write(`${error instanceof Error ? error.stack : String(error)}\n`)
      process.exit(1)
    },
  )
})
process.send?.('ready')
