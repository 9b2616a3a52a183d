/** The bytes of a request, with an end to patience: a sender that stalls must not hold memory for ever. */
import type { IncomingMessage, ServerResponse } from 'node:http'
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

/** Says that the body may come, to a sender who asked first (`Expect: 100-continue`). Called once it is sure to be wanted. */
export function invite(request: IncomingMessage, response: ServerResponse): void {
  const asked = request.headers.expect?.toLowerCase() === '100-continue'
  if (asked && !response.headersSent && !response.destroyed) response.writeContinue()
}

/** As {@link bodyOf}, inviting the sender when the first byte is asked for. */
export async function* invitedBodyOf(
  request: IncomingMessage,
  response: ServerResponse,
  clock: Clock,
): AsyncGenerator<Uint8Array> {
  invite(request, response)
  yield* bodyOf(request, clock)
}

/** Aborts when the other side is gone before the answer is out. */
export function abortOnDisconnect(response: ServerResponse): AbortSignal {
  const abort = new AbortController()
  const onClose = (): void => {
    if (!response.writableFinished)
      abort.abort(new CairnError('ABORTED', 'The other side closed the connection. Nothing of an upload was kept.'))
  }
  if (response.destroyed) onClose()
  else response.once('close', onClose)
  return abort.signal
}
