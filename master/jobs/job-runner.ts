/** Runs the jobs over prefixes, a page of files at a time. Where a step stopped is in the metadata, so a restart goes on there. */
import { Periodic } from '../../common/flow/periodic.js'
import type { MasterContext } from '../context.js'

const FILES_PER_STEP = 100
const IDLE_INTERVAL_MS = 2_000

export class JobRunner {
  readonly #periodic: Periodic

  constructor(context: MasterContext) {
    this.#periodic = new Periodic({
      clock: context.clock,
      intervalMs: () => IDLE_INTERVAL_MS,
      run: async (signal) => {
        while (
          !signal.aborted &&
          (await context.store.stepJobs({ limit: FILES_PER_STEP, bucketDefaults: context.settings.bucketDefaults }))
        );
      },
      onError: (error) => context.log.error({ error }, 'a job step failed'),
    })
  }

  start(): void {
    this.#periodic.start({ immediately: true })
  }

  /** A job has been created. */
  poke(): void {
    this.#periodic.poke()
  }

  async stop(): Promise<void> {
    await this.#periodic.stop()
  }
}
