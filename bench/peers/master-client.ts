/** `BENCH_URL=… BENCH_TOKEN=… node master-client.js`: empty files made and looked up by Cairn's REST API alone. */
import { randomUUID } from 'node:crypto'
import type { FileInfo } from '../../common/protocol/files.js'
import { LoadConnection, parsed } from '../support/http-load.js'
import { serveTasks } from '../support/load-client.js'
import { createFile } from '../system/metadata-create.js'

const target = { url: process.env['BENCH_URL'] ?? '', token: process.env['BENCH_TOKEN'] ?? '' }
const connections: Promise<LoadConnection>[] = []

serveTasks(
  ({ kind }) =>
    async (file, _content, number) => {
      const connection = await (connections[number] ??= LoadConnection.open(target))
      if (kind === 'stat') return parsed<FileInfo>(await connection.request('GET', `/v1/files${file}`)).sizeBytes
      return createFile(connection, file, randomUUID())
    },
  async () => {
    for (const connection of connections) (await connection)[Symbol.dispose]()
  },
)
