/**
 * An exclusive hold on a directory that the kernel lets go when the process ends, even by SIGKILL.
 * Node has no flock; an exclusively locked SQLite file is one that does.
 */
import Database from 'better-sqlite3'
import { mkdirSync } from 'node:fs'
import path from 'node:path'
import { CairnError, systemCode } from '../errors/cairn-error.js'
import type { DirectoryLock } from './disk.js'

export const LOCK_FILE = 'lock.sqlite'

/** @throws `DIRECTORY_LOCKED` */
export function lockDirectory(directory: string): DirectoryLock {
  mkdirSync(directory, { recursive: true })
  const database = new Database(path.join(directory, LOCK_FILE), { timeout: 0 })
  try {
    database.pragma('locking_mode = EXCLUSIVE')
    database.exec('BEGIN EXCLUSIVE')
  } catch (error) {
    database.close()
    if (systemCode(error)?.startsWith('SQLITE_BUSY')) {
      throw new CairnError(
        'DIRECTORY_LOCKED',
        `${directory} is in use by another running process. Stop that one first, or choose another directory.`,
        { cause: error },
      )
    }
    throw error
  }
  return { release: () => void database.close() }
}
