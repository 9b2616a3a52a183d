/**
 * `npm run thrash -- [--minutes 30] [--seed N]`: a cluster under random faults, with clients whose every acknowledged byte is
 * checked. Progress goes to stderr; one JSON line to stdout at the end. Exits with 1 when anything was wrong, and keeps the
 * cluster's directory then.
 */
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { parseArgs } from 'node:util'
import { messageOf } from '../../common/errors/cairn-error.js'
import { KiB } from '../../common/units.js'
import { startCluster, type Cluster } from '../../testing/index.js'
import { ClientLoad } from '../support/client-load.js'
import { Thrasher } from './thrasher.js'

const CHUNKSERVERS = 6
const ZONES = 3
const DISKS = 2

async function main(): Promise<number> {
  const { values } = parseArgs({ options: { minutes: { type: 'string', default: '30' }, seed: { type: 'string' } } })
  const minutes = Number(values.minutes)
  const seed = values.seed === undefined ? Date.now() % 2 ** 31 : Number(values.seed)
  if (!(minutes > 0) || !Number.isInteger(seed)) throw new Error('--minutes takes a number above 0, --seed a whole number')
  const directory = mkdtempSync(path.join(tmpdir(), 'cairn-thrash-'))
  const say = (line: string): void => void process.stderr.write(`${line}\n`)
  say(`thrash: ${minutes} minutes, seed ${seed}, in ${directory}`)
  const cluster = await startCluster({
    chunkservers: CHUNKSERVERS,
    zones: ZONES,
    disks: DISKS,
    directory,
    timers: { suspectAfterMs: 2_000, deadAfterMs: 6_000, garbageGraceMs: 30_000 },
  })
  const thrasher = await thrash(cluster, { minutes, seed, say })
  await cluster.stop()
  process.stdout.write(`${JSON.stringify(report(thrasher, { minutes, seed }))}\n`)
  if (thrasher.violations.length === 0) {
    rmSync(directory, { recursive: true, force: true })
    return 0
  }
  for (const violation of thrasher.violations) say(`VIOLATION: ${violation}`)
  say(`Seed ${seed}. Data and logs are in ${directory}. Again: npm run thrash -- --minutes ${minutes} --seed ${seed}`)
  return 1
}

async function thrash(cluster: Cluster, options: ConstructorParameters<typeof Thrasher>[2]): Promise<Thrasher> {
  const load = ClientLoad.start(cluster.client, { seed: options.seed, workers: 4, sizeBytesMax: 768 * KiB, thinkMs: 10 })
  const thrasher = new Thrasher(cluster, load, options)
  await thrasher.run().catch((error: unknown) => thrasher.violate(messageOf(error)))
  // Whatever went wrong: what was acknowledged is looked at all the same.
  for (const violation of await load.finish()) thrasher.violate(violation)
  await thrasher.verifyCopies().catch((error: unknown) => thrasher.violate(messageOf(error)))
  return thrasher
}

function report(thrasher: Thrasher, run: { readonly minutes: number; readonly seed: number }): object {
  const failedByCode: Record<string, number> = {}
  for (const { code } of thrasher.load.failures) failedByCode[code] = (failedByCode[code] ?? 0) + 1
  return {
    thrash: run,
    faults: thrasher.faults,
    faultsTotal: Object.values(thrasher.faults).reduce((sum, count) => sum + count, 0),
    ...thrasher.load.figures,
    failedByCode,
    cleans: thrasher.cleans,
    longestSecondsToClean: Math.round(thrasher.longestCleanMs / 100) / 10,
    violations: thrasher.violations.length,
  }
}

main().then(
  (code) => process.exit(code),
  (error: unknown) => {
    process.stderr.write(`thrash: ${messageOf(error)}\n`)
    process.exit(1)
  },
)
