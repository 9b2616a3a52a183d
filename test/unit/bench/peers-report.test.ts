import { describe, expect, test } from '@jest/globals'
import { chartOf } from '../../../bench/peers/chart.js'
import type { WorkloadName } from '../../../bench/peers/plan.js'
import { reportOf, tableOf } from '../../../bench/peers/report.js'
import type { Line, Sample } from '../../../bench/peers/sample.js'

const sample = (system: string, round: number, seconds: number, workload: WorkloadName = 'upload-one'): Sample => ({
  kind: 'sample',
  round,
  system,
  workload,
  amount: workload === 'upload-one' ? 4e9 : 1000,
  seconds,
  cpuSeconds: 8,
  otherCpuShare: 0.01,
})

const system = (name: string, title: string, peakMiB: Record<string, number> = { server: 100 }): Line => ({
  kind: 'system',
  round: 1,
  system: name,
  title,
  version: '1',
  durability: 'three copies',
  peakMiB,
})

const MACHINE = { cores: 2, cpu: 'a <fast> one', memoryBytes: 1, kernel: '6', node: 'v20' }

const LINES: readonly Line[] = [
  { kind: 'run', round: 1, date: '2026-01-02T00:00:00.000Z', command: 'npm', commit: 'c', machine: MACHINE, parameters: {} },
  system('cairn', 'Cairn'),
  system('one', 'Peer & One'),
  system('other', 'Other'),
  system('other', 'Other', { server: 90, client: 20 }),
  ...[10, 40, 8].map((seconds, index) => sample('cairn', index + 1, seconds)),
  ...[40, 41, 20].map((seconds, index) => sample('one', index + 1, seconds)),
  ...[50, 50, 50].map((seconds, index) => sample('other', index + 1, seconds)),
  sample('cairn', 1, 1, 'small-put'),
  sample('cairn-http', 1, 0.5, 'small-put'),
  {
    kind: 'limits',
    round: 1,
    directWriteBytesPerSecond: 2e9,
    directReadBytesPerSecond: 1.5e9,
    loopbackBytesPerSecond: 0.9e9,
    localSocketBytesPerSecond: 1.2e9,
    hashBytesPerSecond: 8e9,
  },
  { kind: 'unavailable', round: 1, system: 'gone', title: 'Gone', reason: 'not to be\nhad' },
]

describe('a report', () => {
  const report = reportOf(LINES)

  test('takes medians of rates, and sets each peer beside this project', () => {
    expect(report.workloads['upload-one']).toMatchObject({
      unit: 'MB/s',
      systems: { cairn: { rate: { p50: 400, runs: [400, 100, 500] }, cpuSeconds: 2 }, one: { rate: { p50: 100 } } },
      ratios: { cairn: { one: 4, other: 5 } },
      bestPeer: 'one',
    })
    expect(report.rounds).toBe(3)
  })

  test('keeps the highest peak of each process over all pieces of a run', () => {
    expect(report.systems['other']?.peakMiB).toEqual({ server: 100, client: 20 })
  })

  test('of a workload that no peer has names none as the best', () => {
    expect(report.workloads['small-put']).toMatchObject({ unit: '/s', bestPeer: null, ratios: { cairn: {}, 'cairn-http': {} } })
    expect(report.workloads['small-put']?.systems['cairn']?.cpuSeconds).toBe(8)
  })

  test('says in its table what was measured, how much faster, and what was not to be had', () => {
    const table = tableOf(report).split('\n')
    expect(table[0]).toBe('| workload | Cairn | Cairn over HTTP | Peer & One | Other |')
    expect(table[2]).toBe('| Upload, one file | 400 MB/s (2 s) |  | 100 MB/s (2 s): 4× | 80 MB/s (2 s): 5× |')
    expect(table[3]).toBe('| Small files: put | 1 000 /s (8 s) | 2 000 /s (8 s) |  |  |')
    expect(table).toContain('- Gone: unavailable in round 1: not to be had')
    expect(table).toContain('- Cairn 1: three copies.')
    expect(table).toContain(
      '- The machine itself: three direct writers together 2 000 MB/s, a direct reader 1 500 MB/s, ' +
        'TCP over loopback 900 MB/s, a Unix socket 1 200 MB/s, XXH64 on one core 8 000 MB/s.',
    )
    expect(table).toContain('- Other programs, and the kernel on its own, had up to 1 % of its CPU time.')
  })
})

describe('a chart', () => {
  const chart = chartOf(reportOf(LINES))

  test('has a bar for each figure, as long as the figure is large', () => {
    const widths = [...chart.matchAll(/class="(ours|way|peer)" x="\d+" y="\d+" width="(\d+)"/g)].map(([, kind, width]) => [
      kind,
      Number(width),
    ])
    expect(widths.map(([kind]) => kind)).toEqual(['ours', 'peer', 'peer', 'ours', 'way'])
    const [ours, one, other] = widths.map(([, width]) => width as number) as [number, number, number]
    expect(one / ours).toBeCloseTo(100 / 400, 2)
    expect(other / ours).toBeCloseTo(80 / 400, 2)
  })

  test('is one well-formed picture for light and dark that fetches nothing', () => {
    expect(chart).toContain('prefers-color-scheme: dark')
    expect(chart).toContain('Peer &amp; One')
    expect(chart.match(/https?:/g)).toHaveLength(1)
    expect(chart).not.toMatch(/href|url\(|<script|@import/)
    const opened = [...chart.matchAll(/<([a-z]+)(?:\s[^>]*[^/])?>/g)].map(([, name]) => name)
    const closed = [...chart.matchAll(/<\/([a-z]+)>/g)].map(([, name]) => name)
    expect([...opened].sort()).toEqual([...closed].sort())
  })
})
