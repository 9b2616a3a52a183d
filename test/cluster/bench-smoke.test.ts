/** The benchmarks still run, do the work they time, and print what is documented. Never how fast: machines differ. */
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals'
import { execFile } from 'node:child_process'
import { mkdtempSync, readdirSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { GiB, MiB } from '../../common/units.js'
import { memoryFigures } from '../../bench/support/process-watch.js'
import { median, percentile } from '../../bench/support/statistics.js'

const BENCH = fileURLToPath(new URL('../../bench/main.js', import.meta.url))
const WITHIN_MS = 180_000

let scratch: string

beforeAll(() => {
  scratch = mkdtempSync(path.join(tmpdir(), 'cairn-test-'))
})

afterAll(() => {
  rmSync(scratch, { recursive: true, force: true })
})

// eslint-disable-next-line @typescript-eslint/no-explicit-any -- tests look into many shapes
async function bench(...args: string[]): Promise<any> {
  const { stdout } = await promisify(execFile)(process.execPath, [BENCH, ...args, '--dir', scratch], { maxBuffer: 16 * MiB })
  expect(stdout.trimEnd().split('\n')).toHaveLength(1)
  return JSON.parse(stdout)
}

const HEAD = {
  size: 'smoke',
  date: expect.stringMatching(/^\d{4}-\d\d-\d\dT/),
  command: expect.stringMatching(/^node dist\/bench\/main\.js /),
  commit: expect.stringMatching(/^([0-9a-f]{40}(-dirty)?|unknown)$/),
  machine: {
    cores: expect.any(Number),
    cpu: expect.any(String),
    memoryBytes: expect.any(Number),
    kernel: expect.any(String),
    node: process.version,
  },
  parameters: expect.objectContaining({ seed: 1 }),
}
const WORK_DONE = { sha256: expect.stringMatching(/^[0-9a-f]{64}$/), readBackEqual: true }
const METADATA_COST = { master: expect.any(Number), client: expect.any(Number), total: expect.any(Number) }
const ONE_RUN = { p50: expect.any(Number), runs: [expect.any(Number)] }

describe('workloads', () => {
  test(
    'upload-stream puts a file with three copies, reads it back, and sets the put beside the limit of the disk',
    async () => {
      const bytes = 64 * MiB
      const report = await bench('upload-stream', '--bytes', '64MiB', '--warmup', '1MiB')
      expect(report).toMatchObject({
        ...HEAD,
        workload: 'upload-stream',
        bytes,
        runs: 1,
        limit: { tool: expect.any(String), bytesPerSecond: ONE_RUN, perReplicaBytesPerSecond: ONE_RUN },
        put: { bytesPerSecond: ONE_RUN, seconds: ONE_RUN, ownSeconds: ONE_RUN },
        checksum: WORK_DONE,
      })
      expect(report.limit.perReplicaBytesPerSecond.p50).toBeCloseTo(report.limit.bytesPerSecond.p50 / 3, -1)
      expect(report.ratioToLimit).toBeCloseTo(report.put.bytesPerSecond.p50 / report.limit.perReplicaBytesPerSecond.p50, 2)
      const { client, master, chunkservers, gateway, total } = report.cpuSecondsPerGB
      expect(client + master + chunkservers + gateway).toBeCloseTo(total, 1)
      // Hashing, sending and storing 64 MiB takes some CPU time, however fast the machine.
      expect(Math.min(client, chunkservers)).toBeGreaterThan(0)
      expect(Object.keys(report.memory).sort()).toEqual(
        ['chunkserver-1', 'chunkserver-2', 'chunkserver-3', 'client', 'gateway', 'master'].sort(),
      )
      for (const memory of Object.values<{ peakBytes: number; samplesMiB: number[] }>(report.memory)) {
        expect(memory.samplesMiB.length).toBeGreaterThan(0)
        expect(memory.samplesMiB.length).toBeLessThanOrEqual(60)
        // No Node process is smaller.
        expect(memory.peakBytes).toBeGreaterThan(20 * MiB)
      }
      expect(readdirSync(scratch)).toEqual([])
    },
    WITHIN_MS,
  )

  test(
    'commit-metadata commits a file of 1600 chunks on synthetic servers and reads its manifest back',
    async () => {
      const report = await bench('commit-metadata')
      expect(report).toMatchObject({
        ...HEAD,
        workload: 'commit-metadata',
        bytes: 100 * GiB,
        chunks: 1600,
        runs: 1,
        allocationMs: { count: 100 },
        reportMs: { count: 7 },
        commitMs: { count: 1 },
        checksum: WORK_DONE,
      })
      for (const phase of ['open', 'allocate', 'report', 'commit', 'reportAndCommit'])
        expect(report[`${phase}Seconds`]).toEqual(ONE_RUN)
      expect(readdirSync(scratch)).toEqual([])
    },
    WITHIN_MS,
  )

  test(
    'metadata-create makes files through the API, and all of them are listed afterwards',
    async () => {
      const report = await bench('metadata-create', '--files', '50')
      expect(report).toMatchObject({
        ...HEAD,
        workload: 'metadata-create',
        files: 50,
        perSecond: ONE_RUN,
        latencyMs: { count: 50 },
        cpuSecondsPer1000: METADATA_COST,
        checksum: WORK_DONE,
      })
      expect(Object.keys(report.memory)).toEqual(['master'])
      expect(readdirSync(scratch)).toEqual([])
    },
    WITHIN_MS,
  )

  test(
    'metadata-stat asks for files at random in a bucket that SQL has filled, and gets those',
    async () => {
      expect(await bench('metadata-stat')).toMatchObject({
        ...HEAD,
        workload: 'metadata-stat',
        entries: 2000,
        perSecond: ONE_RUN,
        latencyMs: { count: 1000 },
        cpuSecondsPer1000: METADATA_COST,
        checksum: WORK_DONE,
      })
      expect(readdirSync(scratch)).toEqual([])
    },
    WITHIN_MS,
  )

  test(
    'metadata-list times pages of several kinds and walks through the whole bucket',
    async () => {
      expect(await bench('metadata-list')).toMatchObject({
        ...HEAD,
        workload: 'metadata-list',
        entries: 3000,
        firstRequestMs: ONE_RUN,
        firstPageMs: { count: 5 },
        pageAnywhereMs: { count: 5 },
        foldedPageMs: { count: 5 },
        pageOfSmallBucketMs: { count: 5 },
        pagesPerSecond: ONE_RUN,
        walk: { pageMs: { count: 3 } },
        checksum: WORK_DONE,
      })
      expect(readdirSync(scratch)).toEqual([])
    },
    WITHIN_MS,
  )

  test(
    'small-files puts files with three copies, looks them up and reads them back',
    async () => {
      const report = await bench('small-files', '--files', '40', '--warmup', '4')
      const phase = { perSecond: ONE_RUN, ms: { count: 40 }, otherCpuShare: ONE_RUN }
      expect(report).toMatchObject({
        ...HEAD,
        workload: 'small-files',
        files: 40,
        bytes: 1024,
        limit: { syncedAppendsPerSecond: ONE_RUN },
        put: phase,
        stat: phase,
        get: phase,
        checksum: WORK_DONE,
      })
      expect(Math.min(report.put.perSecond.p50, report.stat.perSecond.p50, report.get.perSecond.p50)).toBeGreaterThan(0)
      expect(readdirSync(scratch)).toEqual([])
    },
    WITHIN_MS,
  )

  test(
    'master-scale fills a database by SQL, starts a master on it, and sees it make copies after the death of a server',
    async () => {
      const report = await bench('master-scale')
      expect(report).toMatchObject({
        ...HEAD,
        workload: 'master-scale',
        files: 2000,
        chunks: 3200,
        copies: 9600,
        startSeconds: expect.any(Number),
        firstRequestMs: expect.any(Number),
        firstPageMs: { count: 50 },
        repair: {
          firstRepair: { sinceRecordedSeconds: expect.any(Number), sinceDueSeconds: expect.any(Number) },
          copiesPerSecond: expect.any(Number),
        },
        checksum: WORK_DONE,
      })
      expect(report.repair.copies).toBeGreaterThanOrEqual(100)
      expect(readdirSync(scratch)).toEqual([])
    },
    WITHIN_MS,
  )

  test(
    'upload-16-clients puts a file by one client and its parts by many, and reads both back',
    async () => {
      const bytes = 8 * MiB
      const report = await bench('upload-16-clients', '--bytes', '8MiB', '--clients', '3')
      const limits = { directWriteBytesPerSecond: ONE_RUN, directReadBytesPerSecond: ONE_RUN, hashBytesPerSecond: ONE_RUN }
      expect(report).toMatchObject({ ...HEAD, workload: 'upload-16-clients', limits, checksum: WORK_DONE })
      expect(report.limits).toMatchObject({ loopbackBytesPerSecond: ONE_RUN, localSocketBytesPerSecond: ONE_RUN })
      // What does not go up evenly is left out.
      expect(report.bytes).toBe(bytes - (bytes % 3))
      expect(report.ratio).toBeCloseTo(report.many.bytesPerSecond.p50 / report.one.bytesPerSecond.p50, 1)
      expect(Object.keys(report.memory)).toEqual(expect.arrayContaining(['client-1-of-1', 'client-3-of-3', 'chunkserver-3']))
      expect(readdirSync(scratch)).toEqual([])
    },
    WITHIN_MS,
  )

  test(
    'upload-tree copies a tree in and out and compares every file',
    async () => {
      const report = await bench('upload-tree', '--files', '45')
      const way = { perSecond: ONE_RUN, seconds: ONE_RUN, cpuSecondsPer1000: ONE_RUN }
      expect(report).toMatchObject({ ...HEAD, workload: 'upload-tree', files: 45, put: way, get: way, checksum: WORK_DONE })
      expect(report.bytes).toBeGreaterThan(45 * 1024)
    },
    WITHIN_MS,
  )

  test(
    'download-stream gets a file into a file and to nowhere, and compares it',
    async () => {
      const report = await bench('download-stream', '--bytes', '8MiB')
      const get = { bytesPerSecond: ONE_RUN, seconds: ONE_RUN, otherCpuShare: ONE_RUN }
      expect(report).toMatchObject({ ...HEAD, workload: 'download-stream', hot: get, discard: get, checksum: WORK_DONE })
      expect(report.limits).toMatchObject({ directReadBytesPerSecond: ONE_RUN })
      const { p50 } = report.limits.directReadBytesPerSecond
      expect(report.discardToDirectRead).toBeCloseTo(report.discard.bytesPerSecond.p50 / p50, 2)
    },
    WITHIN_MS,
  )

  test(
    'download-range reads ranges that begin anywhere and compares each with the source',
    async () => {
      const report = await bench('download-range', '--bytes', '8MiB', '--ranges', '10', '--range', '1000001')
      expect(report).toMatchObject({
        ...HEAD,
        workload: 'download-range',
        perSecond: ONE_RUN,
        ms: { count: 10 },
        checksum: WORK_DONE,
      })
    },
    WITHIN_MS,
  )

  test(
    'thousand-servers lets one of many servers die in virtual time, and all of its chunks get new copies',
    async () => {
      const report = await bench('thousand-servers')
      expect(report).toMatchObject({
        ...HEAD,
        workload: 'thousand-servers',
        servers: 40,
        chunks: 1600,
        masterCpuSecondsPerSecond: { idle: expect.any(Number), repairing: expect.any(Number) },
        // Of 4800 copies, each of 40 servers has as many, and those of one are made anew.
        repair: { copies: 120 },
        othersThatChangedState: 0,
      })
      expect(readdirSync(scratch)).toEqual([])
    },
    WITHIN_MS,
  )

  test(
    'scrub has three copies of everything read and finds them good',
    async () => {
      const report = await bench('scrub', '--bytes', '100MiB')
      expect(report).toMatchObject({ ...HEAD, workload: 'scrub', copies: 6, bytesPerSecond: ONE_RUN, checksum: WORK_DONE })
    },
    WITHIN_MS,
  )

  test(
    'repair-recovery kills a server, waits until all copies are back, and reads the file back',
    async () => {
      expect(await bench('repair-recovery', '--bytes', '32MiB')).toMatchObject({
        ...HEAD,
        parameters: { servers: 5, lost: 1 },
        workload: 'repair-recovery',
        bytesPerSecond: ONE_RUN,
        copiedBytes: ONE_RUN,
        secondsFromKillToHealthy: ONE_RUN,
      })
      expect(readdirSync(scratch)).toEqual([])
    },
    WITHIN_MS,
  )

  test('the same seed does the same work', async () => {
    const [one, other] = [await bench('commit-metadata', '--bytes', '1GiB'), await bench('commit-metadata', '--bytes', '1GiB')]
    expect(one.checksum).toEqual(other.checksum)
    expect((await bench('commit-metadata', '--bytes', '1GiB', '--seed', '2')).checksum).not.toEqual(one.checksum)
  })

  test.each([
    [['no-such-workload'], /there is no workload "no-such-workload"/],
    [['upload-stream', '--colour', 'red'], /there is no flag --colour/],
    [['upload-memory', '--source', 'socket'], /--source is one of pipe, file, both/],
    [['upload-stream', '--size', 'huge'], /--size is smoke or full/],
  ])('%j is refused with words', async (args, words) => {
    await expect(bench(...args)).rejects.toMatchObject({ code: 1, stdout: '', stderr: expect.stringMatching(words) })
  })
})

describe('figures', () => {
  test('medians and percentiles', () => {
    expect(median([3, 1, 2])).toBe(2)
    expect(median([4, 1, 2, 3])).toBe(2.5)
    const hundred = Array.from({ length: 100 }, (_, index) => 100 - index)
    expect(percentile(hundred, 0.5)).toBe(50)
    expect(percentile(hundred, 0.99)).toBe(99)
    expect(percentile([7], 0.99)).toBe(7)
  })

  test('memory over time keeps every peak, however few samples are printed', () => {
    const rss = Array.from({ length: 1000 }, (_, index) => (index === 777 ? 900 : 100) * MiB)
    const { firstHalfMaxBytes, secondHalfMaxBytes, samplesMiB } = memoryFigures(901 * MiB, rss)
    expect([firstHalfMaxBytes, secondHalfMaxBytes]).toEqual([100 * MiB, 900 * MiB])
    expect(samplesMiB).toHaveLength(60)
    expect(samplesMiB.filter((sample) => sample === 900)).toHaveLength(1)
  })
})
