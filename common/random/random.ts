/** The seam to randomness: ids, jitter, spreading. One instance per process (or per simulated node). */
export interface Random {
  /** `count` uniformly random bytes. The system source is fit for secrets. */
  bytes(count: number): Uint8Array
  /** A uniformly random integer in `[0, bound)`; `bound` from 1 to 2^32. */
  integer(bound: number): number
  /** A uniformly random number in `[0, 1)`. */
  fraction(): number
}

/** A shuffled copy (Fisher–Yates). */
export function shuffled<T>(random: Random, items: readonly T[]): T[] {
  const out = [...items]
  for (let index = out.length - 1; index > 0; index -= 1) {
    const other = random.integer(index + 1)
    const held = out[index] as T
    out[index] = out[other] as T
    out[other] = held
  }
  return out
}
