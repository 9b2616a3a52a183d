/** Suites that need a PostgreSQL. */
import { describe, test } from '@jest/globals'
import { hasPostgres } from './postgres.js'

/** `describe` where there is a PostgreSQL to run it on. */
export function describeOnPostgres(name: string, suite: () => void): void {
  if (hasPostgres()) describe(name, suite)
  else describe(name, () => test.skip('needs PostgreSQL: apt-get install postgresql', () => undefined))
}
