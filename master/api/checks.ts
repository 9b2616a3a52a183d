/** What those ask who watch over a master: whether it lives, whether it serves, and its metrics. */
import { CairnError } from '../../common/errors/cairn-error.js'
import type { Master } from '../master.js'

export interface CheckAnswer {
  readonly contentType: string
  readonly text: string
}

const OK: CheckAnswer = { contentType: 'text/plain; charset=utf-8', text: 'ok\n' }

/** By path. @throws `STARTING` */
export const CHECKS: Readonly<Record<string, (master: Master) => Promise<CheckAnswer>>> = {
  '/livez': async () => OK,
  '/readyz': async (master) => {
    if (!master.ready) throw new CairnError('STARTING', 'The master is starting or stopping.')
    return OK
  },
  '/metrics': (master) => master.metrics.metrics.expose(),
}
