/** A cluster of real processes that keeps its metadata in PostgreSQL. */
import { randomBytes } from 'node:crypto'
import { Readable } from 'node:stream'
import { expect, test } from '@jest/globals'
import { MiB } from '../../common/units.js'
import { startCluster, type Cluster } from '../../testing/index.js'
import { describeOnPostgres } from '../support/on-postgres.js'
import { Postgres } from '../support/postgres.js'

const WITHIN_MS = 240_000
const content = randomBytes(5 * MiB + 7)

async function contentOf(cluster: Cluster, path: string): Promise<Buffer> {
  const pieces: Buffer[] = []
  for await (const piece of cluster.client.download(await cluster.client.stat(path))) pieces.push(Buffer.from(piece))
  return Buffer.concat(pieces)
}

describeOnPostgres('a cluster whose metadata is in PostgreSQL', () => {
  test(
    'keeps files through the death of a chunkserver, of its master and of the database',
    async () => {
      await using postgres = await Postgres.start()
      const url = postgres.url(await postgres.createDatabase())
      await using cluster = await startCluster({ chunkservers: 4, masterFlags: ['--metadata', url] })
      for (const name of ['/b/large', '/b/second'])
        await cluster.client.uploadStream(Readable.from([content]), name, { chunkSizeBytes: MiB })
      expect((await contentOf(cluster, '/b/large')).equals(content)).toBe(true)
      const [victim] = cluster.chunkservers
      if (victim) await cluster.kill(victim)
      await cluster.kill(cluster.master)
      await cluster.restart(cluster.master)
      await cluster.healthy()
      await postgres.down('SIGKILL')
      await postgres.up()
      await cluster.client.rename('/b/second', '/b/renamed')
      expect((await contentOf(cluster, '/b/renamed')).equals(content)).toBe(true)
      const listed: string[] = []
      for await (const entry of cluster.client.list('/b/')) listed.push(entry.path)
      expect(listed).toEqual(['/b/large', '/b/renamed'])
    },
    WITHIN_MS,
  )
})
