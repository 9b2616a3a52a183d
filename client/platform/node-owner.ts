/** Who this process is, in a way that another process on the same machine can tell whether it still runs. */
import { readFileSync, readlinkSync } from 'node:fs'
import { hostname } from 'node:os'
import type { OwnerIdentity } from '../upload/open-session.js'

const read = (file: string): string => {
  try {
    return readFileSync(file, 'utf8').trim()
  } catch {
    return ''
  }
}

/** Boot and process namespace: process numbers mean the same only where both are equal. */
function place(): string {
  const boot = read('/proc/sys/kernel/random/boot_id').slice(0, 8)
  let namespace = ''
  try {
    namespace = readlinkSync('/proc/self/ns/pid').replace(/\D/g, '')
  } catch {
    // Not Linux: the host name alone must do, and nothing is ever certain.
  }
  return boot === '' || namespace === '' ? '' : `${boot}-${namespace}`
}

/** When a process started, in clock ticks since boot: field 22 of its stat line, after the name in parentheses. */
function startTicks(pid: number): string {
  const stat = read(`/proc/${pid}/stat`)
  return stat.slice(stat.lastIndexOf(')') + 2).split(' ')[19] ?? ''
}

export function nodeOwner(): OwnerIdentity {
  const here = `${hostname().slice(0, 100)}/${place()}`
  return {
    name: `${here}/${process.pid}/${startTicks(process.pid)}`,
    isGone: (name) => {
      const match = /^(.*)\/(\d+)\/(\d+)$/.exec(name)
      if (!match || match[1] !== here || place() === '') return undefined
      return startTicks(Number(match[2])) !== match[3]
    },
  }
}
