/** What a store does not entrust the metadata to, and how it makes sure of whom it speaks to. */
import { execFileSync } from 'node:child_process'
import { chmodSync, chownSync, mkdtempSync, rmSync, statSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { afterAll, beforeAll, expect, test } from '@jest/globals'
import { parsePostgresUrl } from '../../master/store/postgres/address.js'
import { openPostgresStore } from '../../master/store/postgres-store.js'
import { describeOnPostgres } from '../support/on-postgres.js'
import { Postgres } from '../support/postgres.js'

const WITHIN_MS = 120_000

describeOnPostgres('a store on PostgreSQL', () => {
  let certificates: string
  let postgres: Postgres

  beforeAll(async () => {
    certificates = mkdtempSync(path.join(tmpdir(), 'cairn-tls-'))
    chmodSync(certificates, 0o755)
    const file = (name: string): string => path.join(certificates, name)
    execFileSync(
      'openssl',
      // prettier-ignore
      ['req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-days', '2', '-subj', '/CN=localhost',
        '-addext', 'subjectAltName=DNS:localhost', '-keyout', file('key.pem'), '-out', file('cert.pem')],
      { stdio: 'pipe' },
    )
    chmodSync(file('key.pem'), 0o600)
    postgres = await Postgres.start({
      settings: ['ssl = on', `ssl_cert_file = '${file('cert.pem')}'`, `ssl_key_file = '${file('key.pem')}'`],
      make: (_bin, directory, run) => {
        run('initdb', ['-D', directory, '-U', 'cairn', '-A', 'trust', '-E', 'UTF8', '--locale=C', '--no-sync'])
        const { uid, gid } = statSync(directory)
        chownSync(file('key.pem'), uid, gid)
      },
    })
  }, WITHIN_MS)
  afterAll(async () => {
    await postgres[Symbol.asyncDispose]()
    rmSync(certificates, { recursive: true })
  })

  const open = async (url: string) => {
    const store = await openPostgresStore(parsePostgresUrl(url))
    try {
      return await store.readPosition({})
    } finally {
      await store.close()
    }
  }

  test(
    'refuses a database that acknowledges what a crash can undo',
    async () => {
      const database = await postgres.createDatabase()
      await postgres.sql(`alter database ${database} set synchronous_commit = off`, 'postgres')
      await expect(open(postgres.url(database))).rejects.toMatchObject({ code: 'USAGE', message: /synchronous_commit/ })
      await postgres.sql(`alter database ${database} set synchronous_commit = local`, 'postgres')
      await expect(open(postgres.url(database))).rejects.toMatchObject({ code: 'USAGE', message: /synchronous_commit/ })
      await postgres.sql(`alter database ${database} reset synchronous_commit`, 'postgres')
      await open(postgres.url(database))
    },
    WITHIN_MS,
  )

  test(
    'refuses a database that orders texts otherwise than by their bytes, or keeps them in another encoding',
    async () => {
      await postgres.sql(`create database icu template template0 locale_provider icu icu_locale 'en-US'`, 'postgres')
      await expect(open(postgres.url('icu'))).rejects.toMatchObject({ code: 'USAGE', message: /bytes/ })
      await postgres.sql(`create database latin template template0 encoding 'LATIN1'`, 'postgres')
      await expect(open(postgres.url('latin'))).rejects.toMatchObject({ code: 'USAGE', message: /LATIN1/ })
    },
    WITHIN_MS,
  )

  test(
    'says at once what waiting does not mend: a database that is not there, a user without rights',
    async () => {
      await expect(open(postgres.url('nowhere'))).rejects.toMatchObject({ code: 'USAGE', message: /nowhere/ })
      await postgres.sql('create role stranger login', 'postgres')
      const database = await postgres.createDatabase()
      await expect(open(`postgres://stranger@127.0.0.1:${postgres.port}/${database}`)).rejects.toMatchObject({
        code: 'USAGE',
        message: /permission/,
      })
    },
    WITHIN_MS,
  )

  test(
    'speaks TLS, and with verify-full only to who the certificate is for',
    async () => {
      const database = await postgres.createDatabase()
      const root = `sslrootcert=${path.join(certificates, 'cert.pem')}`
      const url = (host: string, options: string) =>
        `postgres://cairn@${host}:${postgres.port}/${database}?failover_timeout=1&${options}`
      await open(url('localhost', `sslmode=verify-full&${root}`))
      await open(url('127.0.0.1', 'sslmode=require'))
      await open(url('127.0.0.1', `sslmode=verify-ca&${root}`))
      await expect(open(url('127.0.0.1', `sslmode=verify-full&${root}`))).rejects.toMatchObject({ code: 'METADATA_UNAVAILABLE' })
      await expect(open(url('localhost', 'sslmode=verify-full'))).rejects.toMatchObject({ code: 'METADATA_UNAVAILABLE' })
    },
    WITHIN_MS,
  )
})
