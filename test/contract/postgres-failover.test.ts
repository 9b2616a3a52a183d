/** A primary and its standby: the store finds the one that takes writes, and nothing that was acknowledged is lost on the way. */
import { appendFileSync, readFileSync } from 'node:fs'
import path from 'node:path'
import { afterEach, expect, test } from '@jest/globals'
import { isCairnError } from '../../common/errors/cairn-error.js'
import type { MetadataStore } from '../../master/store/metadata-store.js'
import { parsePostgresUrl } from '../../master/store/postgres/address.js'
import { openPostgresStore } from '../../master/store/postgres-store.js'
import { describeOnPostgres } from '../support/on-postgres.js'
import { Postgres } from '../support/postgres.js'
import { DEFAULTS } from './metadata-store-fixture.js'

/** The processes that a server has started: to stop it is to stop them. */
const backendsOf = ({ pid }: Postgres): number[] =>
  readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8').split(' ').filter(Boolean).map(Number)

const WITHIN_MS = 240_000
const STANDBY = 'second'

describeOnPostgres('a PostgreSQL with a standby', () => {
  const cleanUp: (() => Promise<unknown>)[] = []
  afterEach(async () => {
    for (const undo of cleanUp.splice(0).reverse()) await undo()
  })

  /** A primary, and a standby that each commit waits for. */
  async function pair(): Promise<{ primary: Postgres; standby: Postgres; database: string }> {
    const primary = await Postgres.start({ settings: ['wal_level = replica'] })
    cleanUp.push(() => primary[Symbol.asyncDispose]())
    const database = await primary.createDatabase()
    const standby = await Postgres.start({
      make: (_bin, directory, run) => {
        run('pg_basebackup', [
          '-h',
          '127.0.0.1',
          '-p',
          String(primary.port),
          '-U',
          'cairn',
          '-D',
          directory,
          '-R',
          '-X',
          'stream',
          '--no-sync',
          '-c',
          'fast',
        ])
        appendFileSync(
          path.join(directory, 'postgresql.auto.conf'),
          `primary_conninfo = 'host=127.0.0.1 port=${primary.port} user=cairn application_name=${STANDBY}'\n`,
        )
      },
    })
    cleanUp.push(() => standby[Symbol.asyncDispose]())
    await primary.sql(`alter system set synchronous_standby_names = '${STANDBY}'`, 'postgres')
    await primary.sql('select pg_reload_conf()', 'postgres')
    return { primary, standby, database }
  }

  async function storeOn(hosts: readonly Postgres[], database: string, options = ''): Promise<MetadataStore> {
    const list = hosts.map(({ port }) => `127.0.0.1:${port}`).join(',')
    const store = await openPostgresStore(parsePostgresUrl(`postgres://cairn@${list}/${database}?answer_timeout=3${options}`))
    cleanUp.push(() => store.close())
    return store
  }

  test(
    'a host that takes no writes is passed by',
    async () => {
      const { primary, standby, database } = await pair()
      const store = await storeOn([standby, primary], database)
      await store.ensureCluster({})
      expect(await store.putBucket({ name: 'b', changes: {}, defaults: DEFAULTS })).toMatchObject({ name: 'b' })
      await expect(storeOn([standby], database, '&failover_timeout=1')).rejects.toMatchObject({ code: 'METADATA_UNAVAILABLE' })
    },
    WITHIN_MS,
  )

  test(
    'when the primary is killed under load, the standby takes over and has each write that was acknowledged, once',
    async () => {
      const { primary, standby, database } = await pair()
      const store = await storeOn([primary, standby], database)
      await store.ensureCluster({})
      const acknowledged: string[] = []
      const failed: string[] = []
      let stopped = false
      const writer = async (name: string): Promise<void> => {
        for (let count = 0; !stopped; count += 1) {
          const bucket = `${name}-${count}`
          try {
            await store.putBucket({ name: bucket, changes: {}, defaults: DEFAULTS, request: { id: bucket, digest: 'd' } })
            acknowledged.push(bucket)
          } catch (error) {
            if (!isCairnError(error)) throw error
            failed.push(`${bucket}: ${error.code}`)
          }
        }
      }
      const writers = ['a', 'b', 'c', 'd'].map(writer)
      const reach = async (count: number): Promise<void> => {
        while (acknowledged.length < count) await new Promise((resolve) => setTimeout(resolve, 20))
      }
      await reach(40)
      await primary.down('SIGKILL')
      const before = acknowledged.length
      standby.promote()
      await standby.sql("alter system set synchronous_standby_names = ''", 'postgres')
      await standby.sql('select pg_reload_conf()', 'postgres')
      await reach(before + 40)
      stopped = true
      await Promise.all(writers)
      expect(failed).toEqual([])
      const there = await standby.sql<{ name: string }>('select name from buckets', database)
      const names = new Set(there.map((row) => row.name))
      expect(acknowledged.filter((name) => !names.has(name))).toEqual([])
      // Each was logged once: none was carried out on the one and again on the other.
      const logged = await standby.sql<{ path: string }>("select path from change_log where kind = 'bucket.changed'", database)
      expect(logged).toHaveLength(names.size)
    },
    WITHIN_MS,
  )

  test(
    'a primary that hangs is left for the one that was made its successor',
    async () => {
      const { primary, standby, database } = await pair()
      const store = await storeOn([primary, standby], database)
      await store.ensureCluster({})
      const processes = [primary.pid, ...backendsOf(primary)]
      for (const pid of processes) process.kill(pid, 'SIGSTOP')
      try {
        const written = store.putBucket({ name: 'late', changes: {}, defaults: DEFAULTS })
        standby.promote()
        await standby.sql("alter system set synchronous_standby_names = ''", 'postgres')
        await standby.sql('select pg_reload_conf()', 'postgres')
        await written
        expect(await standby.sql("select name from buckets where name = 'late'", database)).toHaveLength(1)
      } finally {
        for (const pid of processes.reverse()) process.kill(pid, 'SIGKILL')
        await primary.down('SIGKILL')
      }
    },
    WITHIN_MS,
  )
})
