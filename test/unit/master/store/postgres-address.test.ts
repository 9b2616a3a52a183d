import { describe, expect, test } from '@jest/globals'
import { parsePostgresUrl } from '../../../../master/store/postgres/address.js'

describe('the address of a PostgreSQL', () => {
  test('names hosts with their ports, in order', () => {
    const address = parsePostgresUrl('postgres://me:p%40ss@h1:5433,h2,[::1]:5434/cairn')
    expect(address).toMatchObject({
      hosts: [
        { host: 'h1', port: 5433 },
        { host: 'h2', port: 5432 },
        { host: '::1', port: 5434 },
      ],
      user: 'me',
      password: 'p@ss',
      database: 'cairn',
      tls: undefined,
    })
  })

  test('may leave user and password to the environment, and the host to an option', () => {
    const address = parsePostgresUrl('postgresql:///db?host=/run/postgresql&port=6000', { PGUSER: 'u', PGPASSWORD: 'p' })
    expect(address).toMatchObject({ hosts: [{ host: '/run/postgresql', port: 6000 }], user: 'u', password: 'p', database: 'db' })
  })

  test('checks what the server is as far as sslmode says', () => {
    const tlsOf = (options: string) => parsePostgresUrl(`postgres://u@h/d?${options}`).tls
    expect(tlsOf('sslmode=disable')).toBeUndefined()
    expect(tlsOf('sslmode=require')).toEqual({ rejectUnauthorized: false })
    expect(tlsOf('sslmode=verify-full')).toEqual({ rejectUnauthorized: true })
    expect(tlsOf('sslmode=verify-ca')).toMatchObject({ rejectUnauthorized: true, checkServerIdentity: expect.any(Function) })
    expect(() => tlsOf('sslmode=disable&sslcert=/c')).toThrow(/certificates/)
  })

  test.each([
    ['mysql://u@h/d', /form/],
    ['postgres://h/d', /user/],
    ['postgres://u@h', /database/],
    ['postgres://u@/d', /host/],
    ['postgres://u@h:99999/d', /port/],
    ['postgres://u@h/d?sslmode=prefer', /sslmode/],
    ['postgres://u@h/d?target_session_attrs=any', /target_session_attrs/],
    ['postgres://u@h/d?pool_max=0', /pool_max/],
    ['postgres://u@h/d?pool_max=2&writers_max=2', /writers_max/],
    ['postgres://u@h/d?sslmod=verify-full', /sslmod/],
    ['postgres://u:%zz@h/d', /percent/],
    ['postgres://u:a@b@h/d', /host/],
  ])('%s is refused', (url, why) => {
    expect(() => parsePostgresUrl(url)).toThrow(why)
    expect(() => parsePostgresUrl(url)).not.toThrow(/b@h|%zz/)
  })
})
