/**
 * The metadata as one simulated master process sees it: the rows outlive the process, its view of them does not. A
 * change that was made may find nobody left to hear of it.
 */
import { sleep } from '../../common/clock/clock.js'
import type { ProcessClock } from '../../common/clock/process-clock.js'
import type { VirtualClock } from '../../common/clock/virtual-clock.js'
import type { MetadataStore } from '../../master/store/metadata-store.js'

export interface StoreHooks {
  /** How long an operation takes, half of it before it happens and half of it after. */
  readonly latencyMs?: (operation: string) => number
  /** Called right before each operation. What it returns is called right after it, whatever became of it: nothing comes in between. */
  readonly around?: (operation: string, args: unknown) => (() => void) | undefined
}

type Operations = Record<string, (args: unknown) => Promise<unknown>>

export function processStore(
  store: MetadataStore,
  clock: VirtualClock,
  process: ProcessClock,
  hooks: StoreHooks = {},
): MetadataStore {
  const run = async (name: string, args: unknown): Promise<unknown> => {
    await process.gate()
    const latencyMs = hooks.latencyMs?.(name) ?? 0
    if (latencyMs > 0) {
      await sleep(clock, latencyMs / 2)
      if (process.killed) await process.gate()
    }
    try {
      const after = hooks.around?.(name, args)
      // In memory the work is done when the call returns; only its outcome is told later.
      const work = (store as unknown as Operations)[name]?.(args)
      after?.()
      return await work
    } finally {
      if (latencyMs > 0) await sleep(clock, latencyMs / 2)
      await process.gate()
    }
  }
  const view: Record<string, unknown> = {}
  for (const name of Object.keys(store)) view[name] = (args: unknown) => run(name, args)
  const close = async (): Promise<void> => undefined
  return { ...view, now: () => process.now(), close, [Symbol.asyncDispose]: close } as unknown as MetadataStore
}
