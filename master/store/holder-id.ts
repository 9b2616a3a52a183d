/**
 * Who a master is to the others: an id in its directory, which is locked, so that no two processes have it at a time. A master
 * that is started again has it too, and need not wait for the lease of its own earlier life.
 */
import { readFileSync, renameSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { systemCode } from '../../common/errors/cairn-error.js'
import { bytesToHex, ID_BYTES } from '../../common/ids.js'
import type { Random } from '../../common/random/random.js'

const FILE = 'master-id'

/** @param directory locked by the caller */
export function holderId(directory: string, random: Random): string {
  const file = path.join(directory, FILE)
  try {
    const known = readFileSync(file, 'utf8').trim()
    if (/^[0-9a-f]{32}$/.test(known)) return known
  } catch (error) {
    if (systemCode(error) !== 'ENOENT') throw error
  }
  const fresh = bytesToHex(random.bytes(ID_BYTES))
  writeFileSync(`${file}.new`, `${fresh}\n`, { flush: true })
  renameSync(`${file}.new`, file)
  return fresh
}
