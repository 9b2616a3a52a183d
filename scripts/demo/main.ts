/**
 * What the README's first command shows: a real cluster on this machine takes a large file while one of its servers is
 * killed, gives it back while another is killed, restores the lost copies by itself, and stays up for the reader.
 *
 * Everything goes through the command line and the REST API, as a user would do it.
 */
import { mkdirSync, rmSync, statfsSync } from 'node:fs'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { lockDirectory } from '../../common/disk/directory-lock.js'
import { messageOf } from '../../common/errors/cairn-error.js'
import { formatSize, GiB, parseSize } from '../../common/units.js'
import { DemoCluster } from './cluster.js'
import { closing, report, step } from './report.js'
import { downloadAndKill, uploadAndKill, watchRepair } from './scenes.js'
import { sha256Of, writeRandomFile } from './files.js'

const CHECKOUT = fileURLToPath(new URL('../../../', import.meta.url))
/** Five servers: with two dead, each chunk still has three others to live on. */
const CHUNKSERVERS = 5
/** The source, the result, three copies, and the copies made again for those on killed servers. */
const SPACE_FACTOR = 7

async function main(): Promise<void> {
  const { values } = parseArgs({
    options: { dir: { type: 'string', default: path.join(CHECKOUT, '.demo') }, size: { type: 'string', default: '2GiB' } },
  })
  const directory = path.resolve(values.dir)
  const sizeBytes = parseSize(values.size)
  prepare(directory, sizeBytes)

  const source = path.join(directory, 'random.bin')
  const result = path.join(directory, 'random-downloaded.bin')

  step(`Starting a cluster: a master, ${CHUNKSERVERS} chunkservers and a gateway`)
  await using cluster = await DemoCluster.start({ directory: path.join(directory, 'cluster'), chunkservers: CHUNKSERVERS })

  step(`Writing ${formatSize(sizeBytes)} of random bytes to ${path.relative(process.cwd(), source)}`)
  await writeRandomFile(source, sizeBytes)

  step('Uploading it with three synced copies; a chunkserver will be killed on the way')
  const upload = await uploadAndKill(cluster, { source, target: '/demo/random.bin', sizeBytes })

  step('Downloading it; another chunkserver will be killed on the way')
  const download = await downloadAndKill(cluster, { source: '/demo/random.bin', target: result, sizeBytes })

  const repaired = watchRepair(cluster)
  step('Comparing SHA-256 of source and result')
  const sums = { source: await sha256Of(source), result: await sha256Of(result) }
  if (sums.source !== sums.result) throw new Error(`the result differs from the source: ${sums.result} is not ${sums.source}`)

  step('Waiting until every chunk has three live copies again')
  const repair = await repaired.finish()

  report({ sizeBytes, upload, download, sha256: sums.source, repair })
  closing(cluster, directory)
  await cluster.untilStopped()
}

/** Room on the disk, nobody at work in the directory, and an empty place to start from. */
function prepare(directory: string, sizeBytes: number): void {
  const cluster = path.join(directory, 'cluster')
  lockDirectory(cluster).release()
  rmSync(cluster, { recursive: true, force: true })
  mkdirSync(directory, { recursive: true })
  const { bavail, bsize } = statfsSync(directory)
  const neededBytes = SPACE_FACTOR * sizeBytes
  if (bavail * bsize < neededBytes) {
    throw new Error(
      `${directory} has ${formatSize(bavail * bsize)} free, and the demonstration needs ${formatSize(neededBytes)}. ` +
        `Choose another place with --dir, or a smaller file with --size ${formatSize(Math.max(GiB, sizeBytes / 2)).replace(' ', '')}.`,
    )
  }
}

main().then(
  () => process.exit(0),
  (error: unknown) => {
    console.error(`\ndemo: ${messageOf(error)}`)
    process.exit(1)
  },
)
