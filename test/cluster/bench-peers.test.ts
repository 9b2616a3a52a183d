/** The comparison with other systems still runs. Peers are not fetched here: what is shown is that it goes on without them. */
import { afterAll, beforeAll, expect, test } from '@jest/globals'
import { execFile, execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdirSync, mkdtempSync, readFileSync, readdirSync, rmSync, symlinkSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { MiB } from '../../common/units.js'

const PEERS = fileURLToPath(new URL('../../bench/peers/main.js', import.meta.url))
const WITHIN_MS = 180_000
const TINY = [
  '--size',
  'smoke',
  '--bytes',
  '8MiB',
  '--clients',
  '2',
  '--clientBytes',
  '2MiB',
  '--files',
  '20',
  '--limitBytes',
  '4MiB',
]

let scratch: string
let env: NodeJS.ProcessEnv
let args: readonly string[]

beforeAll(() => {
  scratch = mkdtempSync(path.join(tmpdir(), 'cairn-test-'))
  // A machine without apt-get, Go, Maven and Java.
  const programs = path.join(scratch, 'bin')
  mkdirSync(programs)
  mkdirSync(path.join(scratch, 'work'))
  for (const name of ['setpriv', 'sync'])
    symlinkSync(execFileSync('which', [name], { encoding: 'utf8' }).trim(), path.join(programs, name))
  env = { ...process.env, PATH: programs, XDG_CACHE_HOME: path.join(scratch, 'cache') }
  args = [PEERS, ...TINY, '--dir', path.join(scratch, 'work')]
})

afterAll(() => {
  rmSync(scratch, { recursive: true, force: true })
})

// eslint-disable-next-line @typescript-eslint/no-explicit-any -- tests look into many shapes
async function reportOf(...more: string[]): Promise<any> {
  const { stdout } = await promisify(execFile)(process.execPath, [...args, ...more], { env, maxBuffer: 16 * MiB })
  return JSON.parse(stdout.split('\n')[0] as string)
}

test(
  'this project is measured when no peer can be had, each of which is named with the reason',
  async () => {
    const results = path.join(scratch, 'results')
    const samples = path.join(scratch, 'samples')
    const report = await reportOf('--results', results, '--samples', samples)
    expect(report).toMatchObject({ bench: 'peers', rounds: 1 })
    expect(report.unavailable.map(({ system, round }: { system: string; round: number }) => [system, round])).toEqual([
      ['moosefs', 1],
      ['minio', 1],
      ['hdfs', 1],
    ])
    expect(report.unavailable[0].reason).toMatch(/Debian's packages .* could not be fetched/)
    const workloads = Object.keys(report.workloads).filter((name) => name !== 'download-cold')
    expect(workloads).toEqual([
      'upload-one',
      'download-hot',
      'upload-16',
      'small-put',
      'small-stat',
      'small-get',
      'metadata-create',
      'metadata-stat',
    ])
    expect(report.workloads['small-put'].systems).toMatchObject({
      cairn: { rate: { runs: [expect.any(Number)] } },
      'cairn-http': {},
    })
    expect(readFileSync(`${results}.svg`, 'utf8')).toMatch(/^<svg /)
    expect(readFileSync(`${results}.md`, 'utf8')).toMatch(/^\| workload \| Cairn \| Cairn over HTTP \|/)
    expect(readdirSync(path.join(scratch, 'work'))).toEqual([])
    // Another piece of the same run: its round comes on top.
    const again = await reportOf('--samples', samples, '--systems', 'cairn', '--steps', 'metadata')
    expect(again.rounds).toBe(2)
    expect(again.workloads['metadata-stat'].systems.cairn.rate.runs).toHaveLength(2)
    expect(again.workloads['upload-one'].systems.cairn.rate.runs).toHaveLength(1)
  },
  WITHIN_MS,
)

test(
  'an interrupted run leaves no process and no file behind',
  async () => {
    const child = spawn(process.execPath, [...args, '--systems', 'cairn'], { env, stdio: ['ignore', 'ignore', 'pipe'] })
    const exited = once(child, 'exit')
    let said = ''
    for await (const piece of child.stderr as AsyncIterable<Buffer>) {
      said += piece.toString()
      // Again and again: an impatient user must not leave more behind than a patient one.
      if (said.includes('upload-one')) child.kill('SIGINT')
    }
    expect(await exited).toEqual([1, null])
    expect(readdirSync(path.join(scratch, 'work'))).toEqual([])
    const left = execFileSync('ps', ['-eo', 'args'], { encoding: 'utf8' })
      .split('\n')
      .filter((line) => line.includes(scratch))
    expect(left).toEqual([])
  },
  WITHIN_MS,
)

test.each([
  [['--systems', 'cairn,ceph'], /--systems are of cairn, moosefs, minio, hdfs, not ceph/],
  [['--steps', 'all'], /--steps are of one, many, small, metadata, not all/],
  [['--colour', 'red'], /there is no flag --colour/],
])('%j is refused with words', async (more, words) => {
  const run = promisify(execFile)(process.execPath, [...args, ...more], { env })
  await expect(run).rejects.toMatchObject({ code: 1, stdout: '', stderr: expect.stringMatching(words) })
})
