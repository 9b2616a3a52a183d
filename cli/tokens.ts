/** The first tokens of a cluster: made once, kept beside the metadata, readable by its owner only. */
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { systemCode } from '../common/errors/cairn-error.js'
import { bytesToHex } from '../common/ids.js'
import { SystemRandom } from '../common/random/system-random.js'

export interface ClusterTokens {
  /** May do everything. For the operator. */
  readonly root: string
  /** May only join and report. For chunkservers. */
  readonly server: string
}

const TOKENS_FILE = 'tokens.json'
const TOKEN_BYTES = 32

/** The supervisor hands its own on, so that all processes start at once. */
const HANDED_ON = 'CAIRN_BOOTSTRAP_TOKENS'

export function ensureTokens(directory: string): ClusterTokens {
  const handedOn = process.env[HANDED_ON]
  if (handedOn) return JSON.parse(handedOn) as ClusterTokens
  const file = path.join(directory, TOKENS_FILE)
  try {
    return JSON.parse(readFileSync(file, 'utf8')) as ClusterTokens
  } catch (error) {
    if (systemCode(error) !== 'ENOENT') throw error
  }
  const random = new SystemRandom()
  const tokens: ClusterTokens = { root: bytesToHex(random.bytes(TOKEN_BYTES)), server: bytesToHex(random.bytes(TOKEN_BYTES)) }
  mkdirSync(directory, { recursive: true })
  writeFileSync(file, `${JSON.stringify(tokens, null, 2)}\n`, { mode: 0o600, flag: 'wx' })
  return tokens
}
