/** Ids that rise with time, for rows that the database keeps in the order of their ids. */
import { ID_BYTES } from '../../../common/ids.js'
import type { Random } from '../../../common/random/random.js'

const TIME_BYTES = 6

/**
 * An id that begins with the time and goes on at random: what is made at about the same time lies on the same pages of the
 * tables that are keyed by it, and a group of commits writes each of these once. (Keyed at random, every row is on a page of
 * its own: of a small file's metadata that is most of what goes to the disk.)
 */
export function risingId(nowMs: number, random: Random): Uint8Array {
  const id = Buffer.alloc(ID_BYTES)
  id.writeUIntBE(Math.max(0, nowMs), 0, TIME_BYTES)
  id.set(random.bytes(ID_BYTES - TIME_BYTES), TIME_BYTES)
  return id
}
