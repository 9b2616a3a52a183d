/**
 * `BENCH_URL=… BENCH_TOKEN=… node http-client.js PATH SUFFIX`: small files by PUT, HEAD and GET of the path, the file's own and
 * the suffix, on keep-alive connections with one request at a time on each.
 */
import { LoadConnection, type Answer } from '../support/http-load.js'
import { serveTasks } from '../support/load-client.js'

const [base = '', suffix = ''] = process.argv.slice(2)
const token = process.env['BENCH_TOKEN']
const url = process.env['BENCH_URL'] ?? ''
const target = token === undefined ? { url } : { url, token }
const connections: Promise<LoadConnection>[] = []

const send = async (connection: number, method: string, file: string, content?: Uint8Array): Promise<Answer> => {
  const open = await (connections[connection] ??= LoadConnection.open(target))
  const answer = await open.request(method, `${base}${file}${suffix}`, content ? { content } : {})
  if (answer.status >= 300) throw new Error(`${method} ${file}: ${answer.status} ${answer.body.toString()}`)
  return answer
}

serveTasks(
  ({ kind }) =>
    async (file, content, connection) => {
      if (kind === 'stat') return (await send(connection, 'HEAD', file)).lengthBytes
      if (kind === 'get') return Buffer.from((await send(connection, 'GET', file)).body)
      return void (await send(connection, 'PUT', file, content))
    },
  async () => {
    for (const connection of connections) (await connection)[Symbol.dispose]()
  },
)
