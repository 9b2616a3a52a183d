/**
 * Which bytes between two members of a cluster are held back. A function of the partitions in force and of who speaks to
 * whom; the proxies only obey.
 */

/** `clients` is whoever is none of the cluster's own processes. */
export const CLIENTS = 'clients'

export interface PartitionOptions {
  /**
   * `stall` (default): bytes are held back and nobody is told, as when a cable is pulled; they arrive after {@link Partition}
   * heals, as they would by retransmission. `refuse`: connections are cut, new ones at once.
   */
  readonly mode?: 'stall' | 'refuse'
  /** Seen from the first member: `both` (default), what it sends (`out`), or what is sent to it (`in`). */
  readonly direction?: 'both' | 'out' | 'in'
}

export interface Partition {
  /** Member names, or {@link CLIENTS}. */
  readonly a: string
  /** Undefined: everybody. */
  readonly b: string | undefined
  readonly mode: 'stall' | 'refuse'
  readonly direction: 'both' | 'out' | 'in'
}

/** What a connection may do now. `forward` is from who opened it to who accepted it. */
export interface Verdict {
  readonly forward: boolean
  readonly backward: boolean
  readonly refused: boolean
}

const FREE: Verdict = { forward: true, backward: true, refused: false }

export function verdictOf(partitions: readonly Partition[], source: string, target: string): Verdict {
  return partitions.reduce((verdict, partition) => restrict(verdict, partition, source, target), FREE)
}

function restrict(verdict: Verdict, { a, b, mode, direction }: Partition, source: string, target: string): Verdict {
  const opened = a === source && (b === undefined || b === target)
  const accepted = a === target && (b === undefined || b === source)
  if (!opened && !accepted) return verdict
  if (mode === 'refuse') return { ...verdict, refused: true }
  const outward = opened ? 'forward' : 'backward'
  const inward = opened ? 'backward' : 'forward'
  return {
    ...verdict,
    ...(direction === 'in' ? {} : { [outward]: false }),
    ...(direction === 'out' ? {} : { [inward]: false }),
  }
}

/** Whether the verdict on connections to `target` depends on who opened them. */
export function dependsOnSource(partitions: readonly Partition[], target: string): boolean {
  return partitions.some(({ a, b }) => (a === target ? b !== undefined : b === undefined || b === target))
}
