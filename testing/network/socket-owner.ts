/** Which of our processes opened a connection on loopback, as Linux's /proc knows it. Elsewhere nobody can tell. */
import { readdirSync, readFileSync, readlinkSync } from 'node:fs'

export interface KnownProcess {
  readonly name: string
  readonly pid: number
}

export const canTellOwners = process.platform === 'linux'

const LOOPBACK = '0100007F'
const endpoint = (port: number): string => `${LOOPBACK}:${port.toString(16).toUpperCase().padStart(4, '0')}`

/** @returns the name of the process that connected from `fromPort` to `toPort`; undefined when it is none of these, or unknown */
export function ownerOfConnection(fromPort: number, toPort: number, processes: readonly KnownProcess[]): string | undefined {
  if (!canTellOwners) return undefined
  const inode = inodeOf(endpoint(fromPort), endpoint(toPort))
  return inode === undefined ? undefined : processes.find(({ pid }) => holds(pid, `socket:[${inode}]`))?.name
}

/** Columns of /proc/net/tcp: number, local address, remote address, state, queues, timer, retransmits, uid, timeout, inode. */
function inodeOf(local: string, remote: string): string | undefined {
  for (const line of readFileSync('/proc/net/tcp', 'utf8').split('\n')) {
    const columns = line.trim().split(/\s+/)
    if (columns[1] === local && columns[2] === remote) return columns[9]
  }
  return undefined
}

function holds(pid: number, socket: string): boolean {
  try {
    return readdirSync(`/proc/${pid}/fd`).some((fd) => linkOf(`/proc/${pid}/fd/${fd}`) === socket)
  } catch {
    // The process is gone.
    return false
  }
}

function linkOf(file: string): string | undefined {
  try {
    return readlinkSync(file)
  } catch {
    return undefined
  }
}
