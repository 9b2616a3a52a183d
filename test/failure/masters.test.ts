/** Two masters on one PostgreSQL: one acts, the other takes its place when it dies or stands still, and nobody acts twice. */
import { randomBytes } from 'node:crypto'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { Readable } from 'node:stream'
import { afterEach, beforeEach, expect, test } from '@jest/globals'
import { Child } from '../../cli/up/child.js'
import { freePorts } from '../../cli/up/ports.js'
import { openNodeClient, type CairnClient } from '../../client/index.js'
import { SystemClock } from '../../common/clock/system-clock.js'
import { describeOnPostgres } from '../support/on-postgres.js'
import { Postgres } from '../support/postgres.js'

const WITHIN_MS = 240_000
const TOKENS = { root: 'r'.repeat(32), server: 's'.repeat(32) }
const CHUNKSERVERS = 3
const content = randomBytes(100_000)

describeOnPostgres('two masters on one PostgreSQL', () => {
  let directory: string
  let postgres: Postgres
  let database: string
  let masters: Child[]
  let urls: string[]
  let servers: Child[]
  let client: CairnClient

  function child(role: 'master' | 'chunkserver', name: string, args: readonly string[], env: Record<string, string>): Child {
    const spec = {
      role,
      name,
      args: ['--dir', path.join(directory, name), ...args],
      env: { CAIRN_MASTER: urls.join(','), CAIRN_TOKEN: '', CAIRN_METADATA: '', ...env },
      directory: path.join(directory, name),
      logDirectory: path.join(directory, 'logs'),
    }
    const events = { onReady: () => undefined, onExit: () => undefined }
    return new Child(spec, { clock: new SystemClock(), restart: true, events })
  }

  beforeEach(async () => {
    directory = mkdtempSync(path.join(tmpdir(), 'cairn-masters-'))
    postgres = await Postgres.start()
    database = await postgres.createDatabase()
    const ports = await freePorts(2)
    urls = ports.map((port) => `http://127.0.0.1:${port}`)
    const timers = ['--heartbeat-interval', '200ms', '--suspect-after', '2s', '--dead-after', '30s', '--lease', '2s']
    masters = ports.map((port, index) =>
      child('master', `master-${index}`, ['--port', String(port), ...timers], {
        CAIRN_METADATA: postgres.url(database),
        CAIRN_BOOTSTRAP_TOKENS: JSON.stringify(TOKENS),
      }),
    )
    servers = Array.from({ length: CHUNKSERVERS }, (_, index) =>
      child('chunkserver', `chunkserver-${index}`, ['--port', '0'], { CAIRN_TOKEN: TOKENS.server }),
    )
    await Promise.all([...masters, ...servers].map((one) => one.start()))
    client = openNodeClient({ masters: urls, token: TOKENS.root })
  }, WITHIN_MS)

  afterEach(async () => {
    for (const one of masters) if (one.running) process.kill(one.pid, 'SIGCONT')
    await client.close()
    await Promise.all([...servers, ...masters].map((one) => one.stop()))
    await postgres[Symbol.asyncDispose]()
    rmSync(directory, { recursive: true, force: true })
  }, WITHIN_MS)

  /** Which of the masters answers for the cluster; undefined while none does. */
  async function activeOne(): Promise<number | undefined> {
    const ready = await Promise.all(
      urls.map((url) =>
        fetch(`${url}/readyz`, { signal: AbortSignal.timeout(1_000) }).then(
          (answer) => answer.ok,
          () => false,
        ),
      ),
    )
    expect(ready.filter(Boolean).length).toBeLessThanOrEqual(1)
    return ready.includes(true) ? ready.indexOf(true) : undefined
  }

  async function until(condition: () => Promise<boolean>): Promise<void> {
    while (!(await condition())) await new Promise((resolve) => setTimeout(resolve, 100))
  }

  const termOf = async (): Promise<number> =>
    Number((await postgres.sql<{ term: string }>('select term from leases', database))[0]?.term)

  const put = (name: string) => client.uploadStream(Readable.from([content]), name)

  async function expectContent(name: string): Promise<void> {
    const pieces: Buffer[] = []
    for await (const piece of client.download(await client.stat(name))) pieces.push(Buffer.from(piece))
    expect(Buffer.concat(pieces).equals(content)).toBe(true)
  }

  test(
    'when the active one is killed again and again the other goes on, and no upload fails',
    async () => {
      await until(async () => (await activeOne()) !== undefined)
      let stopped = false
      const written: string[] = []
      const writers = ['a', 'b'].map(async (name) => {
        for (let count = 0; !stopped; count += 1) {
          await put(`/b/${name}/${count}`)
          written.push(`/b/${name}/${count}`)
        }
      })
      const term = await termOf()
      for (let round = 0; round < 3; round += 1) {
        const before = written.length
        await until(async () => written.length > before + 3)
        const active = await activeOne()
        if (active !== undefined) process.kill(masters[active]?.pid ?? 0, 'SIGKILL')
      }
      const before = written.length
      await until(async () => written.length > before + 3)
      stopped = true
      await Promise.all(writers)
      expect(await termOf()).toBeGreaterThan(term)
      for (const name of written) await expectContent(name)
    },
    WITHIN_MS,
  )

  test(
    'one that stood still for longer than its lease is refused when it wakes up, and stands by from then on',
    async () => {
      await until(async () => (await activeOne()) !== undefined)
      await put('/b/before')
      const sleeper = (await activeOne()) ?? 0
      const term = await termOf()
      const { pid } = masters[sleeper] as Child
      process.kill(pid, 'SIGSTOP')
      await until(async () => (await termOf()) > term)
      await put('/b/meanwhile')
      // Its socket takes the request while it sleeps; it answers once it is awake, and must not act on it.
      const late = fetch(`${urls[sleeper]}/v1/files/b/before`, {
        method: 'DELETE',
        headers: { authorization: `Bearer ${TOKENS.root}` },
      }).then(
        (answer) => answer.status,
        () => 503,
      )
      process.kill(pid, 'SIGCONT')
      expect(await late).toBe(503)
      await until(async () => {
        const answer = await fetch(`${urls[sleeper]}/readyz`).catch(() => undefined)
        return answer?.status === 503 && (masters[sleeper]?.pid ?? pid) !== pid
      })
      expect(await activeOne()).toBe(1 - sleeper)
      await expectContent('/b/before')
      await expectContent('/b/meanwhile')
    },
    WITHIN_MS,
  )
})
