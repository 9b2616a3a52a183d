/** verify: reads every copy of files where it lies, and says which are bad. */
import type { Command } from 'commander'
import type { CairnClient, CheckedCopy, CopyOutcome, FileInfo } from '../../client/index.js'
import { SystemClock } from '../../common/clock/system-clock.js'
import { CairnError, isCairnError } from '../../common/errors/cairn-error.js'
import { formatSize } from '../../common/units.js'
import { addGlobalOptions, print, say, withClient, type GlobalOptions } from '../context.js'
import { progressDisplay, type ProgressDisplay } from '../progress.js'

interface VerifyFlags extends GlobalOptions {
  readonly all?: boolean
  readonly recursive?: boolean
}

const clock = new SystemClock()
/** Of the copies found bad, so many are named; all are counted. */
const NAMED_MAX = 1000

interface Tally {
  files: number
  chunks: number
  copies: number
  sizeBytes: number
  readonly outcomes: Record<CopyOutcome, number>
  /** Chunks of which no copy is good. */
  lost: number
  readonly findings: CheckedCopy[]
}

export function registerVerify(program: Command): void {
  addGlobalOptions(program.command('verify [path]'))
    .description(
      'read every copy of a file from its disk and check each leaf; bad copies are set aside and rebuilt. Exit code 6 when any is bad',
    )
    .option('--all', 'all files')
    .option('-r, --recursive', 'everything under the path')
    .action((path: string | undefined, flags: VerifyFlags) => verify(path, flags))
}

async function verify(path: string | undefined, flags: VerifyFlags): Promise<void> {
  if ((path === undefined) === !flags.all) throw new CairnError('USAGE', 'Name a path to verify, or --all.')
  await withClient(flags, async (client, signal) => {
    const startedMs = clock.monotonic()
    const progress = progressDisplay(clock, 'verify', flags.json === true)
    const tally: Tally = {
      files: 0,
      chunks: 0,
      copies: 0,
      sizeBytes: 0,
      outcomes: { good: 0, corrupt: 0, missing: 0, unreachable: 0 },
      lost: 0,
      findings: [],
    }
    try {
      for await (const file of filesOf(client, path, flags, signal)) await verifyOne(client, file, tally, flags, progress, signal)
    } finally {
      progress.stop()
    }
    report(tally, (clock.monotonic() - startedMs) / 1000, flags)
  })
}

async function* filesOf(
  client: CairnClient,
  path: string | undefined,
  flags: VerifyFlags,
  signal: AbortSignal,
): AsyncGenerator<FileInfo> {
  if (path !== undefined && !flags.recursive && !path.endsWith('/')) {
    yield await client.stat(path, signal)
    return
  }
  const prefixes = path === undefined ? bucketPrefixes(client) : [path.endsWith('/') ? path : `${path}/`]
  for await (const prefix of prefixes) {
    for await (const entry of client.list(prefix, { signal })) {
      const file = entry.kind === 'file' ? await statOrGone(client, entry.path, signal) : undefined
      if (file) yield file
    }
  }
}

async function* bucketPrefixes(client: CairnClient): AsyncGenerator<string> {
  for (let after: string | null | undefined; after !== null;) {
    const page = await client.api.call('listBuckets', { query: after === undefined ? {} : { after } })
    for (const { name } of page.buckets) yield `/${name}/`
    after = page.next
  }
}

/** A file may be removed while others are checked. */
async function statOrGone(client: CairnClient, path: string, signal: AbortSignal): Promise<FileInfo | undefined> {
  try {
    return await client.stat(path, signal)
  } catch (error) {
    if (isCairnError(error, 'FILE_NOT_FOUND')) return undefined
    throw error
  }
}

async function verifyOne(
  client: CairnClient,
  file: FileInfo,
  tally: Tally,
  flags: VerifyFlags,
  progress: ProgressDisplay,
  signal: AbortSignal,
): Promise<void> {
  tally.files += 1
  for await (const chunk of client.verify(file, signal)) {
    tally.chunks += 1
    if (!chunk.copies.some((copy) => copy.outcome === 'good')) tally.lost += 1
    for (const copy of chunk.copies) {
      tally.copies += 1
      tally.outcomes[copy.outcome] += 1
      if (copy.outcome === 'good') tally.sizeBytes += copy.lengthBytes
      else if (tally.findings.length < NAMED_MAX) tally.findings.push(copy)
      if (copy.outcome !== 'good' && !flags.json) say(`${copy.outcome}  ${copy.path}  chunk ${copy.chunkId} on ${copy.serverId}`)
    }
    progress.onProgress({ doneBytes: tally.sizeBytes, skippedBytes: 0, totalBytes: null })
  }
}

function report(tally: Tally, seconds: number, flags: VerifyFlags): void {
  const { files, chunks, copies, sizeBytes, outcomes, lost, findings } = tally
  print(
    flags,
    { files, chunks, copies, sizeBytes, ...outcomes, lost, findings, seconds },
    () =>
      `verified ${copies} copies of ${chunks} chunks in ${files} files, ${formatSize(sizeBytes)}: ${outcomes.good} good, ${outcomes.corrupt} corrupt, ` +
      `${outcomes.missing} missing, ${outcomes.unreachable} out of reach; ${lost} chunks have no good copy`,
  )
  if (outcomes.corrupt + outcomes.missing + lost > 0) process.exitCode = DATA_DAMAGED
}

/** The exit code for data that is lost or corrupt. */
const DATA_DAMAGED = 6
