/** ls, stat, rm, mv, cp, undelete. */
import type { Command } from 'commander'
import type { CairnClient, FileInfo, ListEntry } from '../../client/index.js'
import { SystemClock } from '../../common/clock/system-clock.js'
import { sleep } from '../../common/clock/clock.js'
import { CairnError, isCairnError } from '../../common/errors/cairn-error.js'
import type { JobInfo } from '../../common/protocol/admin.js'
import type { ChunkEntry } from '../../common/protocol/files.js'
import { formatSize } from '../../common/units.js'
import { addGlobalOptions, print, say, withClient, type GlobalOptions } from '../context.js'

interface NamespaceFlags extends GlobalOptions {
  readonly long?: boolean
  readonly recursive?: boolean
  readonly purge?: boolean
  readonly force?: boolean
}

const JOB_POLL_MS = 200
const clock = new SystemClock()

export function registerNamespace(program: Command): void {
  addGlobalOptions(program.command('ls [path]'))
    .description('list buckets, or what is under a path')
    .option('-l, --long', 'sizes, generations and times too')
    .option('-r, --recursive', 'everything below, not one level')
    .action((path: string | undefined, flags: NamespaceFlags) => withClient(flags, (client) => list(client, path ?? '/', flags)))
  addGlobalOptions(program.command('stat <path>'))
    .description('what is stored at a path, chunk by chunk')
    .action((path: string, flags: NamespaceFlags) => withClient(flags, (client) => stat(client, path, flags)))
  addGlobalOptions(program.command('rm <path>'))
    .description('move a file to the trash')
    .option('-r, --recursive', 'everything under the path')
    .option('--purge', 'for good, without the trash')
    .action((path: string, flags: NamespaceFlags) => withClient(flags, (client) => remove(client, path, flags)))
  for (const name of ['mv', 'cp'] as const) {
    addGlobalOptions(program.command(`${name} <from> <to>`))
      .description(name === 'mv' ? 'rename a file' : 'copy a file inside the cluster; no bytes move')
      .option('-f, --force', 'replace what is at the target')
      .option('-r, --recursive', 'everything under the path')
      .action((from: string, to: string, flags: NamespaceFlags) =>
        withClient(flags, (client) => transfer(client, name, from, to, flags)),
      )
  }
  addGlobalOptions(program.command('undelete <path>'))
    .description('bring the newest deleted file of this path back from the trash')
    .action((path: string, flags: NamespaceFlags) =>
      withClient(flags, async (client) => {
        const file = await client.undelete(path)
        print(flags, brief(file), () => `undeleted ${file.path}  generation ${file.generation}`)
      }),
    )
}

const brief = (file: FileInfo) => ({
  path: file.path,
  generation: file.generation,
  sizeBytes: file.sizeBytes,
  checksum: file.checksum,
})

const asDirectory = (path: string): string => (path.endsWith('/') ? path : `${path}/`)

async function list(client: CairnClient, path: string, flags: NamespaceFlags): Promise<void> {
  if (path === '/') return listBuckets(client, flags)
  let count = 0
  for await (const entry of client.list(asDirectory(path), flags.recursive ? {} : { delimiter: '/' })) {
    printEntry(entry, flags)
    count += 1
  }
  if (count > 0) return
  if (path.indexOf('/', 1) > 0 && !path.endsWith('/')) {
    const file = await client.stat(path)
    printEntry({ kind: 'file', ...brief(file), modifiedMs: file.modifiedMs }, flags)
  } else if (/^\/[^/]+\/?$/.test(path)) {
    // An empty bucket lists as nothing; one that does not exist is an error.
    await client.api.call('getBucket', { params: { bucket: path.replaceAll('/', '') } })
  } else {
    throw new CairnError('FILE_NOT_FOUND', `There is nothing under ${path}.`)
  }
}

async function listBuckets(client: CairnClient, flags: NamespaceFlags): Promise<void> {
  for (let after: string | undefined; ;) {
    const page = await client.api.call('listBuckets', { query: after === undefined ? {} : { after } })
    for (const bucket of page.buckets) {
      print(flags, { kind: 'bucket', ...bucket }, () =>
        flags.long
          ? `${bucket.replicas} copies  chunks of ${formatSize(bucket.chunkSizeBytes)}  /${bucket.name}/`
          : `/${bucket.name}/`,
      )
    }
    if (page.next === null) return
    after = page.next
  }
}

function printEntry(entry: ListEntry, flags: NamespaceFlags): void {
  print(flags, entry, () => {
    if (!flags.long) return entry.path
    if (entry.kind === 'prefix') return `${'-'.padStart(12)}  ${''.padEnd(24)}  ${entry.path}`
    return `${formatSize(entry.sizeBytes).padStart(12)}  ${new Date(entry.modifiedMs).toISOString()}  ${entry.path}`
  })
}

async function stat(client: CairnClient, path: string, flags: NamespaceFlags): Promise<void> {
  const file = await client.stat(path)
  const chunks: ChunkEntry[] = []
  for (let from: number | null = 0; from !== null;) {
    const page: { chunks: ChunkEntry[]; next: number | null } = await client.api.call('listManifestChunks', {
      params: { manifestId: file.manifestId },
      query: { from, limit: 1000 },
    })
    chunks.push(...page.chunks)
    from = page.next
  }
  const json = {
    path: file.path,
    generation: file.generation,
    sizeBytes: file.sizeBytes,
    chunkSizeBytes: file.chunkSizeBytes,
    checksum: file.checksum,
    replicas: file.replicas,
    chunks: chunks.map(({ index, id, sizeBytes, root, replicas }) => ({ index, id, sizeBytes, root, replicas })),
  }
  print(flags, json, () =>
    [
      `${file.path}`,
      `  generation  ${file.generation}`,
      `  size        ${file.sizeBytes} (${formatSize(file.sizeBytes)}) in ${file.chunkCount} chunks of up to ${formatSize(file.chunkSizeBytes)}`,
      `  checksum    ${file.checksum}`,
      `  copies      ${file.replicas} wanted`,
      `  modified    ${new Date(file.modifiedMs).toISOString()}`,
      ...chunks.map(
        (chunk) =>
          `  chunk ${String(chunk.index).padStart(5)}  ${chunk.id}  ${formatSize(chunk.sizeBytes).padStart(9)}  on ${chunk.replicas.map((id) => id.slice(0, 8)).join(' ') || 'no live server'}`,
      ),
    ].join('\n'),
  )
}

async function remove(client: CairnClient, path: string, flags: NamespaceFlags): Promise<void> {
  if (flags.recursive) {
    const job = await client.api.call('createJob', {
      body: { kind: 'delete-prefix', from: asDirectory(path), purge: flags.purge ?? false },
    })
    return waitForJob(client, job, flags, 'removed')
  }
  const removed = await client.delete(path, { purge: flags.purge ?? false })
  print(flags, removed, () => `removed ${removed.path}${flags.purge ? ' for good' : '; cairn undelete brings it back'}`)
}

async function transfer(client: CairnClient, name: 'mv' | 'cp', from: string, to: string, flags: NamespaceFlags): Promise<void> {
  if (flags.recursive) {
    const kind = name === 'mv' ? 'rename-prefix' : 'copy-prefix'
    const job = await client.api.call('createJob', {
      body: { kind, from: asDirectory(from), to: asDirectory(to), overwrite: flags.force ?? false },
    })
    return waitForJob(client, job, flags, name === 'mv' ? 'renamed' : 'copied')
  }
  const target = to.endsWith('/') ? to + from.slice(from.lastIndexOf('/') + 1) : to
  const options = { precondition: { kind: flags.force ? 'none' : 'absent' } as const }
  try {
    const file = name === 'mv' ? await client.rename(from, target, options) : await client.copy(from, target, options)
    print(
      flags,
      brief(file),
      () => `${name === 'mv' ? 'renamed' : 'copied'} ${from} to ${file.path}  generation ${file.generation}`,
    )
  } catch (error) {
    if (!isCairnError(error, 'ALREADY_EXISTS')) throw error
    throw new CairnError('ALREADY_EXISTS', `${error.message.split('.')[0]}. Use --force to replace it.`, {
      cause: error,
      ...(error.requestId === undefined ? {} : { requestId: error.requestId }),
    })
  }
}

/** Jobs run in the master; leaving does not stop them. */
async function waitForJob(client: CairnClient, created: JobInfo, flags: NamespaceFlags, verb: string): Promise<void> {
  let job = created
  while (job.state === 'running') {
    await sleep(clock, JOB_POLL_MS)
    job = await client.api.call('getJob', { params: { jobId: job.id } })
    if (process.stderr.isTTY && !flags.json) process.stderr.write(`\r${verb} ${job.processed} files…`)
  }
  if (process.stderr.isTTY && !flags.json) say('')
  if (job.state === 'failed') throw new CairnError('INTERNAL', `The job failed: ${job.error ?? 'unknown'}`)
  if (job.processed + job.skipped === 0) throw new CairnError('FILE_NOT_FOUND', `There is nothing under ${job.from}.`)
  print(
    flags,
    job,
    () =>
      `${verb} ${job.processed} files${job.skipped > 0 ? `; ${job.skipped} left, because something stands at their target` : ''}`,
  )
}
