/** The suite of every metadata store, on a real PostgreSQL. */
import { afterAll, beforeAll } from '@jest/globals'
import { parsePostgresUrl } from '../../master/store/postgres/address.js'
import { openPostgresStore } from '../../master/store/postgres-store.js'
import { describeOnPostgres } from '../support/on-postgres.js'
import { Postgres } from '../support/postgres.js'
import { metadataStoreSuite } from './metadata-all.suite.js'

describeOnPostgres('a real PostgreSQL', () => {
  let postgres: Postgres
  let template: string

  beforeAll(async () => {
    postgres = await Postgres.start()
    template = await postgres.createDatabase()
    const store = await openPostgresStore(parsePostgresUrl(postgres.url(template)))
    await store.close()
  }, 120_000)

  afterAll(async () => {
    await postgres[Symbol.asyncDispose]()
  })

  metadataStoreSuite('PostgreSQL', async () => {
    const store = await openPostgresStore(parsePostgresUrl(postgres.url(await postgres.createDatabase(template))))
    return { store, close: () => store.close() }
  })
})
