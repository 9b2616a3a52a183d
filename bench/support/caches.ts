/** The kernel's caches, dropped so that a read is a cold one. Takes root. */
import { execFileSync } from 'node:child_process'
import { writeFileSync } from 'node:fs'

const DROP_CACHES = '/proc/sys/vm/drop_caches'

export const mayDropCaches = (): boolean => {
  try {
    dropCaches()
    return true
  } catch {
    return false
  }
}

/** Page cache, directory entries and inodes: all that is written already. */
export const dropCaches = (): void => writeFileSync(DROP_CACHES, '3')

/** Waits until nothing waits to be written: what one program left behind is not to be paid for by the next. */
export const settle = (): void => void execFileSync('sync')
