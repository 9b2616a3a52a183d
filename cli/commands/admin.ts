/** status, df, bucket, chunk. */
import Table from 'cli-table3'
import type { Command } from 'commander'
import type { CairnClient } from '../../client/index.js'
import { parseChunkId } from '../../common/ids.js'
import { parseBucketName } from '../../common/path-name.js'
import type { ClusterStatus, ServerInfo } from '../../common/protocol/admin.js'
import { CAPABILITY_HEADER, chunkLocation, chunkPath } from '../../common/protocol/chunk-data.js'
import { HttpTransport } from '../../common/rpc/http/http-transport.js'
import { DAY_MS, formatDuration, formatSize, parseDuration, parseSize } from '../../common/units.js'
import { addGlobalOptions, print, withClient, type GlobalOptions } from '../context.js'
import { wholeNumber } from './transfer.js'

interface BucketFlags extends GlobalOptions {
  readonly replicas?: number
  readonly minReplicas?: number
  readonly chunkSize?: number
  readonly trash?: number
}

const LOCATE_TIMEOUT_MS = 5_000

export function registerAdmin(program: Command): void {
  addGlobalOptions(program.command('status'))
    .description('servers, chunk health, repair and jobs')
    .action((flags: GlobalOptions) => withClient(flags, (client) => status(client, flags)))
  addGlobalOptions(program.command('df'))
    .description('space: what the disks have and what takes it')
    .action((flags: GlobalOptions) => withClient(flags, (client) => space(client, flags)))
  const chunk = program.command('chunk').description('look at single chunks')
  addGlobalOptions(chunk.command('locate <id>'))
    .description('where the copies of a chunk lie, file by file')
    .action((id: string, flags: GlobalOptions) => withClient(flags, (client) => locate(client, id, flags)))
  registerBucket(program)
}

function registerBucket(program: Command): void {
  const bucket = program.command('bucket').description('buckets and their policy')
  const policy = (command: Command): Command =>
    addGlobalOptions(command)
      .option('--replicas <n>', 'wanted copies', wholeNumber(1, 16))
      .option('--min-replicas <n>', 'synced copies that a commit needs', wholeNumber(1, 16))
      .option('--chunk-size <size>', 'largest chunk', parseSize)
      .option('--trash <time>', 'how long deleted files can be brought back, for example 3d', parseDuration)
  const set = (name: string, flags: BucketFlags): Promise<void> =>
    withClient(flags, async (client) => {
      const body = {
        replicas: flags.replicas,
        minReplicas: flags.minReplicas,
        chunkSizeBytes: flags.chunkSize,
        trashDays: flags.trash === undefined ? undefined : flags.trash / DAY_MS,
      }
      const given = Object.fromEntries(Object.entries(body).filter(([, value]) => value !== undefined))
      showBucket(await client.api.call('putBucket', { params: { bucket: parseBucketName(name) }, body: given }), flags)
    })
  policy(bucket.command('create <name>')).description('make a bucket (the first put does it too)').action(set)
  policy(bucket.command('set <name>')).description('change the policy for files written from now on').action(set)
  addGlobalOptions(bucket.command('show <name>'))
    .description('show the policy')
    .action((name: string, flags: BucketFlags) =>
      withClient(flags, async (client) => showBucket(await client.api.call('getBucket', { params: { bucket: name } }), flags)),
    )
  addGlobalOptions(bucket.command('rm <name>'))
    .description('remove an empty bucket')
    .action((name: string, flags: BucketFlags) =>
      withClient(flags, async (client) => {
        const removed = await client.api.call('deleteBucket', { params: { bucket: name } })
        print(flags, removed, () => `removed bucket ${removed.name}`)
      }),
    )
}

function showBucket(
  bucket: { name: string; replicas: number; minReplicas: number; chunkSizeBytes: number; trashDays: number },
  flags: GlobalOptions,
): void {
  print(
    flags,
    bucket,
    () =>
      `/${bucket.name}/  ${bucket.replicas} copies (commit needs ${bucket.minReplicas})  chunks of ${formatSize(bucket.chunkSizeBytes)}  trash ${bucket.trashDays} days`,
  )
}

async function status(client: CairnClient, flags: GlobalOptions): Promise<void> {
  const { servers, nextServer, ...rest } = await client.api.call('getStatus', {})
  const all: ServerInfo[] = [...servers]
  for (let after = nextServer; after !== null;) {
    const page = await client.api.call('listServers', { query: { after } })
    all.push(...page.servers)
    after = page.next
  }
  const json = {
    servers: all.map(({ id, state, zone, url, usedBytes, freeBytes, chunks }) => ({
      id,
      state,
      zone,
      url,
      usedBytes,
      freeBytes,
      chunks,
    })),
    ...rest,
  }
  print(flags, json, () => statusText(all, rest))
}

function statusText(servers: readonly ServerInfo[], rest: Omit<ClusterStatus, 'servers' | 'nextServer'>): string {
  const table = new Table({
    head: ['server', 'state', 'zone', 'address', 'used', 'free', 'chunks'],
    style: { head: [], border: [] },
  })
  for (const server of servers) {
    table.push([
      server.id.slice(0, 8),
      server.state,
      server.zone,
      server.url,
      formatSize(server.usedBytes),
      formatSize(server.freeBytes),
      server.chunks,
    ])
  }
  const { chunks, repair, jobs } = rest
  const eta = repair.etaSeconds === null ? '' : `, about ${formatDuration(repair.etaSeconds * 1000)} left`
  const lines = [
    table.toString(),
    `chunks   ${chunks.total}: ${chunks.healthy} healthy, ${chunks.underReplicated} under-replicated, ${chunks.unavailable} unavailable`,
    `repair   ${repair.speed}: ${repair.queued} queued, ${repair.active} active, ${formatSize(repair.bytesPerSecond)}/s${eta}${repair.brake ? `\n         held back: ${repair.brake}` : ''}`,
    ...(repair.queued + repair.active > 0
      ? [
          `         ${formatSize(repair.progress.copiedBytes)} copied, ${formatSize(repair.progress.remainingBytes)} left; ${classesText(repair.classes)}`,
        ]
      : []),
    ...(repair.failing > 0 ? [`         ${repair.failing} chunks cannot be helped for now: cairn repair failing`] : []),
    ...jobs
      .filter((job) => job.state === 'running')
      .map((job) => `job      ${job.kind} ${job.from}${job.to ? ` to ${job.to}` : ''}: ${job.processed} files`),
  ]
  return lines.join('\n')
}

const classesText = (classes: ClusterStatus['repair']['classes']): string =>
  [
    [classes.lastCopy, 'with one copy'],
    [classes.belowGoal, 'below goal'],
    [classes.leaving, 'on draining servers'],
    [classes.misplaced, 'too close together'],
    [classes.waiting, 'waiting for a server'],
  ]
    .filter(([chunks]) => chunks !== 0)
    .map(([chunks, what]) => `${chunks} ${what}`)
    .join(', ')

async function space(client: CairnClient, flags: GlobalOptions): Promise<void> {
  const use = await client.api.call('getSpace', {})
  print(flags, use, () =>
    [
      `disks         ${formatSize(use.totalBytes)}, ${formatSize(use.usedBytes)} used by chunks, ${formatSize(use.freeBytes)} free for more`,
      `files         ${use.files}, ${formatSize(use.fileBytes)}`,
      `of it         ${formatSize(use.liveBytes)} in files, ${formatSize(use.openUploadBytes)} in open uploads, ${formatSize(use.trashBytes)} in the trash, ${formatSize(use.garbageBytes)} on its way out (all copies counted)`,
    ].join('\n'),
  )
}

async function locate(client: CairnClient, id: string, flags: GlobalOptions): Promise<void> {
  const chunkId = parseChunkId(id)
  const chunk = await client.api.call('getChunk', { params: { chunkId } })
  const transport = new HttpTransport()
  try {
    const places = await Promise.all(
      chunk.replicas.map(async (replica) => {
        const place = await askPlace(transport, `${replica.url}${chunkPath(chunkId)}/location`, chunk.capability)
        return place ? [{ server: replica.serverId, ...place }] : []
      }),
    )
    const found = places.flat()
    print(
      flags,
      found,
      () =>
        found.map((place) => `${place.server}  ${place.file}  offset ${place.offset}  ${place.lengthBytes} bytes`).join('\n') ||
        'no server that answers has a copy',
    )
  } finally {
    await transport.close()
  }
}

/** Where a server has the chunk; undefined when it does not answer or has none. */
async function askPlace(transport: HttpTransport, url: string, capability: string) {
  try {
    const answer = await transport.call({
      method: 'GET',
      url,
      headers: { [CAPABILITY_HEADER]: capability },
      timeoutMs: LOCATE_TIMEOUT_MS,
    })
    return answer.status === 200 ? chunkLocation.parse(JSON.parse(new TextDecoder().decode(answer.body))) : undefined
  } catch {
    return undefined
  }
}
