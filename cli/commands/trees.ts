/** Whole directories: put -r and get -r. Runs again where it stopped: what is already there with the same content is skipped. */
import path from 'node:path'
import { localChecksum, type CairnClient, type FileInfo, type UploadOptions } from '../../client/index.js'
import { NodeDisk } from '../../common/disk/node-disk.js'
import { SystemClock } from '../../common/clock/system-clock.js'
import { CairnError, isCairnError } from '../../common/errors/cairn-error.js'
import { Semaphore } from '../../common/flow/semaphore.js'
import { formatSize } from '../../common/units.js'
import { print, say, withClient, type GlobalOptions } from '../context.js'

const FILES_AT_ONCE = 4
const disk = new NodeDisk()
const clock = new SystemClock()

interface Tally {
  files: number
  skipped: number
  sizeBytes: number
}

interface TreeFlags extends GlobalOptions {
  readonly concurrency?: number | undefined
}

export async function putTree(local: string, target: string, flags: TreeFlags, options: UploadOptions): Promise<void> {
  const root = await disk.stat(local)
  if (!root) throw new CairnError('LOCAL_FILE_NOT_FOUND', `There is no local directory ${local}.`)
  if (root.kind !== 'directory') throw new CairnError('USAGE', `${local} is not a directory. Leave -r out.`)
  const prefix = target.endsWith('/') ? target : `${target}/`
  await withClient(flags, async (client, signal) => {
    const startedMs = clock.monotonic()
    const tally = await overAll(walk(local), async (file) => {
      const remote = prefix + path.relative(local, file).split(path.sep).join('/')
      const sameThere = options.precondition?.kind === 'absent' ? undefined : await unchanged(client, file, remote)
      if (sameThere) return { skipped: true, sizeBytes: sameThere.sizeBytes }
      const put = await client.uploadFile(file, remote, { ...options, signal })
      if (!flags.json) say(`put ${put.path}`)
      return { skipped: false, sizeBytes: put.sizeBytes }
    })
    report(flags, { path: prefix, ...tally, seconds: seconds(startedMs) })
  })
}

export async function getTree(source: string, local: string, flags: TreeFlags): Promise<void> {
  const prefix = source.endsWith('/') ? source : `${source}/`
  await withClient(flags, async (client, signal) => {
    const startedMs = clock.monotonic()
    const tally = await overAll(client.list(prefix, { signal }), async (entry) => {
      const target = path.join(local, ...entry.path.slice(prefix.length).split('/'))
      const file = await client.stat(entry.path, signal)
      if (await isLocal(target, file)) return { skipped: true, sizeBytes: file.sizeBytes }
      await disk.makeDirectory(path.dirname(target))
      await client.downloadFile(entry.path, target, { signal, concurrency: flags.concurrency })
      if (!flags.json) say(`got ${entry.path}`)
      return { skipped: false, sizeBytes: file.sizeBytes }
    })
    if (tally.files === 0) throw new CairnError('FILE_NOT_FOUND', `There is nothing under ${prefix}.`)
    report(flags, { path: prefix, ...tally, seconds: seconds(startedMs) })
  })
}

const seconds = (startedMs: number): number => Math.round(clock.monotonic() - startedMs) / 1000

function report(flags: GlobalOptions, result: Tally & { readonly path: string; readonly seconds: number }): void {
  print(
    flags,
    result,
    () => `${result.files} files (${result.skipped} unchanged), ${formatSize(result.sizeBytes)} in ${result.seconds} s`,
  )
}

/** Runs `work` over all items, some at once. The first failure stops the taking of further ones and is thrown. */
async function overAll<T>(
  items: AsyncIterable<T>,
  work: (item: T) => Promise<{ skipped: boolean; sizeBytes: number }>,
): Promise<Tally> {
  const tally: Tally = { files: 0, skipped: 0, sizeBytes: 0 }
  const slots = new Semaphore(FILES_AT_ONCE)
  const running = new Set<Promise<void>>()
  let failure: { readonly error: unknown } | undefined
  for await (const item of items) {
    const permit = await slots.acquire()
    if (failure) break
    const one = work(item)
      .then(({ skipped, sizeBytes }) => {
        tally.files += 1
        tally.skipped += skipped ? 1 : 0
        tally.sizeBytes += sizeBytes
      })
      .catch((error: unknown) => void (failure ??= { error }))
      .finally(() => {
        permit.release()
        running.delete(one)
      })
    running.add(one)
  }
  await Promise.all(running)
  if (failure) throw failure.error
  return tally
}

async function* walk(directory: string): AsyncGenerator<string> {
  const entries = await disk.list(directory)
  for (const entry of entries.sort((one, other) => (one.name < other.name ? -1 : 1))) {
    const file = path.join(directory, entry.name)
    if (entry.kind === 'directory') yield* walk(file)
    else if (entry.kind === 'file') yield file
    else say(`cairn: ${file} is neither file nor directory, left out`)
  }
}

async function unchanged(client: CairnClient, local: string, remote: string): Promise<FileInfo | undefined> {
  try {
    const file = await client.stat(remote)
    return (await isLocal(local, file)) ? file : undefined
  } catch (error) {
    if (isCairnError(error, 'FILE_NOT_FOUND')) return undefined
    throw error
  }
}

/** Whether the local file has the remote one's content. */
async function isLocal(local: string, file: FileInfo): Promise<boolean> {
  const stat = await disk.stat(local)
  if (stat?.kind !== 'file' || stat.sizeBytes !== file.sizeBytes) return false
  return (await localChecksum(disk, local, file.chunkSizeBytes)) === file.checksum
}
