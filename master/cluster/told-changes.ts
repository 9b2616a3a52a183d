/**
 * How far each server has told what it holds. Each of its changes is entered once, in order: a heartbeat that arrives late,
 * or twice, must not bring back a copy whose removal a later one has told of.
 */
import type { StoreChange } from '../../common/protocol/cluster.js'
import type { MetadataStore } from '../store/metadata-store.js'

export class ToldChanges {
  readonly #store: MetadataStore
  /** The last change that each server's heartbeats have told of, noted before it is applied. */
  readonly #told = new Map<number, number>()
  /** The last one that has been entered, or is being entered. */
  readonly #taken = new Map<number, number>()

  constructor(store: MetadataStore) {
    this.#store = store
  }

  /** The last change that the server's heartbeats have told of; 0 when there was none yet. */
  sequence(serverNo: number): number {
    return this.#told.get(serverNo) ?? 0
  }

  /** Enters what is new among these changes. What could not be entered is sent again. */
  async take(serverNo: number, changes: readonly StoreChange[]): Promise<void> {
    const taken = this.#taken.get(serverNo) ?? 0
    const fresh = changes.filter(({ sequence }) => sequence > taken)
    const last = fresh.at(-1)
    if (!last) return
    this.#told.set(serverNo, last.sequence)
    this.#taken.set(serverNo, last.sequence)
    try {
      await this.#store.applyChanges({ serverNo, changes: fresh })
    } catch (error) {
      this.#taken.set(serverNo, taken)
      throw error
    }
  }
}
