/**
 * A master that is killed at random moments of a load. Goal: what it had acknowledged is so after its restart; what it had
 * not is whole or absent. Method: real processes; several workers put and remove small files, each on keys of its own,
 * while the master is killed again and again at a random moment. A key's last acknowledged state must hold; after an
 * operation without an answer either state may.
 */
import { expect, test } from '@jest/globals'
import { CairnError, isCairnError, type CairnClient, type FileInfo } from '../../client/index.js'
import { SystemClock } from '../../common/clock/system-clock.js'
import { sleep } from '../../common/clock/clock.js'
import { SeededRandom } from '../../common/random/seeded-random.js'
import { startCluster } from '../../testing/index.js'

const KILLS = Number(process.env['CAIRN_CRASH_SAMPLES'] ?? 1) * 12
const WORKERS = 4
const KEYS_EACH = 5
/** Between a restart and the next kill at most: operations acknowledged, and then milliseconds. */
const CALM_OPERATIONS = 8
const CALM_MS = 60

type Content = string | undefined

/** What a key may hold: one state once acknowledged, several after an operation whose end is unknown. */
type Possible = readonly Content[]

async function* bytesOf(content: string): AsyncGenerator<Uint8Array> {
  yield new TextEncoder().encode(content)
}

async function contentOf(client: CairnClient, path: string): Promise<Content> {
  let file: FileInfo
  try {
    file = await client.stat(path)
  } catch (error) {
    if (isCairnError(error, 'FILE_NOT_FOUND')) return undefined
    throw error
  }
  const decoder = new TextDecoder()
  let text = ''
  for await (const piece of client.download(file)) text += decoder.decode(piece, { stream: true })
  return text
}

test(
  `a master killed ${KILLS} times under load: each acknowledged put and rm is honoured`,
  async () => {
    await using cluster = await startCluster({ chunkservers: 3 })
    const { client } = cluster
    const clock = new SystemClock()
    const random = new SeededRandom(Date.now())
    const known = new Map<string, Possible>()
    let acknowledged = 0
    let stopping = false

    const change = async (path: string, content: Content): Promise<void> => {
      const before = known.get(path) ?? [undefined]
      // While it is under way, and when its answer does not come, both states may be.
      known.set(path, [...before, content])
      try {
        if (content === undefined) await client.delete(path)
        else await client.uploadStream(bytesOf(content), path)
      } catch (error) {
        if (!(error instanceof CairnError)) throw error
        // Nothing to remove: as good as removed.
        if (!isCairnError(error, 'FILE_NOT_FOUND')) return
        if (!before.includes(undefined)) throw new Error(`${path} was acknowledged and is gone`, { cause: error })
      }
      known.set(path, [content])
      acknowledged += 1
    }

    const worker = async (number: number): Promise<void> => {
      for (let count = 0; !stopping; count += 1) {
        const path = `/b/${number}/${random.integer(KEYS_EACH)}`
        await change(path, random.integer(4) === 0 ? undefined : `${path} ${count} ${'x'.repeat(random.integer(3000))}`)
      }
    }

    const workers = Array.from({ length: WORKERS }, (_, number) => worker(number))
    for (let kill = 0; kill < KILLS; kill += 1) {
      const enough = acknowledged + 1 + random.integer(CALM_OPERATIONS)
      while (acknowledged < enough) await sleep(clock, 5)
      await sleep(clock, random.integer(CALM_MS))
      await cluster.kill(cluster.master)
      await cluster.restart(cluster.master)
    }
    stopping = true
    await Promise.all(workers)

    for (const [path, possible] of known) {
      const content = await contentOf(client, path)
      expect({ path, possible, content, right: possible.includes(content) }).toMatchObject({ right: true })
    }
  },
  KILLS * 30_000,
)
