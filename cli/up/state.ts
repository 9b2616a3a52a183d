/** What `cairn up` remembers in its directory: which processes make up the cluster, and their ports. */
import { mkdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { z } from 'zod'
import { CairnError, systemCode } from '../../common/errors/cairn-error.js'

const port = z.number().int().min(1).max(65_535)

const upState = z.object({
  formatVersion: z.literal(1),
  masterPort: port,
  gatewayPort: port,
  /** One entry per chunkserver, in order; ports stay so that addresses do. */
  chunkservers: z.array(z.object({ name: z.string(), port })),
})
export type UpState = z.infer<typeof upState>

const STATE_FILE = 'up.json'

export function loadState(directory: string): UpState | undefined {
  const file = path.join(directory, STATE_FILE)
  try {
    return upState.parse(JSON.parse(readFileSync(file, 'utf8')))
  } catch (error) {
    if (systemCode(error) === 'ENOENT') return undefined
    throw new CairnError(
      'LOCAL_IO_ERROR',
      `${file} is damaged or of a newer version. Restore it, or remove it to choose ports anew; the data stays.`,
      { cause: error },
    )
  }
}

export function saveState(directory: string, state: UpState): void {
  const file = path.join(directory, STATE_FILE)
  mkdirSync(directory, { recursive: true })
  writeFileSync(`${file}.new`, `${JSON.stringify(state, null, 2)}\n`)
  renameSync(`${file}.new`, file)
}
