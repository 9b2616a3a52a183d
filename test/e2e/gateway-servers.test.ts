/** Servers that die under a gateway's clients, and what the servers tell of themselves. */
import { describe, expect, test } from '@jest/globals'
import { statSync } from 'node:fs'
import { MiB } from '../../common/units.js'
import { QUICK_TIMERS, randomFile, sha256, TestCluster, until } from '../support/cluster.js'
import { GatewayUser } from '../support/programs.js'

const start = (chunkservers: number): Promise<TestCluster> =>
  TestCluster.start({ chunkservers, flags: [...QUICK_TIMERS, '--no-restart'] })

const DEATHS = [
  ['killed', 'SIGKILL'],
  ['frozen', 'SIGSTOP'],
] as const

test.each(DEATHS)(
  'a chunkserver that is %s in the middle of a download and uploads spoils none',
  async (_what, signal) => {
    await using cluster = await start(4)
    const user = new GatewayUser(cluster)
    const source = cluster.file('source')
    const sum = await randomFile(source, 40 * MiB)
    expect((await user.curl('-T', source, `${user.url('/d/x')}?chunk-size=4MiB`)).status).toBe(201)
    const target = cluster.file('target')
    const download = user.beginCurl(['--limit-rate', '8m', '-o', target, user.url('/d/x')])
    const put = user.beginCurl(['--limit-rate', '8m', '-T', source, `${user.url('/d/put')}?chunk-size=4MiB`])
    const form = user.beginCurl(['--limit-rate', '8m', '-F', `file=@${source}`, `${user.url('/d/form')}?chunk-size=4MiB`])
    await until('all are in the middle', async () => {
      const uploads = (await user.openUploads()) as { uploadedBytes: number }[]
      const begun = uploads.length === 2 && uploads.every((upload) => upload.uploadedBytes > 0)
      return begun && (statSync(target, { throwIfNoEntry: false })?.size ?? 0) > 4 * MiB
    })
    const victim = cluster.process('chunkserver', 0)
    cluster.kill(victim, signal)
    expect(await download.done).toMatchObject({ code: 0, status: 200 })
    expect(await put.done).toMatchObject({ code: 0, status: 201 })
    expect(await form.done).toMatchObject({ code: 0, status: 201 })
    expect(await sha256(target)).toBe(sum)
    for (const path of ['/d/put', '/d/form']) {
      await user.curl('-o', target, user.url(path))
      expect(await sha256(target)).toBe(sum)
    }
    if (signal === 'SIGSTOP') cluster.kill(victim, 'SIGCONT')
  },
  120_000,
)

describe('checks', () => {
  // https://prometheus.io/docs/instrumenting/exposition_formats/
  const NAME = '[a-zA-Z_:][a-zA-Z0-9_:]*'
  const LABEL = '[a-zA-Z_][a-zA-Z0-9_]*="(?:[^"\\\\\\n]|\\\\[\\\\n"])*"'
  const SAMPLE = new RegExp(`^(${NAME})(?:\\{(?:${LABEL}(?:,${LABEL})*,?)?\\})? (?:[+-]?Inf|NaN|[+-]?[0-9.]+(?:e[+-]?[0-9]+)?)$`)
  const COMMENT = new RegExp(`^# (?:HELP (${NAME}) .*|TYPE (${NAME}) (?:counter|gauge|histogram|summary|untyped))$`)

  function expectPrometheus(text: string): string[] {
    const typed = new Set<string>()
    const names: string[] = []
    expect(text.endsWith('\n')).toBe(true)
    for (const line of text.split('\n').filter((each) => each !== '')) {
      if (line.startsWith('#')) {
        const match = COMMENT.exec(line)
        expect([line, match !== null]).toEqual([line, true])
        typed.add((match?.[1] ?? match?.[2]) as string)
        continue
      }
      const name = SAMPLE.exec(line)?.[1] ?? `not a sample: ${line}`
      expect([...typed].some((family) => name === family || /^_(bucket|sum|count|total)$/.test(name.slice(family.length)))).toBe(
        true,
      )
      names.push(name)
    }
    return names
  }

  test('metrics are in the text format, and without a master the gateway is alive but not ready', async () => {
    await using cluster = await start(2)
    const user = new GatewayUser(cluster)
    const source = cluster.file('source')
    await randomFile(source, MiB)
    await user.curl('-T', source, `${user.url('/m/x')}?replicas=2`)
    for (const { url, role } of cluster.ready.processes) {
      for (const check of ['/livez', '/readyz'])
        expect(await user.curl(url + check)).toMatchObject({ status: 200, body: Buffer.from('ok\n') })
      const metrics = await user.curl(`${url}/metrics`)
      expect(metrics.headers['content-type']).toMatch(/^text\/plain; ?version=0\.0\.4/)
      expect(
        expectPrometheus(metrics.body.toString()).filter((name) => name.startsWith(`cairn_${role}_`)).length,
      ).toBeGreaterThan(2)
    }
    expect((await user.curl(`${cluster.ready.gateway}/metrics`)).body.toString()).toContain(
      'cairn_gateway_requests_total{method="PUT",status="201"} 1',
    )
    cluster.kill(cluster.process('master'))
    const { gateway } = cluster.ready
    await until('the gateway is not ready', async () => (await user.curl(`${gateway}/readyz`)).status === 503)
    expect((await user.curl(`${gateway}/livez`)).status).toBe(200)
    const requests = [[], ['-T', source], ['-F', `file=@${source}`], ['-X', 'DELETE'], ['-I']]
    await Promise.all(
      requests.map(async (args) => {
        const refused = await user.curl(...args, user.url('/m/x'))
        expect(refused).toMatchObject({ code: 0, status: 503 })
        if (!args.includes('-I')) expect(refused.json).toMatchObject({ error: { code: 'MASTER_UNREACHABLE', retryable: true } })
      }),
    )
  })
})
