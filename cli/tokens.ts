/** The first tokens of a cluster: made once, kept beside the metadata, readable by its owner only. */
import { mkdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { z } from 'zod'
import { CairnError, systemCode } from '../common/errors/cairn-error.js'
import { bytesToHex } from '../common/ids.js'
import { SystemRandom } from '../common/random/system-random.js'

const clusterTokens = z.object({
  /** May do everything. For the operator. */
  root: z.string().min(1),
  /** May only join and report. For chunkservers. */
  server: z.string().min(1),
})
export type ClusterTokens = Readonly<z.infer<typeof clusterTokens>>

const TOKENS_FILE = 'tokens.json'
const TOKEN_BYTES = 32

/** The supervisor hands its own on, so that all processes start at once. */
const HANDED_ON = 'CAIRN_BOOTSTRAP_TOKENS'

/** @throws `LOCAL_IO_ERROR` when the file is damaged: fresh tokens would lock everyone out who has the old ones */
export function ensureTokens(directory: string): ClusterTokens {
  const handedOn = process.env[HANDED_ON]
  if (handedOn) return clusterTokens.parse(JSON.parse(handedOn))
  const file = path.join(directory, TOKENS_FILE)
  const known = readTokens(file)
  if (known) return known
  const random = new SystemRandom()
  const tokens: ClusterTokens = { root: bytesToHex(random.bytes(TOKEN_BYTES)), server: bytesToHex(random.bytes(TOKEN_BYTES)) }
  mkdirSync(directory, { recursive: true })
  // Under another name first: a crash in between must not leave an empty file behind.
  writeFileSync(`${file}.new`, `${JSON.stringify(tokens, null, 2)}\n`, { mode: 0o600, flush: true })
  renameSync(`${file}.new`, file)
  return tokens
}

function readTokens(file: string): ClusterTokens | undefined {
  try {
    return clusterTokens.parse(JSON.parse(readFileSync(file, 'utf8')))
  } catch (error) {
    if (systemCode(error) === 'ENOENT') return undefined
    throw new CairnError(
      'LOCAL_IO_ERROR',
      `${file} is damaged or cannot be read. Restore it, or remove it to have new tokens made; the data stays.`,
      { cause: error },
    )
  }
}
