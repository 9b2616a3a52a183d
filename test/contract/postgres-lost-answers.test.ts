/** A write is done once, whatever becomes of the connection it was sent on. */
import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from '@jest/globals'
import type { MetadataStore } from '../../master/store/metadata-store.js'
import { parsePostgresUrl } from '../../master/store/postgres/address.js'
import { openPostgresStore } from '../../master/store/postgres-store.js'
import { describeOnPostgres } from '../support/on-postgres.js'
import { Postgres } from '../support/postgres.js'
import { PostgresProxy, type Fate } from '../support/postgres-proxy.js'
import { DEFAULTS } from './metadata-store-fixture.js'

const WITHIN_MS = 120_000

describeOnPostgres('a write whose connection is lost', () => {
  let postgres: Postgres
  let proxy: PostgresProxy
  let database: string
  let store: MetadataStore

  beforeAll(async () => {
    postgres = await Postgres.start()
  }, WITHIN_MS)
  afterAll(async () => {
    await postgres[Symbol.asyncDispose]()
  })

  beforeEach(async () => {
    proxy = await PostgresProxy.start(postgres.port)
    database = await postgres.createDatabase()
    store = await openPostgresStore(parsePostgresUrl(`postgres://cairn@127.0.0.1:${proxy.port}/${database}?answer_timeout=1`))
    await store.ensureCluster({})
  }, WITHIN_MS)
  afterEach(async () => {
    await store.close()
    await proxy[Symbol.asyncDispose]()
  })

  /** Lets `fate` happen to the next `times` commits of a write. */
  function loseCommits(fate: Fate, times = 1): void {
    let left = times
    proxy.decide = (sql) => (sql.includes('last_write') && sql.endsWith('commit') && left-- > 0 ? fate : 'pass')
  }

  const createJob = () => store.createJob({ kind: 'delete-prefix', from: '/b/', to: null, flag: true })

  test.each<Fate>(['lose-request', 'lose-answer', 'silence'])(
    'is carried out once, and answered with its result, when its commit meets with this: %s',
    async (fate) => {
      loseCommits(fate)
      const job = await createJob()
      expect((await store.listJobs({ limit: 10 })).map(({ id }) => id)).toEqual([job.id])
      loseCommits(fate, 3)
      const policy = await store.putBucket({
        name: 'b',
        changes: { trashDays: 1 },
        defaults: DEFAULTS,
        request: { id: 'r', digest: 'd' },
      })
      expect(policy).toMatchObject({ trashDays: 1 })
      expect(await postgres.sql('select kind from change_log', database)).toEqual([{ kind: 'bucket.changed' }])
    },
    WITHIN_MS,
  )

  test(
    'is carried out once when the answer to the question for it is lost too',
    async () => {
      let messages = 0
      proxy.decide = (sql) => {
        // The commit, and then what looks for its mark, several times.
        if (!sql.includes('last_write')) return 'pass'
        messages += 1
        return messages <= 4 ? 'lose-answer' : 'pass'
      }
      const job = await createJob()
      expect((await store.listJobs({ limit: 10 })).map(({ id }) => id)).toEqual([job.id])
      expect(messages).toBeGreaterThan(4)
    },
    WITHIN_MS,
  )

  test(
    'is answered with an error that may be repeated when it cannot be found out, and its repetition finds its result',
    async () => {
      const hurried = await openPostgresStore(
        parsePostgresUrl(`postgres://cairn@127.0.0.1:${proxy.port}/${database}?answer_timeout=1&failover_timeout=2`),
      )
      try {
        const request = { id: 'once', digest: 'd' }
        const create = () => hurried.createJob({ kind: 'delete-prefix', from: '/b/', to: null, flag: true, request })
        await hurried.ensureKeys({ kind: 'capability', fresh: { keyId: 'k', secret: 's' } })
        let isCut = false
        proxy.decide = (sql) => {
          if (isCut) return 'lose-request'
          isCut = sql.includes('last_write')
          return isCut ? 'lose-answer' : 'pass'
        }
        await expect(create()).rejects.toMatchObject({ code: 'METADATA_UNAVAILABLE', retryable: true })
        proxy.decide = () => 'pass'
        const job = await create()
        expect((await hurried.listJobs({ limit: 10 })).map(({ id }) => id)).toEqual([job.id])
      } finally {
        await hurried.close()
      }
    },
    WITHIN_MS,
  )

  test(
    'whose connection is lost in its midst is run again',
    async () => {
      let left = 3
      proxy.decide = (sql) => (sql.startsWith('begin') && left-- > 0 ? 'lose-answer' : 'pass')
      await createJob()
      expect(await store.listJobs({ limit: 10 })).toHaveLength(1)
    },
    WITHIN_MS,
  )

  test(
    'and a read whose connection is lost, are run again',
    async () => {
      await store.putBucket({ name: 'b', changes: {}, defaults: DEFAULTS })
      await postgres.sql("select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'cairn'", 'postgres')
      expect(await store.getBucket({ name: 'b' })).toMatchObject({ name: 'b' })
    },
    WITHIN_MS,
  )
})
