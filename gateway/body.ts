/** The bytes of a request, with an end to patience: a sender that stalls must not hold memory for ever. */
import type { Readable } from 'node:stream'
import { CairnError, isCairnError } from '../common/errors/cairn-error.js'
import type { Clock } from '../common/clock/clock.js'
import { SECOND_MS } from '../common/units.js'

/** No byte for so long: the sender is taken for gone. */
const IDLE_MS = 60 * SECOND_MS

/** @throws `TIMEOUT` when nothing comes for a minute; `CONNECTION_FAILED` when the sender breaks off */
export async function* bodyOf(stream: Readable, clock: Clock): AsyncGenerator<Uint8Array> {
  const idle = (): void => void stream.destroy(new CairnError('TIMEOUT', 'The sender has sent nothing for a minute.'))
  let timer = clock.setTimer(IDLE_MS, idle)
  try {
    // Not destroyed when the reader leaves early: the answer that says why travels on the same connection.
    for await (const piece of stream.iterator({ destroyOnReturn: false }) as AsyncIterable<Uint8Array>) {
      timer.cancel()
      yield piece
      timer = clock.setTimer(IDLE_MS, idle)
    }
  } catch (error) {
    if (isCairnError(error)) throw error
    throw new CairnError('CONNECTION_FAILED', 'The sender broke off before the end of the body.', { cause: error })
  } finally {
    timer.cancel()
  }
}

/** Aborts when the request's sender is gone before the answer is out. */
export function abortOnDisconnect(response: {
  once(event: 'close', listener: () => void): unknown
  readonly writableFinished: boolean
}): AbortSignal {
  const abort = new AbortController()
  response.once('close', () => {
    if (!response.writableFinished)
      abort.abort(new CairnError('ABORTED', 'The sender closed the connection. Nothing of the upload was kept.'))
  })
  return abort.signal
}
