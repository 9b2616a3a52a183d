/** doctor: looks at what usually goes wrong, and says what to do. */
import { existsSync } from 'node:fs'
import path from 'node:path'
import type { Command } from 'commander'
import { BlockPool } from '../../common/bytes/block-pool.js'
import { SystemClock } from '../../common/clock/system-clock.js'
import { NodeDisk } from '../../common/disk/node-disk.js'
import { messageOf, toCairnError } from '../../common/errors/cairn-error.js'
import type { ClusterStatus } from '../../common/protocol/admin.js'
import { HttpTransport } from '../../common/rpc/http/http-transport.js'
import { formatSize } from '../../common/units.js'
import { addGlobalOptions, mastersOf, print, withClient, type GlobalOptions } from '../context.js'

interface DoctorFlags extends GlobalOptions {
  readonly dir?: string
}

interface Check {
  readonly name: string
  readonly state: 'ok' | 'warning' | 'failed'
  readonly message: string
}

const ok = (name: string, message: string): Check => ({ name, state: 'ok', message })
const warning = (name: string, message: string): Check => ({ name, state: 'warning', message })
const failed = (name: string, message: string): Check => ({ name, state: 'failed', message })

const PROBE_TIMEOUT_MS = 3_000
const LOW_SPACE_SHARE = 0.1
const NODE_MAJOR_MIN = 20

export function registerDoctor(program: Command): void {
  addGlobalOptions(program.command('doctor'))
    .description('check this machine and the cluster, and say what to do about what is wrong')
    .option('--dir <dir>', 'also check a directory as a place for chunks')
    .action((flags: DoctorFlags) => doctor(flags))
}

async function doctor(flags: DoctorFlags): Promise<void> {
  const checks: Check[] = [nodeVersion(), await nativeAddon(), ...(await directory(flags.dir)), ...(await cluster(flags))]
  const marks = { ok: '  ok      ', warning: '  warning ', failed: '  FAILED  ' }
  const fine = checks.every((check) => check.state !== 'failed')
  print(flags, { ok: fine, checks }, () =>
    checks.map((check) => `${marks[check.state]}${check.name}: ${check.message}`).join('\n'),
  )
  if (!fine) process.exitCode = 1
}

function nodeVersion(): Check {
  const major = Number(process.versions.node.split('.')[0])
  if (major < NODE_MAJOR_MIN) return failed('node', `${process.versions.node} is too old; install ${NODE_MAJOR_MIN}.19 or later.`)
  return ok('node', process.versions.node)
}

async function nativeAddon(): Promise<Check> {
  try {
    const { default: Database } = await import('better-sqlite3')
    new Database(':memory:').close()
    return ok('sqlite', 'the native addon loads')
  } catch (error) {
    return failed('sqlite', `the native addon does not load (${messageOf(error)}). Run: npm run setup`)
  }
}

async function directory(dir: string | undefined): Promise<Check[]> {
  if (dir === undefined) return []
  if (!existsSync(dir)) return [failed('directory', `${dir} does not exist.`)]
  const disk = new NodeDisk()
  const clock = new SystemClock()
  const probe = path.join(dir, `.cairn-doctor-${process.pid}`)
  try {
    const file = await disk.openFile(probe, { mode: 'create', direct: true })
    const block = await new BlockPool(1, 4096).acquire()
    const startedMs = clock.monotonic()
    await file.write(block.bytes, 0)
    await file.sync()
    const tookMs = clock.monotonic() - startedMs
    const { direct } = file
    await file.close()
    await disk.remove(probe)
    const space = await disk.space(dir)
    return [
      direct
        ? ok('direct I/O', `${dir} takes it`)
        : warning('direct I/O', `${dir} does not take it; chunks go through the page cache, which costs speed.`),
      ok('sync', `a synced write of 4 KiB takes ${tookMs.toFixed(1)} ms`),
      space.freeBytes < space.totalBytes * LOW_SPACE_SHARE
        ? warning('space', `${formatSize(space.freeBytes)} free of ${formatSize(space.totalBytes)}`)
        : ok('space', `${formatSize(space.freeBytes)} free of ${formatSize(space.totalBytes)}`),
    ]
  } catch (error) {
    return [failed('directory', `${dir} cannot be written to (${messageOf(error)}).`)]
  }
}

async function cluster(flags: DoctorFlags): Promise<Check[]> {
  const transport = new HttpTransport()
  try {
    const checks: Check[] = []
    for (const master of mastersOf(flags)) checks.push(await reachable(transport, master))
    if (!checks.some((check) => check.state === 'ok')) return checks
    try {
      const status = await withClient(flags, (client) => client.api.call('getStatus', {}))
      return [...checks, ok('token', 'the master accepts it'), ...health(status), ...(await servers(transport, status))]
    } catch (error) {
      return [...checks, failed('token', toCairnError(error).message)]
    }
  } finally {
    await transport.close()
  }
}

async function reachable(transport: HttpTransport, master: string): Promise<Check> {
  try {
    const answer = await transport.call({ method: 'GET', url: `${master}/readyz`, timeoutMs: PROBE_TIMEOUT_MS })
    return answer.status === 200
      ? ok('master', `${master} is ready`)
      : failed('master', `${master} answers ${answer.status}: it is starting, stopping, or no Cairn master.`)
  } catch (error) {
    return failed(
      'master',
      `${master} does not answer (${messageOf(error)}) Start it (cairn up --dir DIR), or correct --master / CAIRN_MASTER.`,
    )
  }
}

function health(status: ClusterStatus): Check[] {
  const { chunks, repair, servers: list } = status
  const serving = list.filter((server) => server.state === 'serving')
  const counts = `${serving.length} of ${list.length} chunkservers are serving`
  return [
    serving.length === list.length && list.length > 0
      ? ok('chunkservers', counts)
      : serving.length < 2
        ? failed('chunkservers', `${counts}. Writes need at least two; start more.`)
        : warning('chunkservers', counts),
    chunks.unavailable > 0
      ? failed('chunks', `${chunks.unavailable} of ${chunks.total} chunks have no live copy. Start the servers that hold them.`)
      : chunks.underReplicated > 0
        ? warning(
            'chunks',
            `${chunks.underReplicated} of ${chunks.total} chunks lack copies${repair.brake ? `; repair is held back: ${repair.brake}` : '; repair is at it'}`,
          )
        : ok('chunks', `all ${chunks.total} have their copies`),
    ...list
      .filter((server) => server.freeBytes < (server.freeBytes + server.usedBytes) * LOW_SPACE_SHARE)
      .map((server) => warning('space', `${server.id.slice(0, 8)} at ${server.url} has ${formatSize(server.freeBytes)} left`)),
  ]
}

/** Reads and writes go straight to chunkservers, so this machine must reach them too. */
async function servers(transport: HttpTransport, status: ClusterStatus): Promise<Check[]> {
  const serving = status.servers.filter((server) => server.state === 'serving')
  const answers = await Promise.all(
    serving.map(async (server) => {
      const answer = await transport
        .call({ method: 'GET', url: `${server.url}/livez`, timeoutMs: PROBE_TIMEOUT_MS })
        .catch(() => undefined)
      return answer?.status === 200
        ? undefined
        : failed(
            'network',
            `${server.url} (${server.id.slice(0, 8)}) cannot be reached from here. Open its port, or give it an --advertise URL that works here.`,
          )
    }),
  )
  const unreachable = answers.filter((check) => check !== undefined)
  return unreachable.length > 0 || serving.length === 0
    ? unreachable
    : [ok('network', 'all serving chunkservers can be reached from here')]
}
